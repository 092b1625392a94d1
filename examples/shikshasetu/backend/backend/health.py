"""Whether this unit can serve. It says no when it cannot: a unit that has lost
its database is not healthy. It is not restarted for that: on one host Docker lets
an unhealthy unit run, and it serves again once the database is back."""

import redis

from backend import database
from backend.settings import settings


def database_state() -> tuple[str, str]:
    """connected or disconnected, and the migration the database is at."""
    try:
        return "connected", database.revision()
    except Exception:  # whatever keeps us from the database, it is not connected
        return "disconnected", ""


def broker_state() -> str:
    try:
        broker = redis.Redis.from_url(settings().redis_url, socket_timeout=2, socket_connect_timeout=2)
        with broker:
            broker.ping()
        return "connected"
    except redis.RedisError:
        return "disconnected"


def report() -> tuple[bool, dict]:
    """The broker is told and does not decide: without it the API still reads."""
    connected, revision = database_state()
    healthy = connected == "connected"
    return healthy, {
        "status": "healthy" if healthy else "unhealthy",
        "database": connected,
        "redis": broker_state(),
        "revision": revision,
        "version": settings().version,
    }
