"""Out: pg_dump and the manifest's queries read one exported snapshot; rows are hashed as they pass."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from asyncpg import exceptions as pg

from ...domain.backup import Manifest, ManifestObject, build_manifest
from ...domain.errors import EngineFailure, InUse, MissingPrivilege, StorageError, ToolMissing, Unreachable
from ...domain.naming import schema_in
from ...domain.provider import EngineKind
from ...ports.backup import OnProgress, Piece
from .contents import Table, list_tables, read_rows
from .dial import Connection, Dialer
from .facts import Facts, read_facts
from .hashing import SESSION, Lines, method_of
from .owners import the_roles
from .plain import restrict
from .process import Child, run
from .scope import facts_of_schema, only
from .stream import DumpReader
from .survey import bounded, read_sequences, survey
from .tools import Toolbox, Tools, signed_in

DATABASE_MEMBER, DUMP_MEMBER = "database.json", "database.dump"
ATTEMPTS = 3
LOCK_BATCH = 500
# We hold every lock already when pg_dump asks for the same: it waits only if somebody queued in between.
PROGRAM_LOCK_MS = 1500
#: Takes the rows of the tables by OID, reads what comes last and answers the manifest.
Finish = Callable[[dict[int, Lines]], Awaitable[Manifest]]
LOCK_WORDS = ("lock timeout", "statement timeout")

QUIET_HINT = "Run the backup again in a quieter moment."
ROLE_HINT = (
    "Use a user that may read every table (a superuser, or one with pg_read_all_data and BYPASSRLS)."
    " A backup is never silently partial."
)


@dataclass(frozen=True, slots=True)
class Moment:
    """One consistent view of the database: its snapshot's id and the tables locked in it."""

    snapshot: str
    tables: tuple[Table, ...]


class _Overtaken(Exception):
    """Somebody who wants a table for himself queued between our locks and pg_dump's: each would wait for ever."""


class PostgresDump:
    """A running dump; see the port."""

    def __init__(
        self,
        child: Child,
        facts: Facts,
        surveying: asyncio.Task[Finish],
        on_progress: OnProgress,
    ) -> None:
        self._child, self._facts, self._surveying = child, facts, surveying
        self._on_progress = on_progress
        self._manifest: Manifest | None = None
        self._first = b""
        self._reader = DumpReader()

    @property
    def manifest(self) -> Manifest:
        if self._manifest is None:
            raise RuntimeError("the manifest can be read once all pieces were taken")
        return self._manifest

    async def begin(self) -> None:
        """Wait for the first bytes: by then pg_dump has locked every table and read the definitions."""
        self._first = await self._child.read(self._reader.feed)
        if not self._first:
            status = await self._child.wait()
            if any(word in line for line in self._child.complaints for word in LOCK_WORDS):
                raise _Overtaken
            raise await self._failure(status)

    async def pieces(self) -> AsyncIterator[Piece]:
        head = self._facts.to_bytes()
        done = len(head)
        yield Piece(DATABASE_MEMBER, head)
        data = self._first
        while data:
            if self._surveying.done():
                self._surveying.result()
            # the next is read while this one is used
            coming = asyncio.ensure_future(self._child.read(self._reader.feed))
            try:
                done += len(data)
                self._on_progress(done, None)  # rows as text: only the end knows how long that is
                yield Piece(DUMP_MEMBER, data)
                data = await coming
            finally:
                coming.cancel()
        if status := await self._child.wait():
            raise await self._failure(status)
        self._manifest = await (await self._surveying)(self._reader.finish())
        self._on_progress(done, done)

    async def _failure(self, status: int) -> StorageError:
        """Why it ended: where the survey failed, that took the snapshot away from pg_dump."""
        await asyncio.wait([self._surveying], timeout=0.2)
        if self._surveying.done() and isinstance(error := self._surveying.exception(), StorageError):
            return error
        return failure_of("pg_dump", status, list(self._child.complaints))


@asynccontextmanager
async def open_dump(
    dialer: Dialer, toolbox: Toolbox, name: str, on_progress: OnProgress, lock_seconds: float
) -> AsyncIterator[PostgresDump]:
    """Open a dump of one database; leaving it ends pg_dump, the queries and the connection."""
    for _ in range(ATTEMPTS):
        async with _attempt(dialer, toolbox, name, on_progress, lock_seconds) as dump:
            try:
                await dump.begin()
            except _Overtaken:
                continue
            yield dump
            return
    raise InUse("Other sessions keep locking tables for themselves.", hint=QUIET_HINT)


