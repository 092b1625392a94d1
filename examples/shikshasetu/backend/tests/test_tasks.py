import os
import time
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

from celery.signals import heartbeat_sent
from sqlalchemy.exc import OperationalError

from backend import probe
from backend.tasks import beat, celery_app, pipeline


def test_each_task_goes_to_a_queue_that_is_consumed():
    route = celery_app.app.amqp.router.route
    assert route({}, "pipeline.process")["queue"].name == "pipeline"
    assert route({}, "ml.gpu.embed")["queue"].name == "ml_gpu"
    assert route({}, "default.echo")["queue"].name == "default"
    assert celery_app.DEAD_LETTER not in celery_app.app.amqp.queues


def test_a_killed_worker_loses_no_task():
    conf = celery_app.app.conf
    assert conf.task_acks_late and conf.task_reject_on_worker_lost
    assert conf.broker_transport_options["visibility_timeout"] > conf.task_time_limit


def test_the_library_whose_inside_is_mended_is_pinned():
    wanted = Path(__file__).parent.parent / "requirements.txt"
    assert f"kombu=={version('kombu')}" in wanted.read_text().splitlines()


def test_the_clock_starts_the_heartbeat_each_minute():
    (entry,) = celery_app.app.conf.beat_schedule.values()
    assert entry["task"] == beat.heartbeat.name
    assert entry["schedule"] == 60


def test_a_job_is_written_after_its_time(monkeypatch):
    written = []

    class FakeTransaction:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return False

        def execute(self, statement, values):
            written.append((time.monotonic(), str(statement), values["job"]))

    monkeypatch.setattr(pipeline, "transaction", FakeTransaction)
    began = time.monotonic()
    assert pipeline.process("one", 0.05) == "one"
    ((when, statement, job),) = written
    assert job == "one" and when - began >= 0.05 and "ON CONFLICT" in statement


def test_nobody_waits_for_the_result_of_a_job(client, token, monkeypatch):
    sent = []
    monkeypatch.setattr(celery_app.app.backend, "on_task_call", lambda *_: sent.append("listened"))
    monkeypatch.setitem(vars(celery_app.app.amqp), "send_task_message", lambda *_, **__: sent.append("sent"))
    assert client.post("/api/v1/jobs", json={}, headers=token).status_code == 202
    assert sent == ["sent"]


def test_a_database_that_is_away_loses_no_job(monkeypatch):
    tried, written = [], []

    @contextmanager
    def fake_transaction():
        tried.append(1)
        if len(tried) < 3:
            raise OperationalError("SELECT 1", {}, Exception("timeout expired"))
        yield SimpleNamespace(execute=lambda _, values: written.append(values["job"]))

    monkeypatch.setattr(pipeline, "transaction", fake_transaction)
    pipeline.process.apply(("one", 0.0))
    assert len(tried) == 3 and written == ["one"]


def test_the_clock_leaves_a_mark(tmp_path, monkeypatch):
    mark = tmp_path / "tick"
    monkeypatch.setenv("BEAT_TICK", str(mark))
    monkeypatch.setattr(beat.PersistentScheduler, "tick", lambda self: 300)
    assert "not there" in probe.beat()
    assert beat.TickingScheduler.tick(beat.TickingScheduler.__new__(beat.TickingScheduler)) == 20
    assert probe.beat() == ""
    os.utime(mark, (0, 0))
    assert "look at the clock was" in probe.beat()


def test_the_worker_leaves_a_mark_when_it_asks_the_broker(tmp_path, monkeypatch):
    mark = tmp_path / "tick"
    monkeypatch.setenv("WORKER_TICK", str(mark))
    heartbeat_sent.send(sender=None)
    assert "not there" in probe.worker(), "a deaf worker's heart beats as well"
    asks = celery_app.app.connection_for_read().transport.cycle
    asks.on_poll_start()
    assert "not there" in probe.worker(), "the poller of a connection that was lost asks nobody"
    asks.add(Mock(active_queues={"default"}, active_fanout_queues=set(), **{"qos.can_consume.return_value": False}))
    asks.on_poll_start()
    assert probe.worker() == "", "every slot is busy"
    os.utime(mark, (0, 0))
    assert "question to the broker was" in probe.worker()
    monkeypatch.setenv("WORKER_TICK", str(tmp_path / "not there" / "tick"))
    asks.on_poll_start()
