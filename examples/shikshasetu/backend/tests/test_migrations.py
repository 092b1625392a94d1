"""On a real PostgreSQL, which is emptied: only when DATABASE_TESTS=1 says that it may be."""

import os
import threading
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from backend import database, schema
from backend.models import Base
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError

CONFIG = Config(str(Path(__file__).parent.parent / "alembic.ini"))
real = pytest.mark.skipif(os.environ.get("DATABASE_TESTS") != "1", reason="needs a PostgreSQL")


def test_there_is_one_head():
    assert ScriptDirectory.from_config(CONFIG).get_heads() == ["0002"]


@pytest.fixture
def empty():
    with database.engine().begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))


@real
def test_models_and_migrations_agree(empty):
    command.upgrade(CONFIG, "head")
    with database.engine().connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    assert database.revision() == "0002"


@real
def test_the_second_migration_only_adds(empty):
    command.upgrade(CONFIG, "0001")
    write = "INSERT INTO standards (code, grade, subject, description) VALUES (:code, 6, 'x', 'y')"
    with database.engine().begin() as connection:
        connection.execute(text(write), {"code": "before"})
    command.upgrade(CONFIG, "head")
    with database.engine().begin() as connection:
        connection.execute(text(write), {"code": "after"})  # as the release before writes
        rows = connection.execute(text("SELECT language FROM standards WHERE subject = 'x'")).scalars().all()
    assert rows == ["en", "en"]
    command.downgrade(CONFIG, "base")


@real
def test_a_migration_does_not_stand_in_line_for_a_lock(empty, monkeypatch):
    monkeypatch.setenv("MIGRATION_ATTEMPTS", "1")
    command.upgrade(CONFIG, "0001")
    with database.engine().begin() as holder:
        holder.execute(text("LOCK TABLE standards IN ACCESS SHARE MODE"))
        with pytest.raises(OperationalError, match="lock timeout"):
            command.upgrade(CONFIG, "head")
    assert database.revision() == "0001"


@real
def test_code_knows_whether_it_can_work_with_a_later_schema(empty, monkeypatch):
    command.upgrade(CONFIG, "0001")
    assert schema.look() == (False, "the schema is at 0001, this code needs 0002")
    command.upgrade(CONFIG, "head")
    assert schema.look()[0]
    monkeypatch.setattr(ScriptDirectory, "get_current_head", lambda _: "0001")
    assert schema.look() == (True, "the schema is at 0002; what came after 0001 only added")
    with database.engine().begin() as connection:
        connection.execute(text("UPDATE schema_steps SET breaks = true WHERE revision = '0002'"))
    assert schema.look() == (False, "the schema is at 0002, and code of 0001 cannot work since 0002")


@real
def test_a_migration_tries_again_when_the_lock_is_free(empty):
    command.upgrade(CONFIG, "0001")
    holder = database.engine().connect()
    holder.execute(text("LOCK TABLE standards IN ACCESS SHARE MODE"))
    threading.Timer(3, holder.close).start()
    command.upgrade(CONFIG, "head")
    assert database.revision() == "0002"


@real
def test_more_requests_than_connections_are_all_answered(empty, client):
    """A connection is given back in the thread that took it: one that waits for another
    thread to do so keeps it for ever once all threads wait for connections."""
    from concurrent.futures import ThreadPoolExecutor

    command.upgrade(CONFIG, "head")
    kept = database.engine().pool
    assert kept.size() + kept._max_overflow == 20
    with ThreadPoolExecutor(120) as many:
        answers = list(many.map(lambda _: client.get("/api/v1/curriculum/standards").status_code, range(600)))
    assert answers == [200] * 600
    assert database.engine().pool.checkedout() == 0


@real
def test_a_connection_that_is_cut_is_told_from_a_statement_that_fails(empty):
    def error_of(*statements):
        with pytest.raises(DBAPIError) as found, database.transaction() as db:
            for statement in statements:
                db.execute(text(statement))
        return found.value

    assert database.away(error_of("SELECT pg_terminate_backend(pg_backend_pid())"))
    assert not database.away(error_of("SET LOCAL statement_timeout = '10ms'", "SELECT pg_sleep(5)"))
    assert not database.away(error_of("SELECT 1 / 0"))
    assert not database.away(error_of("SELECT * FROM not_there"))
