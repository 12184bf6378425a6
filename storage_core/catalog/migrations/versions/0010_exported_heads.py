"""exported heads"""

import sqlalchemy as sa
from alembic import op

from storage_core.catalog import tables

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "exported_heads",
        sa.Column("place", sa.String(length=64), nullable=False),
        sa.Column("chain", sa.String(length=64), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("since", tables.UtcDateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("place", "chain"),
    )


def downgrade() -> None:
    op.drop_table("exported_heads")
