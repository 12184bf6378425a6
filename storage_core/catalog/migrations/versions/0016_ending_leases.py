"""how leases end"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("leases", schema=None) as batch_op:
        batch_op.add_column(sa.Column("token_id", sa.String(length=64), nullable=True))
        # Those that are there were handed out.
        batch_op.add_column(sa.Column("made", sa.Boolean(), nullable=False, server_default=sa.true()))
        batch_op.add_column(sa.Column("ending", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("problem", sa.Text(), nullable=True))
    with op.batch_alter_table("leases", schema=None) as batch_op:
        batch_op.alter_column("made", server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("leases", schema=None) as batch_op:
        for name in ("problem", "ending", "made", "token_id"):
            batch_op.drop_column(name)
