"""The hash's definition: how a table's content becomes one number, the same wherever and whenever it is read.

A row's hash is PostgreSQL's own record hash over its columns in order of name, hashed once more; a table's is the
sum of its rows' hashes, so physical order does not matter and equal pairs do not cancel out. (The record hash alone is
linear in its columns: in a sum of it, two rows that exchange a value would go unseen.) Values whose equality is kinder than
identity (-0, 1.0 and 1.00, one month and thirty days, enums by OID) enter in their binary or text form.
The record hash is not promised across major versions, so the method carries a probe of it; servers before 14 use
md5 of the row's text, which is promised everywhere and slower.
"""

from dataclasses import dataclass

from ...domain.errors import Unsupported
from .dial import Connection
from .sql import ident

RECORD, TEXT = "record", "text"
RECORD_SINCE = 14
#: What a manifest speaks of: 1 rows and definitions; 2 also owners and grants, and how far a sequence may be.
SCOPE = 2

#: What every session that hashes or reads definitions runs with.
SESSION = {
    "search_path": "",
    "timezone": "UTC",
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "xmlbinary": "base64",
    "xmloption": "content",
    "row_security": "off",
    "quote_all_identifiers": "off",
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "default_transaction_read_only": "off",
}

#: Built-in types whose own equality is identity: hashed as they are.
NATIVE = frozenset(
    [
        "bool",
        "int2",
        "int4",
        "int8",
        "oid",
        "char",
        "name",
        "uuid",
        "bytea",
        "date",
        "time",
        "timestamp",
        "timestamptz",
        "inet",
        "cidr",
        "macaddr",
        "int4range",
        "int8range",
        "daterange",
        "tsrange",
        "tstzrange",
    ]
)
#: The same for text, under the collation that compares bytes.
TEXTUAL = frozenset(("text", "varchar"))
#: Built-in types that enter in their binary form.
SEND = {
    "float4": "float4send",
    "float8": "float8send",
    "numeric": "numeric_send",
    "interval": "interval_send",
    "bpchar": "bpcharsend",
    "bit": "bit_send",
    "varbit": "varbit_send",
    "money": "cash_send",
    "timetz": "timetz_send",
}
#: Of these, the ones whose values are all spelled alike where the column declares a size: numeric(12,2), char(5).
SIZED = frozenset(("numeric", "bpchar"))
#: Elements whose arrays enter in binary form, bounds included.
ELEMENTS = (NATIVE | TEXTUAL | SEND.keys()) - {"oid"}

TYPES = """
select t.oid::int8 as oid, t.typname::text as name, t.typbasetype::int8 as base, t.typelem::int8 as element,
  t.typtype = 'd' as is_domain, t.typcategory = 'A' and t.typlen = -1 as is_array,
  t.typnamespace = 'pg_catalog'::regnamespace as builtin
from pg_type t
"""

COLUMNS = """
select a.attrelid::int8 as relation, a.attname::text as name, a.atttypid::int8 as type,
  a.atttypmod as modifier
from pg_attribute a
join pg_class c on c.oid = a.attrelid
where a.attnum > 0 and not a.attisdropped and a.attgenerated <> 'v' and c.relkind = 'r' and c.oid >= 16384
order by a.attrelid, a.attname collate "C"
"""

PROBE = """
select hash_record_extended(row(1::int2, 2::int4, 3::int8, 'probe'::text collate "C", 'x'::name, '\\x00ff'::bytea,
  '2000-02-29'::date, '2000-02-29 12:00:00.5'::timestamp, '2000-02-29 12:00:00.5+00'::timestamptz, '12:00'::time,
  true, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid, '10.0.0.1'::inet, '08:00:2b:01:02:03'::macaddr, 7::oid,
  float8send('-0'), numeric_send(1.50), int4range(1, 5), null::text, array_send(array[1, 2])), 0)
"""


@dataclass(frozen=True, slots=True)
class PgType:
    name: str
    base: int
    element: int
    is_domain: bool
    is_array: bool
    builtin: bool


