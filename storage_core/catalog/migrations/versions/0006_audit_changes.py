"""audit entries say what changed, and in which form they are hashed"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("audit", sa.Column("changes", sa.Text(), nullable=True))
    op.add_column("audit", sa.Column("version", sa.Integer(), server_default="1", nullable=False))
