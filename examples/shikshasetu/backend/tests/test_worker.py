"""A real worker on a real Redis: what is handed out while it stops is not lost, and it is
well while it is busy and takes tasks again after Redis was away. Needs BROKER_TESTS=1 and
a Redis that may be emptied, at REDIS_HOST."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from backend import probe

pytestmark = pytest.mark.skipif(not os.environ.get("BROKER_TESTS"), reason="needs a Redis that may be emptied")


class Line:
    """A way to Redis that can be cut: who calls then is refused."""

    def __init__(self) -> None:
        self.port, self.ends = 0, []
        self.mend()

    def mend(self) -> None:
        self.ear = socket.create_server(("127.0.0.1", self.port))
        self.port = self.ear.getsockname()[1]
        threading.Thread(target=self.answer, args=(self.ear,), daemon=True).start()

    def answer(self, ear: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                pair = (ear.accept()[0], socket.create_connection((os.environ["REDIS_HOST"], 6379)))
                self.ends += pair
                for one, other in (pair, pair[::-1]):
                    threading.Thread(target=self.carry, args=(one, other), daemon=True).start()

    def carry(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while said := one.recv(1 << 16):
                other.sendall(said)
            other.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        for end in (self.ear, *self.ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self.ends.clear()


def done(results: list, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not all(r.ready() for r in results):
        time.sleep(0.1)
    return all(r.ready() for r in results)


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


def test_a_worker_is_well_while_it_is_busy_and_takes_tasks_after_redis_was_away(tmp_path, monkeypatch):
    import sleepy

    from backend.settings import redis_url

    line, mark = Line(), tmp_path / "tick"
    monkeypatch.setenv("WORKER_TICK", str(mark))
    with monkeypatch.context() as its:
        there, here = os.environ["REDIS_HOST"] + ":6379", f"127.0.0.1:{line.port}"
        its.setenv("CELERY_BROKER_URL", redis_url().replace(there, here))
        worker = start()
    try:
        assert done([sleepy.sleep.delay(0, 0.0)], 60)
        assert probe.worker() == ""
        busy, oldest = [sleepy.sleep.delay(0, 12.0) for _ in range(5)], 0.0
        while not any(r.ready() for r in busy):
            oldest = max(oldest, time.time() - mark.stat().st_mtime)
            time.sleep(0.1)
        assert oldest < 11, "no slot was free"
        for away in (1, 4, 1, 4):
            line.cut()
            time.sleep(away)
            line.mend()
            assert done([sleepy.sleep.delay(0, 0.0)], 40)
            assert time.time() - mark.stat().st_mtime < 11
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(60)
        line.cut()
