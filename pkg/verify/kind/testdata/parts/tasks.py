import os

from celery import Celery

url = "redis://:%s@redis:6379/0" % os.environ["REDIS_PASSWORD"]
app = Celery("tasks", broker=url, backend=url)


@app.task(name="canary")
def canary(a, b):
    return a + b
