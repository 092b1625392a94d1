"""Runs the migrations: all of a run in one transaction, which waits for no lock
longer than two seconds. Whoever waits for a lock makes the users' own statements wait
behind it, so a migration gives up instead, lets them pass and tries again."""

import os
import time

from alembic import context
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from backend.database import engine
from backend.models import Base


ATTEMPTS = int(os.environ.get("MIGRATION_ATTEMPTS", "10"))
PAUSE = 3  # seconds
LOCK_NOT_AVAILABLE = "55P03"


def note(ctx, step, **_: object) -> None:
    """Writes down each migration, so that older code can tell what came after it."""
    if step.is_upgrade:
        statement = "INSERT INTO schema_steps (revision, breaks) VALUES (:revision, :breaks)"
        breaks = getattr(step.up_revision.module, "breaks", False)
        ctx.connection.execute(text(statement), {"revision": step.up_revision_id, "breaks": breaks})
    elif step.down_revision_ids:
        ctx.connection.execute(text("DELETE FROM schema_steps WHERE revision = :revision"), {"revision": step.up_revision_id})


def run() -> None:
    with engine().connect() as connection:
        context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True, on_version_apply=note)
        with context.begin_transaction():
            connection.execute(text("SET LOCAL lock_timeout = '2s'"))
            context.run_migrations()
        connection.commit()


if context.is_offline_mode():
    context.configure(dialect_name="postgresql", target_metadata=Base.metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            run()
            break
        except OperationalError as error:
            if attempt == ATTEMPTS or getattr(error.orig, "pgcode", "") != LOCK_NOT_AVAILABLE:
                raise
            print(f"a lock is taken, nothing was changed: attempt {attempt} of {ATTEMPTS}", flush=True)
            time.sleep(PAUSE)
