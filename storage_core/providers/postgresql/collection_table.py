"""Collections as tables: how they lie there, and the statements that do not depend on what is asked."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    MetaData,
    Table,
    Text,
    bindparam,
    cast,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.sql import ClauseElement

from ...domain.naming import schema_in

SCHEMA = "collections"
#: How tables of collections begin in a schema that is a tenant's database: beside them lie an application's own.
COLLECTION_PREFIX = "_c_"
#: What a comment on a table says that is a collection of ours.
MARK = "storage-console collection"
#: One in a database makes collections at a time.
MAKING = 7_230_420
OURS = f"""
select c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1 and c.relkind = 'r' and obj_description(c.oid, 'pg_class') = '{MARK}' order by 1
"""  # noqa: S608 - constants
FIELDS = ("id", "version", "created_at", "updated_at", "body", "tagged")

_DIALECT: Any = PGDialect_asyncpg()
#: Floats from here on are integers to jsonb, and floats again to whoever reads them.
PLAIN = 2e19
#: An integral float of a size that jsonb would give back as an integer: 1e16 to below 2^64.
_TURNS = re.compile(rb"e\+1[6-9]")


_PLUS = ord("+")


def packed(body: Any, text: bytes | None = None) -> bytes:
    """A value as jsonb's binary form; `text` is its JSON, where somebody has made it already.

    Floats stay floats: jsonb keeps the spelling of a number's fraction alone.
    """
    raw = orjson.dumps(body) if text is None else text
    # looking for a byte costs nothing, for more than one as much as writing them
    if _PLUS in raw and _TURNS.search(raw):
        raw = orjson.dumps(_spelled(body))
    return b"\x01" + raw


def _spelled(value: Any) -> Any:
    if isinstance(value, float) and 1e16 <= abs(value) < PLAIN:
        return orjson.Fragment(f"{int(value)}.0")
    if isinstance(value, dict):
        return {key: _spelled(item) for key, item in value.items()}
    return [_spelled(item) for item in value] if isinstance(value, list) else value


def keyed(database: str, name: str) -> str:
    """What statements know a collection by: its name, behind its schema where the database is a schema."""
    schema = schema_in(database)
    return name if schema is None else f"{schema}/{name}"


def plain(key: str) -> str:
    """What people know a collection by."""
    return key.rpartition("/")[2]


def parts_of(key: str) -> tuple[str, str]:
    """The schema and the table of a collection."""
    schema, _, name = key.rpartition("/")
    return (schema, COLLECTION_PREFIX + name) if schema else (SCHEMA, name)


def schema_of(database: str) -> str:
    """The schema of a database's collections."""
    return schema_in(database) or SCHEMA


@lru_cache(4096)
def table_of(key: str) -> Table:
    schema, name = parts_of(key)
    return Table(
        name,
        MetaData(schema=schema),
        Column("id", Text(collation="C"), primary_key=True),
        Column("version", BigInteger, nullable=False),
        Column("created_at", DateTime(timezone=True), nullable=False),
        Column("updated_at", DateTime(timezone=True), nullable=False),
        Column("body", JSONB, nullable=False),
        Column("tagged", Boolean, nullable=False),
    )


def compiled(statement: ClauseElement) -> str:
    """A statement as asyncpg takes it."""
    return str(statement.compile(dialect=_DIALECT))


@dataclass(frozen=True, slots=True)
class Statements:
    """The statements about one collection that do not depend on a filter."""

    get: str
    insert: str
    replace: str
    replace_at: str
    patch: str
    patch_at: str
    prune: str
    prune_at: str
    delete: str
    delete_at: str
    version: str
    size: str


@lru_cache(4096)
def statements_of(name: str) -> Statements:
    """$1 id, $2 moment, $3 body (of a patch: fields to set), $4 tagged; last the version.

    `prune` is a patch that removes fields, too: $5. Deleting takes the id and the version alone.
    """
    t = table_of(name)
    id, moment = bindparam("id"), bindparam("moment", type_=DateTime(timezone=True))
    body: Any = bindparam("body", type_=JSONB)
    tagged: Any = bindparam("tagged", type_=Boolean)
    row = [t.c[field] for field in FIELDS]
    here, at = t.c.id == id, t.c.version == bindparam("version", type_=BigInteger)
    head = {"version": t.c.version + literal_column("1"), "updated_at": moment}
    pruned = t.c.body.op("-")(bindparam("unset", type_=ARRAY(Text)))
    replace = update(t).values(**head, body=body, tagged=tagged).returning(*row)
    head["tagged"] = or_(t.c.tagged, tagged)
    patch = update(t).values(**head, body=t.c.body.op("||")(body)).returning(*row)
    prune = update(t).values(**head, body=pruned.op("||")(body)).returning(*row)
    gone = delete(t).returning(t.c.id, t.c.version)
    names = ["id", "moment", "body", "tagged"]
    pruning = [*names, "unset"]

    def said(statement: ClauseElement, order: list[str]) -> str:
        """Compiled, with parameters numbered in this order."""
        made: Any = statement.compile(dialect=_DIALECT)
        numbers = {f"${i}": f"${order.index(name) + 1}" for i, name in enumerate(made.positiontup or [], 1)}
        return re.sub(r"\$\d+", lambda found: numbers[found[0]], str(made))

    inserted = insert(t).values(
        id=id, version=literal_column("1"), created_at=moment, updated_at=moment, body=body, tagged=tagged
    )
    return Statements(
        said(select(*row).where(here), ["id"]),
        said(inserted, names),
        said(replace.where(here), names),
        said(replace.where(here, at), [*names, "version"]),
        said(patch.where(here), names),
        said(patch.where(here, at), [*names, "version"]),
        said(prune.where(here), pruning),
        said(prune.where(here, at), [*pruning, "version"]),
        said(gone.where(here), ["id"]),
        said(gone.where(here, at), ["id", "version"]),
        said(select(t.c.version).where(here), ["id"]),
        said(select(func.octet_length(cast(t.c.body, Text))).where(here).with_for_update(), ["id"]),
    )
