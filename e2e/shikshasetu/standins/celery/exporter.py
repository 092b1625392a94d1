"""Stands in for danihodovic/celery-exporter: its metric names, on real events."""

import os
import threading
import time

from celery import Celery
from prometheus_client import Counter, Gauge, start_http_server

EVENTS = ("sent", "received", "started", "succeeded", "failed", "rejected", "revoked", "retried")
TASKS = {event: Counter(f"celery_task_{event}", "Tasks.", ["name"]) for event in EVENTS}
UP = Gauge("celery_worker_up", "1 while a worker sends heartbeats.", ["hostname"])
LENGTH = Gauge("celery_queue_length", "Tasks that wait.", ["queue_name"])
Gauge("stand_in_info", "This is a stand-in.").set(1)

app = Celery(broker=os.environ["CE_BROKER_URL"])
state = app.events.State()
seen = {}


def take(event):
    state.event(event)
    kind = event["type"]
    if kind.startswith("worker-"):
        seen[event["hostname"]] = 0 if kind == "worker-offline" else time.time()
    elif kind.startswith("task-") and kind[5:] in TASKS:
        task = state.tasks.get(event["uuid"])
        TASKS[kind[5:]].labels((task and task.name) or "unknown").inc()


def look():
    while True:
        for hostname, last in list(seen.items()):
            UP.labels(hostname).set(1 if time.time() - last < 60 else 0)
        try:
            with app.connection_for_read() as connection:
                redis = connection.default_channel.client
                for queue in os.environ["CE_QUEUES"].split(","):
                    LENGTH.labels(queue).set(redis.llen(queue))
        except Exception as error:  # the broker is away: the next look finds it again
            print(error, flush=True)
        time.sleep(5)


start_http_server(9808)
threading.Thread(target=look, daemon=True).start()
while True:
    try:
        with app.connection_for_read() as connection:
            app.events.Receiver(connection, handlers={"*": take}).capture(limit=None, timeout=None, wakeup=True)
    except Exception as error:
        print(error, flush=True)
        time.sleep(2)