@asynccontextmanager
async def _attempt(
    dialer: Dialer, toolbox: Toolbox, name: str, on_progress: OnProgress, lock_seconds: float
) -> AsyncIterator[PostgresDump]:
    errors = dialer.errors
    with errors.speaking(name):
        settings = {**SESSION, "lock_timeout": f"{round(lock_seconds * 1000)}ms"}
        connection, address = await dialer.dial(name, settings)
    try:
        with errors.speaking(name):
            await restrict(connection)
            tools = await toolbox.fitting(connection.get_server_version().major, dialer.endpoint.tls)
            moment = await hold_still(connection)
            facts = await read_facts(connection, tools.major)
            if (schema := schema_in(name)) is not None:
                facts = await facts_of_schema(connection, schema, facts)
            before = await read_sequences(connection)  # pg_dump reads them later
        with (
            signed_in(dialer, name, address) as sign,
            run(dump_command(tools, moment.snapshot, sign.target, schema), sign.set(SESSION)) as child,
        ):
            surveying = asyncio.create_task(
                _survey(dialer, name, connection, moment, [the_roles(facts.roles), *before])
            )
            try:
                yield PostgresDump(child, facts, surveying, on_progress)
            except StorageError as error:
                raise errors.redacted(error) from error.__cause__
            finally:
                surveying.cancel()
                ending = asyncio.get_running_loop().run_in_executor(None, child.kill)
                await asyncio.shield(asyncio.gather(ending, surveying, return_exceptions=True))
    finally:
        connection.terminate()


def dump_command(tools: Tools, snapshot: str, target: str, schema: str | None = None) -> list[str]:
    return [
        tools.path("pg_dump"),
        "--format=custom",
        "--compress=0",
        f"--snapshot={snapshot}",
        f"--lock-wait-timeout={PROGRAM_LOCK_MS}",
        "--no-password",
        f"--dbname={target}",
        *([] if schema is None else only(schema)),
    ]


async def hold_still(connection: Connection) -> Moment:
    """Begin a transaction whose snapshot and whose tables stay as they are until it ends.

    The tables are locked before the snapshot is taken: a TRUNCATE or ALTER in between would show through an older
    snapshot as an empty table.
    """
    for _ in range(ATTEMPTS):
        before = await list_tables(connection)
        transaction = connection.transaction(isolation="repeatable_read", readonly=True)
        await transaction.start()
        try:
            await _lock(connection, before)
            snapshot = str(await connection.fetchval("select pg_export_snapshot()"))
            now = await list_tables(connection)
        except (pg.UndefinedTableError, pg.InvalidSchemaNameError):
            await transaction.rollback()
            continue
        except pg.InsufficientPrivilegeError as error:
            raise MissingPrivilege(f"PostgreSQL: {error.args[0]}", hint=ROLE_HINT) from error
        if {(t.oid, t.name) for t in before} == {(t.oid, t.name) for t in now}:
            return Moment(snapshot, now)
        await transaction.rollback()
    raise InUse(
        "Tables are being made and removed all the time.", hint="Run the backup again in a quieter moment."
    )


async def _lock(connection: Connection, tables: tuple[Table, ...]) -> None:
    for first in range(0, len(tables), LOCK_BATCH):
        names = ", ".join(f"only {table.name}" for table in tables[first : first + LOCK_BATCH])
        await connection.execute(f"lock table {names} in access share mode")


async def _survey(
    dialer: Dialer,
    name: str,
    connection: Connection,
    moment: Moment,
    before: list[ManifestObject],
) -> Finish:
    """Everything in the snapshot but rows; what ends it, once pg_dump is done, is how far sequences have come by then."""
    try:
        with dialer.errors.speaking(name):
            objects = await survey(connection)
            others = await read_rows(connection, tuple(table for table in moment.tables if table.apart))
    except MissingPrivilege as error:
        raise MissingPrivilege(error.detail, hint=ROLE_HINT) from error

    async def finish(rows: dict[int, Lines]) -> Manifest:
        with dialer.errors.speaking(name):
            after = await read_sequences(connection)
        roles, *sequences = before
        found = (*objects, *_rows(moment.tables, rows, others), roles, *bounded(sequences, after))
        method = method_of(connection.get_server_version().major)
        return build_manifest(str(EngineKind.POSTGRESQL), version_text(connection), method, found)

    return finish


def _rows(
    tables: tuple[Table, ...], dumped: dict[int, Lines], others: dict[int, Lines]
) -> list[ManifestObject]:
    """Of every table what was dumped; of `others` what was read in the same snapshot, which must be as many rows."""
    found: list[ManifestObject] = []
    for table in tables:
        if table.kind == "r":
            lines = dumped.get(table.oid)
            if lines is None or (table.oid in others and others[table.oid].rows != lines.rows):
                raise EngineFailure(f"pg_dump left out rows of {table.name}.")
            found.append(table.described(others.get(table.oid, lines)))
    return found


def version_text(connection: Connection) -> str:
    """The server's own version, without the packager's additions."""
    return str(connection.get_settings().server_version).split()[0]


def failure_of(program: str, status: int, complaints: list[str]) -> StorageError:
    """What a program's end means, in its own first words of complaint; never row data, never statements."""
    told = [line for line in complaints if line.startswith(f"{program}: ") and "warning:" not in line]
    said = told[0] if told else f"{program} ended with status {status}"
    if status < 0:
        said = f"{program} was killed by signal {-status}"
    hints = [line.partition("HINT:")[2].strip() for line in complaints if "HINT:" in line]
    if "permission denied" in said or "row-level security" in said:
        return MissingPrivilege(said, hint=ROLE_HINT)
    if "server closed the connection" in said or "connection to server" in said:
        return Unreachable(said)
    if "SSL support is not compiled in" in said:
        return ToolMissing(said, hint="Point STORAGE_PG_BIN at programs that were built with TLS.")
    return EngineFailure(said, hint=hints[0] if hints else "")
