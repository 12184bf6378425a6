"""In: pg_restore fills a new database from the stream; what fails half-way is dropped."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import asyncpg

from ...domain.backup import Manifest
from ...domain.errors import DamagedArtifact, EngineFailure, StorageError
from ...ports.backup import OnProgress, Piece, RestoreReport
from .databases import PostgresDatabases
from .dial import Dialer
from .dump import DATABASE_MEMBER, DUMP_MEMBER, failure_of
from .facts import LIMIT, Facts, parse_facts
from .finish import finish
from .hashing import TEXT
from .limits import Limits, read_limits
from .logins import stand_in
from .owners import DATABASE, DEFAULTS, GRANTS
from .process import Child, run
from .roles import passing
from .scope import remember
from .toc import Selection, select
from .tools import Sign, Toolbox, Tools, private_file, signed_in

# Programs from 17 on set a parameter that servers before 17 do not know; nothing else may fail.
NEW_PARAMETER, SINCE = 'unrecognized configuration parameter "transaction_timeout"', 17


class Members:
    """The pieces of an archive, member by member, counted for progress."""

    def __init__(self, pieces: AsyncIterator[Piece], on_progress: OnProgress) -> None:
        self._pieces, self._on_progress = pieces, on_progress
        self._held: Piece | None = None
        self._done = 0

    async def whole(self, member: str, limit: int) -> bytes:
        """All of a small member; DamagedArtifact when it is not the next, or too large."""
        parts: list[bytes] = []
        size = 0
        async for data in self.stream(member):
            parts.append(data)
            size += len(data)
            if size > limit:
                raise DamagedArtifact(f"The member {member} of the backup is too large.")
        if not parts:
            raise DamagedArtifact(f"The member {member} of the backup is missing.")
        return b"".join(parts)

    async def stream(self, member: str) -> AsyncIterator[bytes]:
        """The bytes of the next member, as long as it is the one named."""
        while (piece := await self._next()) is not None:
            if piece.member != member:
                self._held = piece
                return
            self._done += len(piece.data)
            self._on_progress(self._done, None)
            yield piece.data

    async def at_end(self) -> None:
        if (piece := await self._next()) is not None:
            raise DamagedArtifact(f"The backup has an unexpected member {piece.member[:80]!r}.")

    async def _next(self) -> Piece | None:
        if self._held is not None:
            piece, self._held = self._held, None
            return piece
        return await anext(self._pieces, None)


@dataclass(frozen=True, slots=True)
class Target:
    """The new database and what is allowed there; `grants`: whether there are any in the backup."""

    name: str
    facts: Facts
    limits: Limits
    tools: Tools
    server: int
    grants: bool

    @property
    def keeps_owners(self) -> bool:
        return self.limits.keeps_owners(self.facts.roles)

    @property
    def tolerates(self) -> bool:
        return self.tools.major >= SINCE > self.server


class PostgresRestore:
    """Restores through one endpoint."""

    def __init__(self, dialer: Dialer, toolbox: Toolbox, databases: PostgresDatabases) -> None:
        self._dialer, self._toolbox, self._databases = dialer, toolbox, databases

    async def restore(
        self, pieces: AsyncIterator[Piece], name: str, manifest: Manifest, on_progress: OnProgress
    ) -> RestoreReport:
        members = Members(pieces, on_progress)
        facts = parse_facts(await members.whole(DATABASE_MEMBER, LIMIT))
        tools = await self._toolbox.fitting(facts.program, self._dialer.endpoint.tls)
        notes = await self._databases.create_like(name, facts)
        try:
            grants = any(o.kind in (GRANTS, DEFAULTS) and o.name != DATABASE for o in manifest.objects)
            skipped = await self._fill(members, name, facts, tools, grants=grants)
        except BaseException:
            await _finished(asyncio.create_task(self._databases.drop(name)))
            raise
        return RestoreReport(skipped=(*notes, *skipped))

    async def _fill(
        self, members: Members, name: str, facts: Facts, tools: Tools, *, grants: bool
    ) -> tuple[str, ...]:
        errors = self._dialer.errors
        with errors.speaking(name):
            connection, address = await self._dialer.dial(name)
        try:
            with errors.speaking(name):
                limits, server = await read_limits(connection), connection.get_server_version().major
                target = Target(name, facts, limits, tools, server, grants)
                if not facts.public:
                    await connection.execute("drop schema if exists public")
                if target.keeps_owners:
                    await stand_in(connection, [role for role in facts.roles if passing(role)])
            with signed_in(self._dialer, name, address) as sign:
                try:
                    selection = await self._load(members, target, sign)
                except StorageError as error:
                    raise errors.redacted(error) from error.__cause__
            with errors.speaking(name):
                settled = await finish(connection, name, facts, target.limits, target.keeps_owners)
                if facts.schema is not None:
                    await remember(connection, name, facts.schema)
        finally:
            connection.terminate()
        return (*selection.skipped, *self._by_nature(target), *settled)

    async def _load(self, members: Members, target: Target, sign: Sign) -> Selection:
        stream = members.stream(DUMP_MEMBER)
        head, listing = await _table_of_contents(target.tools, stream, sign)
        selection = select(listing, target.facts, target.limits)
        descriptors = list(sign.descriptors)
        with private_file(selection.lines, descriptors) as lines:
            sign = replace(sign, descriptors=tuple(descriptors)).set({**TEXT, "synchronous_commit": "off"})
            verdict = _Verdict(target.tolerates)
            with run(_command(target, sign, lines), sign, feed=True, on_complaint=verdict.hear) as child:
                verdict.child = child
                async with _silenced(child):
                    listening = True
                    for data in head:
                        listening = listening and await child.write(data)
                    head.clear()
                    async for data in stream:  # to the very end, so that all of it is authenticated
                        listening = listening and await child.write(data)
                    await members.at_end()
                    await child.end_input()
                verdict.judge(await child.wait())
        return selection

    def _by_nature(self, target: Target) -> tuple[str, ...]:
        facts, limits = target.facts, target.limits
        notes: list[str] = []
        others = tuple(role for role in facts.roles if role != limits.user)
        if not target.keeps_owners and others:
            missing = limits.missing(facts.roles)
            why = f"the roles {', '.join(missing)} do not exist here" if missing else "this needs a superuser"
            notes.append(f"owners and grants: {why}; everything belongs to {limits.user}")
        elif not target.keeps_owners and target.grants:
            notes.append("grants: this needs a superuser")
        elif target.keeps_owners:
            named = (facts.owner, *(role for role, _, _ in facts.grants if role is not None))
            if missing := limits.missing(tuple(dict.fromkeys(named))):
                notes.append(
                    f"owner and grants of the database itself: the roles {', '.join(missing)} do not exist here"
                )
        if facts.tablespaces:
            notes.append(f"tablespaces {', '.join(facts.tablespaces)}: everything lies in the default one")
        notes += [f"subscription {name}: a copy must not replicate" for name in facts.subscriptions]
        if facts.server != target.server:
            notes.append(
                f"definitions are compared by name only: PostgreSQL {facts.server} worded them, this is {target.server}"
            )
        return tuple(notes)


class _Verdict:
    """Listens to pg_restore; decides whether it did all it was told."""

    def __init__(self, tolerates: bool) -> None:
        self.child: Child | None = None
        self._tolerates = tolerates
        self._errors: list[str] = []

    def hear(self, line: str) -> None:
        """Called for each complaint: the first that is not tolerated ends the program."""
        if not line.startswith("pg_restore: error:"):
            return
        if self._tolerates and NEW_PARAMETER in line:
            return
        self._errors.append(line)
        if self._tolerates and self.child is not None:
            self.child.kill()

    def judge(self, status: int) -> None:
        assert self.child is not None  # noqa: S101 - set before anything runs
        if self._errors:
            raise failure_of("pg_restore", max(status, 1), self._errors)
        ignored = [line for line in self.child.complaints if "errors ignored on restore" in line]
        if status and not (self._tolerates and status == 1 and ignored and ignored[0].endswith(": 1")):
            raise failure_of("pg_restore", status, list(self.child.complaints))


def _command(target: Target, sign: Sign, lines: str) -> list[str]:
    command = [
        target.tools.path("pg_restore"),
        "--format=custom",
        f"--use-list={lines}",
        "--no-tablespaces",
        "--no-subscriptions",
        "--no-password",
        f"--dbname={sign.target}",
    ]
    if not target.tolerates:
        command.append("--exit-on-error")
    if not target.keeps_owners:
        command += ["--no-owner", "--no-privileges"]
    return command


async def _table_of_contents(
    tools: Tools, stream: AsyncIterator[bytes], sign: Sign
) -> tuple[list[bytes], str]:
    """The archive's list, and the pieces that had to be read for it."""
    head: list[bytes] = []
    command = [tools.path("pg_restore"), "--format=custom", "--list"]
    with run(command, sign, feed=True) as child:
        async with _silenced(child):
            listing = asyncio.ensure_future(_all_of(child))
            async for data in stream:
                head.append(data)
                if not await child.write(data):
                    break
            await child.end_input()
            text = await listing
        if status := await child.wait():
            said = failure_of("pg_restore", status, list(child.complaints)).detail
            raise DamagedArtifact(f"The archive cannot be read. {said}")
    return head, text


async def _all_of(child: Child) -> str:
    parts: list[bytes] = []
    while data := await child.read():
        parts.append(data)
    return b"".join(parts).decode(errors="replace")


@contextlib.asynccontextmanager
async def _silenced(child: Child) -> AsyncIterator[None]:
    """End the program off the event loop when the work with it is cut off, before anything waits for it."""
    try:
        yield
    except BaseException:
        await _finished(asyncio.ensure_future(asyncio.to_thread(child.kill)))
        raise


async def _finished(work: "asyncio.Future[None]") -> None:
    """Wait for work that must happen even while we are being cancelled; its own failure is second to ours."""
    while not work.done():
        with contextlib.suppress(asyncio.CancelledError, StorageError, EngineFailure, asyncpg.PostgresError):
            await asyncio.shield(work)
    if not work.cancelled():
        work.exception()
