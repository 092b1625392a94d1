"""Connections to PostgreSQL."""

from contextlib import contextmanager
from functools import lru_cache

from sqlalchemy import create_engine, text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from backend.settings import database_url


@lru_cache
def engine() -> Engine:
    # pre_ping: a connection that died with an old server is replaced before a
    # request meets it. The time-outs keep a dead database from holding threads; a host
    # that starts the units of a release may take seconds for a new connection.
    return create_engine(
        database_url(),
        future=True,
        pool_size=10,
        max_overflow=10,
        pool_timeout=5,
        pool_pre_ping=True,
        connect_args={"connect_timeout": 5, "application_name": "shikshasetu"},
    )


@contextmanager
def transaction():
    """A session that commits at its end and rolls back on an error. A route opens it
    itself, in its own thread: as a dependency it would give its connection back in
    another thread, and under load all threads are taken by requests that wait for one."""
    with Session(engine(), future=True) as session, session.begin():
        yield session


def away(error: Exception) -> bool:
    """Whether an error says that the database cannot be reached or has hung up. One about
    a statement is none: it would come again on a database that is well."""
    if not isinstance(error, DBAPIError):
        return isinstance(error, PoolTimeout)
    code = getattr(error.orig, "pgcode", None) or ""
    # psycopg2 has no code where no server has answered. 08 is a broken connection, 57P a server that ends or starts.
    no_answer = isinstance(error, OperationalError) and not code
    return error.connection_invalidated or no_answer or code.startswith(("08", "57P"))


def revision() -> str:
    """The migration the database is at. Raises when the database does not answer."""
    with engine().connect() as connection:
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
