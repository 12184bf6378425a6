"""The backup facet: dump, restore, measure."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace

from ...domain.backup import Manifest, ManifestObject
from ...ports.backup import Dump, OnProgress, Piece, RestoreReport
from .contents import list_tables, read_rows
from .databases import QUIET, PostgresDatabases
from .definitions import KINDS
from .dial import Dialer
from .dump import open_dump
from .hashing import SESSION, major_of
from .limits import Limits, read_limits
from .owners import DATABASE, GRANTS, OF_ITSELF, OWNER, ROLES_KIND, roles_of
from .owners import KINDS as OWNER_KINDS
from .plain import restrict
from .restore import PostgresRestore
from .scope import at_home, of_its_own
from .sql import checked_database
from .survey import read_sequences, survey
from .tools import Toolbox

LOCK_SECONDS = 30.0


class PostgresBackup:
    """Backups through PostgreSQL's own programs, proven by queries.

    `lock_seconds` is how long a dump waits for a table that somebody holds locked.
    """

    def __init__(
        self,
        dialer: Dialer,
        toolbox: Toolbox,
        databases: PostgresDatabases,
        lock_seconds: float = LOCK_SECONDS,
    ) -> None:
        self._dialer, self._toolbox, self._lock_seconds = dialer, toolbox, lock_seconds
        self._databases = databases
        self._restore = PostgresRestore(dialer, toolbox, databases)

    def dump(self, name: str, on_progress: OnProgress) -> AbstractAsyncContextManager[Dump]:
        return self._dump(checked_database(name), on_progress)

    @asynccontextmanager
    async def _dump(self, name: str, on_progress: OnProgress) -> AsyncIterator[Dump]:
        await self._databases.refuse_own(name)
        async with open_dump(self._dialer, self._toolbox, name, on_progress, self._lock_seconds) as dump:
            yield dump

    async def restore(
        self, pieces: AsyncIterator[Piece], name: str, manifest: Manifest, on_progress: OnProgress
    ) -> RestoreReport:
        checked_database(name)
        return await self._restore.restore(pieces, name, manifest, on_progress)

    async def finish(self, name: str) -> tuple[str, ...]:
        """ANALYZE: without statistics the first plans after a restore are guesses. What was a schema is given the names
        that a database of its own has.

        Tables of others, which the server skips, have their own owners to do it.
        """
        connection = await self._dialer.connect(checked_database(name), QUIET)
        try:
            with self._dialer.errors.speaking(name):
                notes = await at_home(connection, name)
                await connection.execute("analyze")
        finally:
            connection.terminate()
        return notes

    async def measure(self, name: str, like: Manifest) -> tuple[ManifestObject, ...]:
        """See the port. Reads catalogs and tables by SQL alone; knows nothing of the archive."""
        connection = await self._dialer.connect(checked_database(name), SESSION)
        try:
            with self._dialer.errors.speaking(name):
                await restrict(connection)
                worded_by = major_of(like.method)
                async with connection.transaction(isolation="repeatable_read", readonly=True):
                    wanted = {(o.kind, o.name): o for o in like.objects}
                    tables = tuple(table.like(wanted) for table in await list_tables(connection))
                    rows = await read_rows(connection, tables)
                    found = [table.described(rows[table.oid]) for table in tables if table.oid in rows]
                    found += await survey(connection)
                    found += await read_sequences(connection)
                    found = of_its_own(like, found)
                    limits = await read_limits(connection)
                major = connection.get_server_version().major
        finally:
            connection.terminate()
        return _in_terms_of(like, found, worded_by == major, limits)


def _in_terms_of(
    like: Manifest, found: list[ManifestObject], same_major: bool, limits: Limits
) -> tuple[ManifestObject, ...]:
    """What was found, with allowances, all of which the restore's report puts into words.

    Definitions worded by another major version count as equal when they are there; what this user on this server
    could not have made, owners and grants among it, is answered as expected.
    """
    found = _owned(like, found, same_major, limits)
    have = {(o.kind, o.name) for o in found}
    wanted = {(o.kind, o.name): o for o in like.objects}
    out = list(found)
    if not same_major:
        out = [
            replace(o, hash=wanted[o.kind, o.name].hash)
            if o.kind in KINDS and (o.kind, o.name) in wanted
            else o
            for o in found
        ]
    excused = {key: o for key, o in wanted.items() if key not in have and limits.excuses(o)}
    # what is said about something goes with it: `pg_identify_object` words a comment's object as we name policies
    comments = [
        o for (kind, name), o in wanted.items() if kind == "comment" and ("comment", name) not in have
    ]
    out += [o for o in comments if tuple(o.name.split(" ", 1)) in excused]
    return (*out, *excused.values())


def _owned(
    like: Manifest, found: list[ManifestObject], same_major: bool, limits: Limits
) -> list[ManifestObject]:
    """Owners and grants as they must be here: the manifest's, or where they cannot come back, everything our user's.

    Grants of another major version are only looked at where they cannot come back: versions differ in the privileges
    that an owner has anyway.
    """
    wanted = {(o.kind, o.name): o for o in like.objects if o.kind in OWNER_KINDS}
    described = [o for o in like.objects if o.kind == ROLES_KIND]
    back = limits.keeps_owners(tuple(role for o in described for role in roles_of(o)))
    out = [o for o in found if o.kind not in OWNER_KINDS]
    for o in found:
        if o.kind not in OWNER_KINDS:
            continue
        expected = wanted.get((o.kind, o.name))
        if back:
            excused = (
                o.name == DATABASE and expected is not None and limits.missing(roles_of(expected))
            ) or (not same_major and o.kind != OWNER)
        else:
            ours = set(roles_of(o)) <= {limits.user, OF_ITSELF}
            excused = o.name == DATABASE or o.name == "schema public" or (o.kind == OWNER and ours)
        if not excused:
            out.append(o)
        elif expected is not None:
            out.append(expected)
    have = {(o.kind, o.name) for o in out}
    if not back or not same_major:
        out += [o for key, o in wanted.items() if key not in have and (not back or o.kind == GRANTS)]
    return [*out, *described]
