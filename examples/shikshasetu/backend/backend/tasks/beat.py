"""What the clock starts."""

import time

import redis

from backend.settings import redis_url
from backend.tasks.celery_app import app

HEARTBEAT = "shikshasetu:beat"


@app.task(name="beat.heartbeat", ignore_result=True)
def heartbeat() -> None:
    """Leaves the time behind. Its age says whether beat, broker and a worker work."""
    with redis.Redis.from_url(redis_url()) as broker:
        broker.set(HEARTBEAT, int(time.time()), ex=3600)
