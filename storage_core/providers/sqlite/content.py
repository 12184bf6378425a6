"""What a SQLite database holds, as hashes: the manifest's side, taken from the snapshot that is dumped.

The rules, method ``sqlite-1``; `measure` follows the same rules with code of its own.

- A row is encoded as Python's marshal format, version 2, of a tuple of its stored columns: ``(`` count, then for
  each value ``N`` (NULL), ``i`` (int of 32 bits), ``l`` (longer int, 15-bit digits), ``g`` (double, IEEE bits), ``u``
  (text, UTF-8; bytes that are no UTF-8 as escaped surrogates) or ``s`` (blob); all little-endian. So 1, 1.0, '1' and
  x'31' differ. Virtual generated columns are not stored, hence not hashed: their definition is.
- A table with a key of its own order (INTEGER PRIMARY KEY) is hashed in that order: BLAKE3 over runs of 512 rows,
  each run encoded as a list (``[`` count, rows).
- Any other table: the sum modulo 2**128 of the 16-byte BLAKE3 (little-endian) of every row, which no order changes
  and where equal pairs do not cancel out.
- Every entry of sqlite_schema, of tables too, is an object of kind ``schema``: BLAKE3 of the encoded tuple
  (type, name, table, SQL). Indexes SQLite makes by itself have no SQL, but are listed.
- Pragmas that persist are objects of kind ``pragma``.

Virtual tables (FTS5, R-Tree) keep their content in shadow tables, which are tables like any other.
"""

import marshal
import operator
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from blake3 import blake3

from ...domain.backup import ManifestObject
from .connect import quoted, stand_in_for_collations

METHOD = "sqlite-1"
RUN = 512
MODULUS = 1 << 128
PRAGMAS = ("application_id", "user_version", "encoding", "page_size", "auto_vacuum", "journal_mode")
UNREADABLE_NAME = "its name is not valid UTF-8, so no SQL can name it: copied, not hashed"

#: Decodes text of any bytes; the same as the driver's own decoding where that works, but slower.
any_text = operator.methodcaller("decode", "utf-8", "surrogateescape")
_MARSHAL = 2


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of sqlite_schema. `rootpage` is 0 for what has no storage of its own."""

    type: str
    name: str
    table: str
    rootpage: int
    sql: str | None


def shown(name: str) -> str:
    """A name that can be printed and stored, whatever bytes it has."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def describe(db: sqlite3.Connection) -> tuple[ManifestObject, ...]:
    """Every object of the database as the open transaction sees it."""
    stand_in_for_collations(db)
    entries = _entries(db)
    tables = [entry for entry in entries if entry.type == "table" and entry.rootpage]
    return (
        *(_table(db, entry.name) for entry in tables),
        *(_definition(entry) for entry in entries),
        *(_pragma(db, name) for name in PRAGMAS),
    )


def _entries(db: sqlite3.Connection) -> list[Entry]:
    db.text_factory = any_text
    rows = db.execute("SELECT type, name, tbl_name, rootpage, sql FROM sqlite_schema").fetchall()
    return [Entry(*row) for row in rows]


def _definition(entry: Entry) -> ManifestObject:
    parts = (entry.type, entry.name, entry.table, entry.sql)
    kind = "virtual table" if entry.type == "table" and not entry.rootpage else entry.type
    return ManifestObject(
        f"{kind} {shown(entry.name)}", "schema", 0, blake3(marshal.dumps(parts, _MARSHAL)).hexdigest()
    )


def _pragma(db: sqlite3.Connection, name: str) -> ManifestObject:
    value = db.execute(f"PRAGMA {name}").fetchone()[0]
    if name == "journal_mode" and value != "wal":
        value = "rollback"  # the others are a connection's, not the file's
    return ManifestObject(name, "pragma", 0, blake3(f"{name}={value}".encode()).hexdigest())


def _table(db: sqlite3.Connection, name: str) -> ManifestObject:
    try:
        name.encode()
    except UnicodeEncodeError:
        return ManifestObject(shown(name), "table", 0, "", consistent=False, note=UNREADABLE_NAME)
    columns, keyed, rowid = _stored_columns(db, name)
    select = f"SELECT {', '.join(map(quoted, columns))} FROM {quoted(name)}"  # noqa: S608 - quoted names only
    if rowid:
        select += " NOT INDEXED"  # the table's own tree: in the key's order, and no index can answer instead
    hashing = _ordered if keyed else _summed
    try:
        rows, digest = hashing(db, select, str)
    except sqlite3.OperationalError as error:
        if "decode" not in str(error):
            raise
        rows, digest = hashing(db, select, any_text)
    return ManifestObject(name, "table", rows, digest)


def _stored_columns(db: sqlite3.Connection, name: str) -> tuple[list[str], bool, bool]:
    """Stored columns, whether an INTEGER PRIMARY KEY orders the table, whether it has rowids."""
    info = db.execute(f"PRAGMA table_xinfo({quoted(name)})").fetchall()
    columns = [column for _, column, _, _, _, _, hidden in info if hidden != 2]
    key = [row for row in info if row[5]]
    own_index = [row[1] for row in db.execute(f"PRAGMA index_list({quoted(name)})") if row[3] == "pk"]
    # A primary key without an index of its own is the rowid itself; one whose index holds no rowid is the table.
    rowid = not any(_is_table(db, index) for index in own_index)
    return columns, len(key) == 1 and not own_index, rowid


def _is_table(db: sqlite3.Connection, index: str) -> bool:
    return all(row[1] >= 0 for row in db.execute(f"PRAGMA index_xinfo({quoted(index)})"))


def _ordered(
    db: sqlite3.Connection, select: str, text: Callable[[bytes], str] | type[str]
) -> tuple[int, str]:
    db.text_factory = text
    digest, count, cursor = blake3(), 0, db.execute(select)
    while rows := cursor.fetchmany(RUN):
        digest.update(marshal.dumps(rows, _MARSHAL))
        count += len(rows)
    return count, digest.hexdigest()


def _summed(db: sqlite3.Connection, select: str, text: Callable[[bytes], str] | type[str]) -> tuple[int, str]:
    db.text_factory = text
    total, count, cursor = 0, 0, db.execute(select)
    dumps, number = marshal.dumps, int.from_bytes
    while rows := cursor.fetchmany(RUN):
        total += sum([number(blake3(dumps(row, _MARSHAL)).digest(16), "little") for row in rows])
        count += len(rows)
    return count, f"{total % MODULUS:032x}"
