"""schedules, their runs; pins, holds and labels"""

import sqlalchemy as sa
from alembic import op

from storage_core.catalog import tables

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "schedules",
        sa.Column("row_version", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=48), nullable=False),
        sa.Column("cron", sa.String(length=100), nullable=False),
        sa.Column("time_zone", sa.String(length=64), nullable=False),
        sa.Column("made_by", sa.String(length=80), nullable=False),
        sa.Column("database_id", sa.String(length=64), nullable=True),
        sa.Column("tenant_id", sa.String(length=64), nullable=True),
        sa.Column("provider_id", sa.String(length=64), nullable=True),
        sa.Column("label", sa.String(length=48), nullable=True),
        sa.Column("only_new", sa.Boolean(), nullable=False),
        sa.Column("jitter_minutes", sa.Integer(), nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("retention", sa.Text(), nullable=False),
        sa.Column("next_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("last_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("created_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("updated_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    for name in ("created_at", "database_id", "next_at", "provider_id", "tenant_id"):
        op.create_index(f"ix_schedules_{name}", "schedules", [name], unique=False)
    op.create_table(
        "schedule_runs",
        sa.Column("row_version", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("schedule_id", sa.String(length=64), nullable=False),
        sa.Column("database_id", sa.String(length=64), nullable=False),
        sa.Column("tenant_id", sa.String(length=64), nullable=True),
        sa.Column("provider_id", sa.String(length=64), nullable=True),
        sa.Column("due_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("start_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("backup_id", sa.String(length=64), nullable=True),
        sa.Column("job_id", sa.String(length=64), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("updated_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    for name in ("created_at", "schedule_id", "start_at", "status"):
        op.create_index(f"ix_schedule_runs_{name}", "schedule_runs", [name], unique=False)
    with op.batch_alter_table("backups", schema=None) as batch_op:
        batch_op.add_column(sa.Column("schedule_id", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("due_at", tables.UtcDateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("pinned", sa.Boolean(), server_default=sa.false(), nullable=False))
        batch_op.add_column(sa.Column("hold", sa.Text(), nullable=True))
        batch_op.create_index("ix_backups_schedule_id", ["schedule_id"], unique=False)
    with op.batch_alter_table("databases", schema=None) as batch_op:
        batch_op.add_column(sa.Column("labels", sa.Text(), server_default="[]", nullable=False))


def downgrade() -> None:
    with op.batch_alter_table("databases", schema=None) as batch_op:
        batch_op.drop_column("labels")
    with op.batch_alter_table("backups", schema=None) as batch_op:
        batch_op.drop_index("ix_backups_schedule_id")
        for name in ("schedule_id", "due_at", "pinned", "hold"):
            batch_op.drop_column(name)
    op.drop_table("schedule_runs")
    op.drop_table("schedules")
