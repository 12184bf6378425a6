"""encrypted collections"""

import sqlalchemy as sa
from alembic import op

from storage_core.catalog import tables

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "encryptions",
        sa.Column("row_version", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("database_id", sa.String(length=64), nullable=False),
        sa.Column("collection", sa.String(length=48), nullable=False),
        sa.Column("origin", sa.String(length=64), nullable=False),
        sa.Column("wrapped", sa.Text(), nullable=False),
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("fields", sa.Text(), nullable=False),
        sa.Column("searchable", sa.Text(), nullable=False),
        sa.Column("created_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("database_id", "collection"),
    )
    with op.batch_alter_table("encryptions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_encryptions_key_id"), ["key_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_encryptions_tenant_id"), ["tenant_id"], unique=False)


def downgrade() -> None:
    op.drop_table("encryptions")
