"""Redis as a broker that loses no task when a worker stops, and tells when it asks no more.

A worker asks Redis for its next task and waits for the answer. Told to stop, kombu
before 5.3 hangs up without reading it: a task that Redis has handed out by then is
nobody's. Here the answer is read first, and the task goes back into its queue.

When Redis was away, kombu before 5.4 may take what asks for tasks out of the worker's
loop: the loop and its heartbeats go on, and no task is taken again. Here a channel that
Redis refused does not do that. There may be other ways to the same end: so the asking,
and not the heartbeat, leaves the mark of the healthcheck."""

import contextlib
import os
import pathlib
from queue import Empty

from kombu.transport import redis


class Channel(redis.Channel):
    _registered = False

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self._registered = True

    def _on_connection_disconnect(self, connection) -> None:
        # One that Redis refused has never asked: when it hangs up at last, what it would take
        # out of the loop is its successor's.
        if self._registered:
            super()._on_connection_disconnect(connection)

    def close(self) -> None:
        if self._in_poll:
            try:
                # One second at the longest: so long Redis lets a worker wait.
                self._brpop_read()
            except (Empty, *self.connection_errors):
                pass
        super().close()


class Poller(redis.MultiChannelPoller):
    def on_poll_start(self) -> None:
        super().on_poll_start()
        # Each turn of the loop comes here, also while every slot is busy and no task may
        # be asked for. The poller of a connection that was lost may stay in the loop, but
        # it has no channel left.
        if self._channels:
            # A mark that cannot be left makes the unit unhealthy, but must not end the loop.
            with contextlib.suppress(OSError):
                pathlib.Path(os.environ.get("WORKER_TICK", "/tmp/worker-tick")).touch()


redis.Transport.Channel = Channel
redis.MultiChannelPoller = Poller
