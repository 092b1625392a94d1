import os
import time

import redis
from celery import Celery

url = "redis://:%s@redis:6379/0" % os.environ["REDIS_PASSWORD"]
app = Celery("tasks", broker=url, backend=url)
app.conf.beat_schedule = {"heartbeat": {"task": "heartbeat", "schedule": 1.0, "options": {"queue": "default"}}}


@app.task(name="canary")
def canary(a, b):
    return a + b


@app.task(name="heartbeat", ignore_result=True)
def heartbeat():
    redis.Redis.from_url(url).set("beat", time.time())


@app.task(name="long", ignore_result=True)
def long(seconds):
    time.sleep(seconds)
