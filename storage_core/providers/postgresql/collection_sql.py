"""Collections as tables, and the filter language as SQL.

A path's value is looked at as three columns would be: its kind, its number (booleans as 0 and 1) and the beginning of
its text. Comparisons, orders and indexes are written over these three alone, so that indexes serve them all; texts
compare by code points. Operands shorter than the beginning that is kept compare with it as with the whole.
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any

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
from ...domain.record import Find, Index, SortKey
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
#: Characters of a text that indexes hold: what fits into an index's row in any script.
KEPT = 600
FIELDS = ("id", "version", "created_at", "updated_at", "body", "tagged")
SIGNS = {Op.EQ: "=", Op.LT: "<", Op.LTE: "<=", Op.GT: ">", Op.GTE: ">="}

_DIALECT: Any = PGDialect_asyncpg()


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
def beginning(path: Path) -> str:
    at = element(path)
    return f"""(case when jsonb_typeof({at}) = 'string' then left({at} #>> '{{}}', {KEPT}) end collate "C")"""


@lru_cache(4096)
def whole(path: Path) -> str:
    at = element(path)
    return f"""(case when jsonb_typeof({at}) = 'string' then {at} #>> '{{}}' end collate "C")"""


def identity(path: Path) -> str:
    """The text of a unique index: equal for equal values, and never too long for one."""
    at = element(path)
    return (
        f"""(case when jsonb_typeof({at}) = 'string' and length({at} #>> '{{}}') < {KEPT} then {at} #>> '{{}}'"""
        f""" when jsonb_typeof({at}) in ('string', 'object', 'array') then 'md5:' || md5({at}::text) end collate "C")"""
    )


def index_columns(index: Index) -> str:
    return ", ".join(f"{kind(p)}, {number(p)}, {beginning(p)}" for p in index.paths)


def unique_columns(index: Index) -> str:
    """Nothing in it is null: nulls would differ from each other."""
    return ", ".join(f"{kind(p)}, coalesce({number(p)}, 0), coalesce({identity(p)}, '')" for p in index.paths)


def index_condition(index: Index) -> str:
    """Rows that a unique index compares: those that hold all of its paths."""
    return " and ".join(f"{kind(p)} > 0" for p in index.paths)


class Statement:
    """Conditions as SQL, with their parameters in order."""

    def __init__(self) -> None:
        self.values: list[Any] = []

    def value(self, value: Any, type: str) -> str:
        self.values.append(value)
        return f"${len(self.values)}::{type}"

    def where(self, node: Node) -> str:
        """A condition that is true or false, never null."""
        match node:
            case All(nodes):
                return "(" + " and ".join(self.where(n) for n in nodes) + ")"
            case Any_(nodes):
                return "(" + (" or ".join(self.where(n) for n in nodes) or "false") + ")"
            case Not(inner):
                return f"(not {self.where(inner)})"
            case Compare(path, op, value):
                return self.compare(path, op, value)
            case Member(path, values):
                return "(" + (" or ".join(self.compare(path, Op.EQ, v) for v in values) or "false") + ")"
            case Exists(path):
                return f"({element(path)} is not null)"
            case Own(name, op, value):
                return f"({ident(name)} {SIGNS[op]} {self.own(name, value)})"
            case Regex(path, pattern):
                return f"coalesce({whole(path)} ~ {self.value(pattern, 'text')}, false)"
            case TextSearch():
                raise Unsupported(
                    "PostgreSQL's full-text search is not offered for collections.",
                    field="where.$text",
                    hint="Use $regex, or a table of your own with storage.session().",
                )

    def compare(self, path: Path, op: Op, value: Scalar) -> str:
        place = kind_of(value)
        if place == 0:
            return f"({kind(path)} = 0)"
        if isinstance(value, str):
            at = beginning(path) if len(value) < KEPT else whole(path)
            empty = f" and {number(path)} is null" if op is Op.EQ else ""
            return f"({kind(path)} = 2{empty} and {at} {SIGNS[op]} {self.value(value, 'text')})"
        return f"({kind(path)} = {place} and {number(path)} {SIGNS[op]} {self.amount(value)})"

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
            at, given = whole(key.path), self.value(value, "text")
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
            columns = (kind(key.path), number(key.path), beginning(key.path), whole(key.path))
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
