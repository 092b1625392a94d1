"""The language of a standard. It only adds, so the release before works on.

A constant default is kept in the catalogue: no row is rewritten, whatever the
size of the table."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
breaks = False


def upgrade() -> None:
    op.add_column("standards", sa.Column("language", sa.String(8), nullable=True, server_default="en"))


def downgrade() -> None:
    op.drop_column("standards", "language")
