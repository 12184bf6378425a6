"""What is done to documents on the writer's lane: blocking, inside its transaction, errors in our words."""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any

import orjson

from ...domain.errors import NameTaken, NotFound, StorageError, VersionConflict
from ...domain.patch import patched
from ...domain.record import Outcome, Quota, Row, Write
from . import quota as counting
from .collection_files import Reader
from .collection_index import said, taken_by
from .collection_table import CollectionTable, found
from .writer import Lane

Step = Callable[[sqlite3.Connection], Any]


#: Documents that are written together share their moments: most are parsed already.
parsed_moment = lru_cache(4096)(datetime.fromisoformat)


def read_row(db: sqlite3.Connection, table: CollectionTable, id: str) -> Row | None:
    row = db.execute(table.get, (id,)).fetchone()
    return None if row is None else as_row(id, row)


def as_row(id: str, row: tuple[int, str, str, int, str]) -> Row:
    version, created, updated, tagged, body = row
    at = datetime.fromisoformat(created)
    later = at if updated == created else datetime.fromisoformat(updated)
    return Row(id, version, at, later, orjson.loads(body), tagged == 1)


def admit(lane: Lane, db: sqlite3.Connection, table: CollectionTable) -> None:
    """See to it that the collection's table is there."""
    if table.name in lane.known:
        return
    if not found(db, table):
        lane.made = True
        db.execute("SAVEPOINT admit")
        try:
            db.execute(table.definition)
            if counting.is_counted(db):
                counting.count_table(db, table.name)
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK TO admit")
            raise
        finally:
            if db.in_transaction:
                db.execute("RELEASE admit")
    lane.known.add(table.name)


def exists(lane: Lane, db: sqlite3.Connection, table: CollectionTable) -> bool:
    """Whether it is there; nothing is made."""
    if table.name in lane.known:
        return True
    if found(db, table):
        lane.known.add(table.name)
        return True
    return False


def is_gone(knows: Lane | Reader, table: CollectionTable, error: sqlite3.OperationalError) -> bool:
    """Whether the error says that a table which was known is there no more: somebody else dropped it."""
    gone = "no such table" in str(error) and table.name in knows.known
    if gone:
        knows.known.discard(table.name)
    return gone


def within(quota: Quota | None, step: Step, lane: Lane, db: sqlite3.Connection) -> Any:
    """A step inside a savepoint of its own, kept only if the quota allows what it leaves."""
    if quota is None:
        return step(db)
    if not lane.counted:
        if not counting.is_counted(db):
            counting.begin_counting(db)
        lane.counted = True
    before = counting.usage(db)
    result = step(db)
    counting.check(quota, before, counting.usage(db))
    return result


def insert(table: CollectionTable, row: tuple[Any, ...], db: sqlite3.Connection) -> None:
    try:
        db.execute(table.insert, row)
    except sqlite3.IntegrityError as error:
        raise clash(db, table, row[0], error) from error


def clash(
    db: sqlite3.Connection, table: CollectionTable, id: str, error: sqlite3.IntegrityError
) -> Exception:
    """NameTaken, naming what is taken; or the error itself, if it is about something else."""
    if error.sqlite_errorcode == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
        return NameTaken(f"There is a document {id!r} already.", field="id")
    if error.sqlite_errorcode == sqlite3.SQLITE_CONSTRAINT_UNIQUE:
        index = taken_by(db, table, str(error))
        if index is None:
            return error
        return NameTaken(
            f"Another document holds this value of {said(index)} already.",
            field=index.name,
            hint="Give it another value.",
        )
    return error


def replace(
    table: CollectionTable,
    id: str,
    text: str,
    at: str,
    tagged: bool,
    version: int | None,
    db: sqlite3.Connection,
) -> tuple[int, str]:
    """The new version, and when it was created."""
    try:
        if version is None:
            rows = db.execute(table.replace, (at, tagged, text, id)).fetchall()
        else:
            rows = db.execute(table.replace_version, (at, tagged, text, id, version)).fetchall()
    except sqlite3.IntegrityError as error:
        raise clash(db, table, id, error) from error
    if not rows:
        raise missed(db, table, id, version)
    made: tuple[int, str] = rows[0]
    return made


def missed(db: sqlite3.Connection, table: CollectionTable, id: str, version: int | None) -> StorageError:
    """Why a change found nothing to change."""
    row = db.execute(table.version, (id,)).fetchone()
    if row is None:
        return not_there(id)
    return other_version(id, row[0], version)


