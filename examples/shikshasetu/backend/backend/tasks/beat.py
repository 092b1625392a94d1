"""What the clock starts."""

import os
import pathlib
import time

import redis
from celery.beat import PersistentScheduler

from backend.settings import redis_url
from backend.tasks.celery_app import app

HEARTBEAT = "shikshasetu:beat"


@app.task(name="beat.heartbeat", ignore_result=True)
def heartbeat() -> None:
    """Leaves the time behind. Its age says whether beat, broker and a worker work."""
    with redis.Redis.from_url(redis_url()) as broker:
        broker.set(HEARTBEAT, int(time.time()), ex=3600)


class TickingScheduler(PersistentScheduler):
    """Celery's own, which leaves a mark each time it has looked at the clock: the
    schedule file is written at the start and the end only, so it tells nothing."""

    def tick(self, *args, **kwargs):
        pause = super().tick(*args, **kwargs)
        pathlib.Path(os.environ.get("BEAT_TICK", "/tmp/beat-tick")).touch()
        # The clock is looked at often enough for the healthcheck.
        return min(pause, 20)
