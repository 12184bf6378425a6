"""The audit log's tables: appended under the lock of the chain's head."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import exists, insert, select, union, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from ..domain.audit import GENESIS, AuditEntry, Phase, entry_hash
from ..domain.page import Page, Query
from .mapping import Mapper
from .paging import Listing
from .tables import AuditHeadRow, AuditRow

_LOG: Any = AuditRow.__table__  # type: ignore[attr-defined]
_HEADS: Any = AuditHeadRow.__table__  # type: ignore[attr-defined]
_MAPPER = Mapper(AuditEntry, _LOG)
_LISTING = Listing(
    _LOG,
    frozenset(_MAPPER.names) - {"detail", "digest", "previous", "hash"},
    ("operation", "actor_name", "target_name", "correlation_id", "detail"),
    {"tenants": "tenant_id"},
    key=("chain", "sequence"),
)


class AuditRows:
    """The chained log inside one unit of work."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def append(self, entry: AuditEntry) -> AuditEntry:
        sequence, previous = await self._head(entry.chain)
        entry = replace(entry, sequence=sequence + 1, previous=previous, hash="")
        entry = replace(entry, hash=entry_hash(entry))
        await self._connection.execute(insert(_LOG).values(**_MAPPER.row(entry)))
        await self._connection.execute(
            update(_HEADS)
            .where(_HEADS.c.chain == entry.chain)
            .values(sequence=entry.sequence, hash=entry.hash)
        )
        return entry

    async def _head(self, chain: str) -> tuple[int, str]:
        """Lock and read the chain's head; the row is made on the chain's first entry."""
        maker = postgresql.insert if self._connection.dialect.name == "postgresql" else sqlite.insert
        await self._connection.execute(
            maker(_HEADS).values(chain=chain, sequence=0, hash=GENESIS).on_conflict_do_nothing()
        )
        query = select(_HEADS.c.sequence, _HEADS.c.hash).where(_HEADS.c.chain == chain).with_for_update()
        row = (await self._connection.execute(query)).one()
        return row.sequence, row.hash

    async def find(self, query: Query) -> Page[AuditEntry]:
        rows, count = _LISTING.page(query)
        found = (await self._connection.execute(rows)).mappings().all()
        total = (await self._connection.execute(count)).scalar_one()
        shown = found[: query.limit]
        more = _LISTING.cursor(shown[-1], query.sort) if len(found) > query.limit else None
        return Page(tuple(_MAPPER.value(r) for r in shown), more, total)

    async def chains(self) -> tuple[str, ...]:
        """Every chain that has a head or entries: neither can be taken away unseen."""
        both = union(select(_HEADS.c.chain), select(_LOG.c.chain))
        return tuple(sorted((await self._connection.execute(both)).scalars()))

    async def head(self, chain: str) -> tuple[int, str]:
        query = select(_HEADS.c.sequence, _HEADS.c.hash).where(_HEADS.c.chain == chain)
        row = (await self._connection.execute(query)).one_or_none()
        return (0, GENESIS) if row is None else (row.sequence, row.hash)

    async def run(self, chain: str, after: int, limit: int) -> tuple[AuditEntry, ...]:
        query = (
            select(_LOG)
            .where(_LOG.c.chain == chain, _LOG.c.sequence > after)
            .order_by(_LOG.c.sequence)
            .limit(limit)
        )
        return tuple(_MAPPER.value(r) for r in (await self._connection.execute(query)).mappings())

    async def open_intents(self, after: datetime | None, before: datetime) -> tuple[AuditEntry, ...]:
        answer = _LOG.alias("answer")
        answered = exists().where(
            answer.c.correlation_id == _LOG.c.correlation_id,
            answer.c.chain == _LOG.c.chain,
            answer.c.operation == _LOG.c.operation,
            answer.c.target_id == _LOG.c.target_id,
            answer.c.phase == Phase.OUTCOME.value,
            answer.c.sequence > _LOG.c.sequence,
        )
        query = select(_LOG).where(_LOG.c.phase == Phase.INTENT.value, _LOG.c.at < before, ~answered)
        if after is not None:
            query = query.where(_LOG.c.at >= after)
        query = query.order_by(_LOG.c.at, _LOG.c.chain, _LOG.c.sequence).limit(500)
        return tuple(_MAPPER.value(r) for r in (await self._connection.execute(query)).mappings())
