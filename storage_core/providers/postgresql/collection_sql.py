"""Collections as tables, and the filter language as SQL.

Equality and the order of numbers are jsonb's own, which indexes serve; texts compare by code points, whatever the
database's collation is.
"""

import re
from dataclasses import dataclass
from decimal import Decimal
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

from ...domain.errors import Unsupported
from ...domain.query import (
    All,
    Any_,
    Compare,
    Exists,
    Member,
    Node,
    Not,
    Op,
    Own,
    Path,
    Regex,
    Scalar,
    kind_of,
)
from ...domain.query import (
    Text as TextSearch,
)
from ...domain.record import Find, SortKey
from .sql import ident, literal

SCHEMA = "collections"
#: What a comment on a table says that is a collection of ours.
MARK = "storage-console collection"
#: One in a database makes collections at a time.
MAKING = 7_230_420
OURS = f"""
select c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = '{SCHEMA}' and c.relkind = 'r' and obj_description(c.oid, 'pg_class') = '{MARK}' order by 1
"""  # noqa: S608 - constants
FIELDS = ("id", "version", "created_at", "updated_at", "body", "tagged")
SIGNS = {Op.EQ: "=", Op.LT: "<", Op.LTE: "<=", Op.GT: ">", Op.GTE: ">="}

_DIALECT: Any = PGDialect_asyncpg()


#: An integral float of a size that jsonb would give back as an integer: 1e16 to below 2^64.
_TURNS = re.compile(rb"e\+1[6-9]")


def packed(body: Any) -> bytes:
    """A value as jsonb's binary form. Floats stay floats: jsonb keeps the spelling of a number's fraction alone."""
    raw = orjson.dumps(body)
    if b"e+1" in raw and _TURNS.search(raw):
        raw = orjson.dumps(_spelled(body))
    return b"\x01" + raw


def _spelled(value: Any) -> Any:
    if isinstance(value, float) and 1e16 <= abs(value) < 2e19:
        return orjson.Fragment(f"{int(value)}.0")
    if isinstance(value, dict):
        return {key: _spelled(item) for key, item in value.items()}
    return [_spelled(item) for item in value] if isinstance(value, list) else value