@dataclass(frozen=True, slots=True)
class Rule:
    """One way to hash: `record` or `text`; `major` is the server whose definitions' wording is meant.

    `scope` is what is looked at, see SCOPE.
    """

    name: str
    major: int
    probe: str = ""
    scope: int = SCOPE

    @property
    def method(self) -> str:
        return " ".join(
            part for part in (f"{self.name}-{self.scope}", f"postgresql-{self.major}", self.probe) if part
        )

    def row(self, terms: list[str]) -> str:
        if self.name == RECORD:
            return f'hashtextextended(hash_record_extended(row({", ".join(terms)}), 0)::text collate "C", 0)'
        return f"('x' || left(md5(row({', '.join(terms)})::text), 16))::bit(64)::int8"


async def rule_for(connection: Connection) -> Rule:
    """The rule a new manifest gets on this server."""
    major = connection.get_server_version().major
    if major < RECORD_SINCE:
        return Rule(TEXT, major)
    return Rule(RECORD, major, f"{await connection.fetchval(PROBE):x}")


async def rule_like(method: str, connection: Connection) -> Rule:
    """The rule of a manifest, if this server can follow it; Unsupported otherwise."""
    way, _, rest = method.partition(" ")
    name, _, scope = way.partition("-")
    server, _, probe = rest.partition(" ")
    major = server.removeprefix("postgresql-")
    known = name in (RECORD, TEXT) and scope.isdigit() and 1 <= int(scope) <= SCOPE
    if not known or not major.isdigit():
        raise Unsupported(
            f"The manifest's method {method[:80]!r} is unknown here.",
            hint="Use the version of this product that made the backup, or a newer one.",
        )
    own = await rule_for(connection)
    if name == RECORD and own.probe != probe:
        raise Unsupported(
            f"PostgreSQL {own.major} hashes rows differently from PostgreSQL {major}, which made the manifest.",
            hint=f"Prove this backup on a server of version {major}.",
        )
    return Rule(name, int(major), probe, int(scope))


async def read_types(connection: Connection) -> dict[int, PgType]:
    return {
        row["oid"]: PgType(
            row["name"], row["base"], row["element"], row["is_domain"], row["is_array"], row["builtin"]
        )
        for row in await connection.fetch(TYPES)
    }


async def read_columns(connection: Connection, types: dict[int, PgType]) -> dict[int, list[str]]:
    """For each table its terms, in order of the columns' names; virtual columns hold nothing to hash."""
    terms: dict[int, list[str]] = {}
    for row in await connection.fetch(COLUMNS):
        terms.setdefault(row["relation"], []).append(term(row["name"], row["type"], row["modifier"], types))
    return terms


def term(column: str, type_id: int, modifier: int, types: dict[int, PgType]) -> str:
    """The expression of a column's value that hashes by identity."""
    value = f"t.{ident(column)}"
    found = types[type_id]
    is_domain = found.is_domain
    while found.is_domain:
        found = types[found.base]
    if not found.builtin:
        return f"{value}::text"
    plain = f"{value}::pg_catalog.{ident(found.name)}" if is_domain else value
    if found.name in TEXTUAL:
        return f'{value}::text collate "C"'
    if found.name in NATIVE:
        return plain
    if found.name in SIZED and modifier != -1:
        return f'{value} collate "C"' if found.name == "bpchar" else value
    if found.name in SEND:
        return f"{SEND[found.name]}({plain})"
    element = types.get(found.element)
    if found.is_array and element is not None and element.builtin and element.name in ELEMENTS:
        return f"array_send({plain})"
    return f"{value}::text"


async def hash_table(connection: Connection, relation: str, terms: list[str], rule: Rule) -> tuple[int, str]:
    """Rows and content hash of one table (quoted name), without its children."""
    total = f"coalesce(sum({rule.row(terms)}), 0)" if terms else "0"
    row = await connection.fetchrow(f"select count(*), {total}::text from only {relation} t")  # noqa: S608
    assert row is not None  # noqa: S101 - an aggregate always answers
    return row[0], row[1]
