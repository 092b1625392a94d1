"""Users, standards and the results of jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

STANDARDS = [
    ("SCI-6-01", 6, "Science", "Explains how green plants make their food."),
    ("SCI-7-03", 7, "Science", "Tells physical from chemical changes."),
    ("MAT-6-02", 6, "Mathematics", "Adds and subtracts fractions."),
    ("MAT-8-05", 8, "Mathematics", "Solves linear equations in one variable."),
    ("SOC-7-01", 7, "Social science", "Describes how a state is governed."),
]


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("email", sa.String(254), nullable=False, unique=True),
        sa.Column("password", sa.String(200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )
    standards = op.create_table(
        "standards",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("code", sa.String(32), nullable=False, unique=True),
        sa.Column("grade", sa.Integer, nullable=False, index=True),
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("description", sa.Text, nullable=False),
    )
    op.create_table(
        "job_results",
        sa.Column("job_id", sa.String(64), primary_key=True),
        sa.Column("runs", sa.Integer, nullable=False, server_default="1"),
        sa.Column("worker", sa.String(128), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )
    op.create_table(
        "schema_steps",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("revision", sa.String(32), nullable=False, unique=True),
        sa.Column("breaks", sa.Boolean, nullable=False),
    )
    op.bulk_insert(standards, [dict(zip(("code", "grade", "subject", "description"), row)) for row in STANDARDS])


def downgrade() -> None:
    for table in ("schema_steps", "job_results", "standards", "users"):
        op.drop_table(table)
