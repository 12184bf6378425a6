"""Whether what lies on an engine is managed already, also where its engine is registered under another spelling."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..domain.database import Database
from ..domain.errors import Conflict, StorageError
from ..domain.naming import is_ours, said
from ..domain.page import Clause, Test
from ..domain.provider import Provider
from ..ports.catalog import UnitOfWork
from ..ports.engine import Engine
from .kernel import Service, every

log = logging.getLogger(__name__)

#: How long an engine may take to say who it is, in seconds.
ASK_SECONDS = 12.0


@dataclass(frozen=True, slots=True)
class Judged:
    """What the console knows of databases on an engine: `known` by physical name; `unsure` where it cannot tell.

    `seen` are the databases that were looked at for it.
    """

    known: Mapping[str, Database] = field(default_factory=dict)
    unsure: Mapping[str, Provider] = field(default_factory=dict)
    seen: frozenset[str] = frozenset()


class Twins(Service):
    """Compares databases by what they are, not by the address they were registered under."""

    async def judge(self, provider: Provider, engine: Engine, names: Iterable[str]) -> Judged:
        """Which of these databases of a provider the console manages, by whatever provider."""
        wanted = set(names)
        async with self.kernel.catalog.read() as uow:
            known = await self._by_name(uow, provider, wanted)
            others = await self._candidates(uow, provider, wanted)
            providers = {p.id: p async for p in every(uow.providers, _kind(provider))}
        unsure: dict[str, Provider] = {}
        rest = wanted - known.keys()
        marks = {name: await engine.marks(name) for name in sorted(rest)} if others else {}
        silent: set[str] = set()
        for row in others:
            same = rest if provider.kind.is_files else rest & {row.physical_name}
            theirs = await self._marks(providers[row.provider_id], row, silent) if same else frozenset()
            for name in sorted(same):
                if theirs is None and engine.location(name) != row.location:
                    # what cannot be reached on a disk is not the file that lies before us
                    if not provider.kind.is_files:
                        unsure.setdefault(name, providers[row.provider_id])
                elif theirs is None or theirs & marks[name]:
                    known.setdefault(name, row)
        return Judged(known, unsure, frozenset(row.id for row in others))

    async def refuse(self, provider: Provider, engine: Engine, name: str) -> Judged:
        """Conflict when the console manages a database already, or cannot tell whether it does."""
        judged = await self.judge(provider, engine, (name,))
        if name in judged.known:
            raise Conflict("The console manages it already.", hint="Use the database that stands for it.")
        if (other := judged.unsure.get(name)) is not None:
            raise Conflict(
                f"The provider {said(other.name)} has a database of that name and does not answer, so that nobody can"
                " tell whether it is this one.",
                hint="Bring that provider's server back; or, if this server took its place, point that provider here.",
            )
        return judged

    async def is_new(self, uow: UnitOfWork, provider: Provider, name: str, judged: Judged) -> bool:
        """Whether nothing came into the catalog since that would have to be looked at as well."""
        if await self._by_name(uow, provider, {name}):
            return False
        return all(row.id in judged.seen for row in await self._candidates(uow, provider, {name}))

    async def registered(self, provider: Provider, marks: frozenset[str]) -> tuple[Provider, ...]:
        """Other providers that are the same engine. One that does not answer is none."""
        async with self.kernel.catalog.read() as uow:
            others = [p async for p in every(uow.providers, _kind(provider)) if p.id != provider.id]
        found = await asyncio.gather(*(self._ask(other, None) for other in others))
        return tuple(other for other, theirs in zip(others, found, strict=True) if theirs and theirs & marks)

    async def _by_name(self, uow: UnitOfWork, provider: Provider, names: set[str]) -> dict[str, Database]:
        """Names made here are unique to their owner, so that the name alone tells, wherever it lies."""
        out: dict[str, Database] = {}
        for name in names:
            row = await uow.databases.one(provider_id=provider.id, physical_name=name)
            if row is None and is_ours(name):
                row = await uow.databases.one(physical_name=name)
            if row is not None:
                out[name] = row
        return out

    async def _candidates(self, uow: UnitOfWork, provider: Provider, names: set[str]) -> tuple[Database, ...]:
        """Databases that could be one of these: on servers under the same name, as files under any."""
        ids = tuple([p.id async for p in every(uow.providers, _kind(provider))])
        where = [Clause("provider_id", Test.ANY_OF, ids)]
        if not provider.kind.is_files:
            where.append(Clause("physical_name", Test.ANY_OF, tuple(names)))
        rows = [row async for row in every(uow.databases, tuple(where))]
        return tuple(row for row in rows if provider.kind.is_files or row.provider_id != provider.id)

    async def _marks(self, other: Provider, row: Database, silent: set[str]) -> frozenset[str] | None:
        if other.id in silent:
            return None
        theirs = await self._ask(other, row.physical_name)
        if theirs is None:
            silent.add(other.id)
        return theirs

    async def _ask(self, other: Provider, name: str | None) -> frozenset[str] | None:
        """An engine's marks or one of its databases'; none where it does not answer."""
        try:
            async with asyncio.timeout(ASK_SECONDS):
                return await (await self.engine_of(other)).marks(name)
        except (StorageError, TimeoutError) as error:
            log.info("%s does not say who it is: %s", other.name, error)
            return None


def _kind(provider: Provider) -> tuple[Clause, ...]:
    return (Clause("kind", Test.ANY_OF, (provider.kind,)),)
