"""keys have generations, envelopes name their key"""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

from storage_core.catalog import tables

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_ENVELOPES = {"secrets": "envelope", "data_keys": "wrapped", "remembered": "body"}


def upgrade() -> None:
    for table in _ENVELOPES:
        with op.batch_alter_table(table) as batch_op:
            batch_op.add_column(sa.Column("key_id", sa.String(length=64), nullable=False, server_default=""))
    with op.batch_alter_table("secrets") as batch_op:
        batch_op.add_column(
            sa.Column("collection", sa.String(length=32), nullable=False, server_default="providers")
        )
    with op.batch_alter_table("keys") as batch_op:
        batch_op.add_column(sa.Column("version", sa.Integer(), nullable=False, server_default="1"))
        batch_op.add_column(sa.Column("updated_at", tables.UtcDateTime(timezone=True), nullable=True))
    _fill()
    for table in _ENVELOPES:
        with op.batch_alter_table(table) as batch_op:
            batch_op.alter_column("key_id", server_default=None)
            batch_op.create_index(batch_op.f(f"ix_{table}_key_id"), ["key_id"], unique=False)
    with op.batch_alter_table("secrets") as batch_op:
        batch_op.alter_column("collection", server_default=None)
    with op.batch_alter_table("keys") as batch_op:
        batch_op.alter_column("version", server_default=None)
        batch_op.alter_column("updated_at", nullable=False)
        batch_op.drop_column("tenant_id")


def _fill() -> None:
    """Say of what is there who sealed it: the ids stand in the envelopes, the master key's in the wrapped keys."""
    connection = op.get_bind()
    for name, column in _ENVELOPES.items():
        table = sa.table(name, sa.column("id"), sa.column("key_id"), sa.column(column))
        rows = connection.execute(sa.select(table.c.id, table.c[column])).all()
        changes = [{"row": id, "key": text.split(".")[1]} for id, text in rows if text.count(".") == 2]
        if changes:
            by_id = sa.update(table).where(table.c.id == sa.bindparam("row"))
            connection.execute(by_id.values(key_id=sa.bindparam("key")), changes)
    # The audit's own keys, once named by owner, then by name: every secret is owner/field.
    for name in ("signing", "hashing"):
        named = {"id": f"{name}/key", "owner_id": name, "collection": "audit"}
        rows = sa.table("secrets", *(sa.column(n) for n in ("id", "owner_id", "collection")))
        connection.execute(sa.update(rows).where(rows.c.id == f"audit/{name}").values(named))
    keys = sa.table(
        "keys",
        *(sa.column(n) for n in ("id", "owner", "wrapped", "state", "version")),
        sa.column("created_at", tables.UtcDateTime(timezone=True)),
        sa.column("updated_at", tables.UtcDateTime(timezone=True)),
    )
    connection.execute(sa.update(keys).values(updated_at=keys.c.created_at))
    masters = {text.split(".")[0] for text in connection.execute(sa.select(keys.c.wrapped)).scalars()}
    for master_id in masters:
        at = connection.execute(sa.select(sa.func.min(keys.c.created_at))).scalar() or datetime.now(UTC)
        row = {"id": master_id, "owner": "master", "wrapped": "", "state": "primary", "version": 1}
        connection.execute(sa.insert(keys).values(**row, created_at=at, updated_at=at))
