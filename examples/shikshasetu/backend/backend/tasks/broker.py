"""Redis as a broker that loses no task when a worker stops.

A worker asks Redis for its next task and waits for the answer. Told to stop, kombu
before 5.3 hangs up without reading it: a task that Redis has handed out by then is
nobody's. Here the answer is read first, and the task goes back into its queue."""

from queue import Empty

from kombu.transport import redis


class Channel(redis.Channel):
    def close(self) -> None:
        if self._in_poll:
            try:
                # One second at the longest: so long Redis lets a worker wait.
                self._brpop_read()
            except (Empty, *self.connection_errors):
                pass
        super().close()


redis.Transport.Channel = Channel
