"""Runs the migrations: all of a run in one transaction, which waits for no lock
longer than five seconds. A migration that would stand in line before the users'
own statements gives up instead."""

from alembic import context
from sqlalchemy import text

from backend.database import engine
from backend.models import Base


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
            connection.execute(text("SET LOCAL lock_timeout = '5s'"))
            context.run_migrations()
        connection.commit()


if context.is_offline_mode():
    context.configure(dialect_name="postgresql", target_metadata=Base.metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    run()
