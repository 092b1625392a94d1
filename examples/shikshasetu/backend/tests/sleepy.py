"""A task that takes its time and needs no database, for the worker of test_worker.py."""

import time

from backend.tasks.celery_app import app


@app.task(name="default.sleep")
def sleep(value: int, seconds: float) -> int:
    time.sleep(seconds)
    return value
