"""who made a token, and with which"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("tokens", schema=None) as batch_op:
        batch_op.add_column(sa.Column("made_by", sa.String(length=80), nullable=True))
        batch_op.add_column(sa.Column("made_with", sa.String(length=64), nullable=True))
        batch_op.create_index(batch_op.f("ix_tokens_made_with"), ["made_with"], unique=False)
    with op.batch_alter_table("approvals", schema=None) as batch_op:
        batch_op.add_column(sa.Column("maker_id", sa.String(length=80), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("approvals", schema=None) as batch_op:
        batch_op.drop_column("maker_id")
    with op.batch_alter_table("tokens", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_tokens_made_with"))
        batch_op.drop_column("made_with")
        batch_op.drop_column("made_by")
