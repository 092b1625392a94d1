"""A real worker on a real Redis: what is handed out while it stops is not lost, and one that
asks for nothing any more is told from one that is busy. Needs BROKER_TESTS=1 and a Redis that may be emptied, at REDIS_HOST."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not os.environ.get("BROKER_TESTS"), reason="needs a Redis that may be emptied")


def start() -> subprocess.Popen:
    argv = [sys.executable, "-m", "celery", "-A", "backend.tasks.celery_app", "worker", "--concurrency", "4", "-I", "sleepy", "-Q", "default,pipeline,ocr,ml_gpu,ml_cpu"]
    paths = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
    return subprocess.Popen(argv, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)}, stdout=subprocess.DEVNULL)


def test_a_worker_that_stops_loses_no_task():
    import sleepy

    results, halt = [], threading.Event()

    def feed() -> None:
        # Two of the four are busy, so the worker always asks for another task.
        while not halt.wait(0.5):
            results.append(sleepy.sleep.delay(len(results), 1.0))

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        for _ in range(3):
            worker, sent = start(), len(results)
            while len(results) <= sent or not results[sent].ready():
                time.sleep(0.1)
            time.sleep(1)
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(60) == 0
    finally:
        halt.set()
        feeder.join()
    worker = start()
    try:
        waiting = time.monotonic() + 60
        while time.monotonic() < waiting and not all(r.ready() for r in results):
            time.sleep(0.1)
        assert [r.get(timeout=1) if r.ready() else "lost" for r in results] == list(range(len(results)))
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(60)