@lru_cache(4096)
def table_of(name: str) -> Table:
    return Table(
        name,
        MetaData(schema=SCHEMA),
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


@lru_cache(4096)
def element(path: Path) -> str:
    """The value at a path, as jsonb. A list's items are reached by plain numbers alone."""
    at = "body"
    for part in path:
        plain = part.isascii() and part.isdigit() and len(part) < 10 and (part == "0" or part[0] != "0")
        at = f"({at} #> '{{{part}}}')" if plain else f"({at} -> {literal(part)})"
    return at


@lru_cache(4096)
def key(path: Path) -> str:
    """What indexes are over: the value at a path, SQL's null for null and for what is not there."""
    return f"nullif({element(path)}, 'null'::jsonb)"


@lru_cache(4096)
def kind(path: Path) -> str:
    at = element(path)
    return (
        f"(case jsonb_typeof({at}) when 'number' then 1 when 'string' then 2 when 'boolean' then 3"
        f" when 'object' then 4 when 'array' then 4 else 0 end)"
    )


@lru_cache(4096)
def number(path: Path) -> str:
    at = element(path)
    return (
        f"(case jsonb_typeof({at}) when 'number' then ({at})::numeric"
        f" when 'boolean' then ({at})::boolean::int::numeric end)"
    )


@lru_cache(4096)
def words(path: Path) -> str:
    at = element(path)
    return f"""(case when jsonb_typeof({at}) = 'string' then {at} #>> '{{}}' end collate "C")"""


class Statement:
    """Conditions as SQL, with their parameters in order."""

    def __init__(self) -> None:
        self.values: list[Any] = []

    def value(self, value: Any, type: str) -> str:
        self.values.append(value)
        return f"${len(self.values)}::{type}"

    def where(self, node: Node) -> str:
        """A condition; where it is null it counts as false, inside of a negation too."""
        match node:
            case All(nodes):
                return "(" + " and ".join(self.where(n) for n in nodes) + ")"
            case Any_(nodes):
                return "(" + (" or ".join(self.where(n) for n in nodes) or "false") + ")"
            case Not(inner):
                return f"(({self.where(inner)}) is not true)"
            case Compare(path, op, value):
                return self.compare(path, op, value)
            case Member(path, values):
                return "(" + (" or ".join(self.compare(path, Op.EQ, v) for v in values) or "false") + ")"
            case Exists(path):
                return f"({element(path)} is not null)"
            case Own(name, op, value):
                return f"({ident(name)} {SIGNS[op]} {self.own(name, value)})"
            case Regex(path, pattern):
                return f"({words(path)} ~ {self.value(pattern, 'text')})"
            case TextSearch():
                raise Unsupported(
                    "PostgreSQL's full-text search is not offered for collections.",
                    field="where.$text",
                    hint="Use $regex, or a table of your own with storage.session().",
                )

    def compare(self, path: Path, op: Op, value: Scalar) -> str:
        if value is None:
            return f"({key(path)} is null)"
        if op is Op.EQ:
            return f"({key(path)} = {self.value(packed(value), 'jsonb')})"
        if isinstance(value, str):
            return f"({words(path)} {SIGNS[op]} {self.value(value, 'text')})"
        # jsonb orders numbers as such, and apart from everything else; the index's part of the work
        given = self.value(packed(value), "jsonb")
        return f"({key(path)} {SIGNS[op]} {given} and jsonb_typeof({element(path)}) = 'number')"

    def own(self, name: str, value: Any) -> str:
        if name == "id":
            return self.value(value, "text")
        return self.value(value, "numeric" if name == "version" else "timestamptz")

    def amount(self, value: Any) -> str:
        return self.value(exact(value), "numeric")

    def beyond(self, keys: tuple[SortKey, ...], after: tuple[Any, ...]) -> str:
        """Rows behind a place: the first key that differs decides, then the id."""
        ways: list[str] = []
        same: list[str] = []
        for key, value in zip((*keys, SortKey(None, "id")), after, strict=True):
            beyond, equal = self._key(key, value)
            ways.append(" and ".join([*same, beyond]))
            same.append(equal)
        return "(" + " or ".join(f"({way})" for way in ways) + ")"

    def _key(self, key: SortKey, value: Any) -> tuple[str, str]:
        sign = "<" if key.descending else ">"
        if key.path is None:
            name = key.own or "id"
            given = self.own(name, value)
            return f"{ident(name)} {sign} {given}", f"{ident(name)} = {given}"
        place = kind_of(value)
        rank = f"{kind(key.path)} {sign} {place}"
        same = f"{kind(key.path)} = {place}"
        if place in (0, 4):
            return rank, same
        if isinstance(value, str):
            at, given = words(key.path), self.value(value, "text")
        else:
            at, given = number(key.path), self.amount(value)
        return f"({rank} or ({same} and {at} {sign} {given}))", f"({same} and {at} = {given})"


def exact(value: float) -> Decimal:
    """A number as numeric holds it in stored bodies."""
    if isinstance(value, float):
        return Decimal(int(value)) if abs(value) >= 1e16 else Decimal(repr(value))
    return Decimal(int(value))


def order(keys: tuple[SortKey, ...]) -> str:
    parts: list[str] = []
    for key in keys:
        way = " desc" if key.descending else ""
        if key.path is None:
            parts.append(f"{ident(key.own or 'id')}{way}")
        else:
            columns = (kind(key.path), number(key.path), words(key.path))
            parts += [f"{column}{way}" for column in columns]
    return ", ".join([*parts, "id"])


def find_statement(name: str, find: Find) -> tuple[str, list[Any]]:
    sql = Statement()
    tests = [] if find.where is None else [sql.where(find.where)]
    if find.after is not None:
        tests.append(sql.beyond(find.sort, find.after))
    sql.values.append(find.limit)
    return _find(name, " and ".join(tests), order(find.sort), len(sql.values)), sql.values


def count_statement(name: str, where: Node | None) -> tuple[str, list[Any]]:
    sql = Statement()
    return _count(name, "" if where is None else sql.where(where)), sql.values


@lru_cache(2048)
def _find(name: str, test: str, by: str, limit: int) -> str:
    table = table_of(name)
    statement: Any = select(*(table.c[field] for field in FIELDS)).order_by(literal_column(by))
    if test:
        statement = statement.where(literal_column(test, Boolean))
    return f"{compiled(statement)} LIMIT ${limit}"


@lru_cache(2048)
def _count(name: str, test: str) -> str:
    statement: Any = select(func.count()).select_from(table_of(name))
    return compiled(statement.where(literal_column(test, Boolean)) if test else statement)


@dataclass(frozen=True, slots=True)
class Statements:
    """The statements about one collection that do not depend on a filter."""

    get: str
    insert: str
    replace: str
    replace_at: str
    patch: str
    patch_at: str
    delete: str
    delete_at: str
    version: str
    size: str


@lru_cache(4096)
def statements_of(name: str) -> Statements:
    """$1 id, $2 moment, $3 body (a patch: fields to set), $4 tagged, $5 a patch's fields to remove; last the version.

    Deleting takes the id and the version alone.
    """
    t = table_of(name)
    id, moment = bindparam("id"), bindparam("moment", type_=DateTime(timezone=True))
    body: Any = bindparam("body", type_=JSONB)
    tagged: Any = bindparam("tagged", type_=Boolean)
    row = [t.c[field] for field in FIELDS]
    here, at = t.c.id == id, t.c.version == bindparam("version", type_=BigInteger)
    head = {"version": t.c.version + literal_column("1"), "updated_at": moment}
    patched = t.c.body.op("-")(bindparam("unset", type_=ARRAY(Text))).op("||")(body)
    replace = update(t).values(**head, body=body, tagged=tagged).returning(*row)
    patch = update(t).values(**head, body=patched, tagged=or_(t.c.tagged, tagged)).returning(*row)
    gone = delete(t).returning(t.c.id, t.c.version)
    names = ["id", "moment", "body", "tagged"]
    patching = [*names, "unset"]

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
        said(patch.where(here), patching),
        said(patch.where(here, at), [*patching, "version"]),
        said(gone.where(here), ["id"]),
        said(gone.where(here, at), ["id", "version"]),
        said(select(t.c.version).where(here), ["id"]),
        said(select(func.octet_length(cast(t.c.body, Text))).where(here).with_for_update(), ["id"]),
    )