def other_version(id: str, there: int, wanted: int | None) -> VersionConflict:
    return VersionConflict(f"The document {id!r} is at version {there}, not {wanted}.", field="version")


def not_there(id: str) -> NotFound:
    return NotFound(f"There is no document {id!r}.", field="id")


def patch(table: CollectionTable, write: Write, at: str, db: sqlite3.Connection) -> Row:
    """Read, change, write back if nobody was in between: other processes may be, where no transaction is open."""
    while True:
        found = db.execute(table.get, (write.id,)).fetchone()
        if found is None:
            raise not_there(write.id)
        version, created, _, tagged, text = found
        if write.version is not None and version != write.version:
            raise other_version(write.id, version, write.version)
        body = patched(orjson.loads(text), write.changes or {}, write.unset)
        marked = write.tagged or tagged == 1
        row = (at, marked, dumped(body), write.id, version)
        try:
            written = db.execute(table.rewrite, row).rowcount
        except sqlite3.IntegrityError as error:
            raise clash(db, table, write.id, error) from error
        if written:
            times = datetime.fromisoformat(created), datetime.fromisoformat(at)
            return Row(write.id, version + 1, *times, body, marked)


def delete(table: CollectionTable, id: str, version: int | None, db: sqlite3.Connection) -> None:
    if version is None:
        count = db.execute(table.delete, (id,)).rowcount
    else:
        count = db.execute(table.delete_version, (id, version)).rowcount
    if not count:
        raise missed(db, table, id, version)


def insert_all(
    table: CollectionTable,
    quota: Quota | None,
    rows: Sequence[tuple[Any, ...]],
    lane: Lane,
    db: sqlite3.Connection,
) -> list[Outcome]:
    """All at once, as fast as it goes; one by one if that fails."""
    admit(lane, db, table)
    lane.mark(db)
    try:
        within(quota, lambda db: db.executemany(table.insert, rows), lane, db)
    except (sqlite3.IntegrityError, StorageError):
        lane.back(db)
        admit(lane, db, table)
        return [_tried(row[0], quota, partial(_inserted, table, row), lane, db) for row in rows]
    finally:
        lane.unmark(db)
    return [Outcome(row[0], 1) for row in rows]


def _inserted(table: CollectionTable, row: tuple[Any, ...], db: sqlite3.Connection) -> int:
    insert(table, row, db)
    return 1


def change_all(
    table: CollectionTable,
    quota: Quota | None,
    writes: Sequence[Write],
    at: str,
    lane: Lane,
    db: sqlite3.Connection,
) -> list[Outcome]:
    """Each in its turn; what fails says why."""
    if not exists(lane, db, table):
        return [Outcome(write.id, error=not_there(write.id)) for write in writes]
    return [_tried(write.id, quota, partial(_changed, table, write, at), lane, db) for write in writes]


def _changed(table: CollectionTable, write: Write, at: str, db: sqlite3.Connection) -> int | None:
    if write.body is not None:
        return replace(table, write.id, dumped(write.body), at, write.tagged, write.version, db)[0]
    if write.changes is not None or write.unset:
        return patch(table, write, at, db).version
    return delete(table, write.id, write.version, db)


def _tried(id: str, quota: Quota | None, step: Step, lane: Lane, db: sqlite3.Connection) -> Outcome:
    """One item; a statement that fails has changed nothing, but a quota's word comes after it."""
    if quota is None:
        try:
            return Outcome(id, step(db))
        except StorageError as error:
            return Outcome(id, error=error)
    db.execute("SAVEPOINT item")
    try:
        outcome = Outcome(id, within(quota, step, lane, db))
    except StorageError as error:
        lane.counted = False
        db.execute("ROLLBACK TO item")
        outcome = Outcome(id, error=error)
    db.execute("RELEASE item")
    return outcome


def text_of(write: Write) -> str:
    return dumped(write.body or {}) if write.text is None else write.text.decode()


def dumped(body: Mapping[str, Any]) -> str:
    return orjson.dumps(body).decode()


def utc_text(at: datetime) -> str:
    """UTC, exact to the microsecond, sorting as the moments do."""
    if at.tzinfo is not UTC:
        at = at.astimezone(UTC)
    return at.isoformat(timespec="microseconds")[:26] + "Z"
