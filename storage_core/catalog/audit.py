"""The audit log's tables: appended under the lock of the chain's head."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, cast

from sqlalchemy import (
    RowMapping,
    TextClause,
    and_,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    text,
    union,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from ..domain.audit import GENESIS, RAW, AuditEntry, Phase, RawEntry, changes_text, entry_hash
from ..domain.heads import ExportedHead, Head
from ..domain.page import Page, Query
from .mapping import Mapper
from .paging import Listing
from .tables import AuditHeadRow, AuditRow, ExportedHeadRow

_LOG: Any = AuditRow.__table__  # type: ignore[attr-defined]
_HEADS: Any = AuditHeadRow.__table__  # type: ignore[attr-defined]
_EXPORTED: Any = ExportedHeadRow.__table__  # type: ignore[attr-defined]
_MAPPER = Mapper(AuditEntry, _LOG)
_LISTING = Listing(
    _LOG,
    frozenset(_MAPPER.names) - {"detail", "digest", "changes", "version", "previous", "hash"},
    ("operation", "actor_name", "target_name", "correlation_id", "reason", "detail", "changes"),
    {"tenants": "tenant_id"},
    key=("chain", "sequence"),
)

#: `at` as the canonical form has it. What is not exactly as we write it stays as it is, and does not fit its hash.
_AT = {
    "sqlite": "case when typeof(at) = 'text' and substr(at, 11, 1) = ' '"
    " then substr(at, 1, 10) || 'T' || substr(at, 12) || 'Z' else at end",
    "postgresql": """to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
    " || case when at < '0001-01-01' then ' BC' else '' end",
}


_NUMBERS = frozenset({"sequence", "version"})


def _columns(dialect: str, shape: str = "{}") -> str:
    named = (n if n in _NUMBERS else shape.format(_AT[dialect] if n == "at" else n) + f" as {n}" for n in RAW)
    return ", ".join(named)


def _raw_query(dialect: str, shape: str = "{}") -> TextClause:
    where = "where chain = :chain and sequence > :after"
    columns = _columns(dialect, shape)
    return text(f"select {columns} from audit {where} order by sequence limit :limit")  # noqa: S608 - constants


_RAW = {dialect: _raw_query(dialect) for dialect in _AT}
_RAW_BYTES = _raw_query("sqlite", "cast({} as blob)")
#: Below every number an entry can have, also one that somebody put in.
BEFORE_ALL = -(2**63)


def _entry(row: RowMapping) -> AuditEntry:
    """An entry of the first form has no changes."""
    return _MAPPER.value(cast("RowMapping", {**row, "changes": row["changes"] or "[]"}))


class AuditRows:
    """The chained log inside one unit of work."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def append(self, entry: AuditEntry) -> AuditEntry:
        sequence, previous = await self._head(entry.chain)
        entry = replace(entry, sequence=sequence + 1, previous=previous, hash="")
        entry = replace(entry, hash=entry_hash(entry))
        changes = None if entry.version == 1 else changes_text(entry.changes)
        row = {**_MAPPER.row(entry), "changes": changes}
        await self._connection.execute(insert(_LOG).values(**row))
        await self._connection.execute(
            update(_HEADS)
            .where(_HEADS.c.chain == entry.chain)
            .values(sequence=entry.sequence, hash=entry.hash)
        )
        return entry

    async def _head(self, chain: str) -> tuple[int, str]:
        """Lock and read the chain's head; the row is made on the chain's first entry."""
        query = select(_HEADS.c.sequence, _HEADS.c.hash).where(_HEADS.c.chain == chain).with_for_update()
        row = (await self._connection.execute(query)).one_or_none()
        if row is None:
            maker = postgresql.insert if self._connection.dialect.name == "postgresql" else sqlite.insert
            first = maker(_HEADS).values(chain=chain, sequence=0, hash=GENESIS)
            await self._connection.execute(first.on_conflict_do_nothing())
            row = (await self._connection.execute(query)).one()
        return row.sequence, row.hash

    async def find(self, query: Query) -> Page[AuditEntry]:
        rows, count = _LISTING.page(query)
        found = (await self._connection.execute(rows)).mappings().all()
        total = (await self._connection.execute(count)).scalar_one()
        shown = found[: query.limit]
        more = _LISTING.cursor(shown[-1], query.sort) if len(found) > query.limit else None
        return Page(tuple(_entry(r) for r in shown), more, total)

    async def chains(self) -> tuple[str, ...]:
        """Every chain that has a head or entries: neither can be taken away unseen."""
        both = union(select(_HEADS.c.chain), select(_LOG.c.chain))
        return tuple(sorted((await self._connection.execute(both)).scalars()))

    async def head(self, chain: str) -> tuple[int, str]:
        query = select(_HEADS.c.sequence, _HEADS.c.hash).where(_HEADS.c.chain == chain)
        row = (await self._connection.execute(query)).one_or_none()
        return (0, GENESIS) if row is None else (row.sequence, row.hash)

    async def heads(self) -> tuple[Head, ...]:
        query = select(_HEADS.c.chain, _HEADS.c.sequence, _HEADS.c.hash).order_by(_HEADS.c.chain)
        return tuple(Head(*row) for row in await self._connection.execute(query))

    async def remembered(self, place: str) -> tuple[ExportedHead, ...]:
        c = _EXPORTED.c
        query = select(c.chain, c.sequence, c.hash, c.since).where(c.place == place).order_by(c.chain)
        found = await self._connection.execute(query)
        return tuple(
            ExportedHead(Head(chain, sequence, hash), since) for chain, sequence, hash, since in found
        )

    async def remember(
        self, place: str, heads: Iterable[Head], *, whole: bool, since: datetime | None = None
    ) -> None:
        rows = [
            {"place": place, "chain": h.chain, "sequence": h.sequence, "hash": h.hash, "since": since}
            for h in sorted(heads, key=lambda h: h.chain)
        ]
        if not rows:
            return
        maker = postgresql.insert if self._connection.dialect.name == "postgresql" else sqlite.insert
        new = maker(_EXPORTED)
        given = new.excluded
        values = {
            "sequence": given.sequence, "hash": given.hash, "since": func.coalesce(given.since, _EXPORTED.c.since)
        }  # fmt: skip
        ahead = None if whole else _EXPORTED.c.sequence <= given.sequence
        await self._connection.execute(
            new.on_conflict_do_update(index_elements=["place", "chain"], set_=values, where=ahead), rows
        )

    async def get(self, chain: str, sequence: int) -> AuditEntry | None:
        query = select(_LOG).where(_LOG.c.chain == chain, _LOG.c.sequence == sequence)
        row = (await self._connection.execute(query)).mappings().first()
        return None if row is None else _entry(row)

    async def raw(self, chain: str, after: int | None, limit: int) -> Sequence[RawEntry]:
        given = {"chain": chain, "after": BEFORE_ALL if after is None else after, "limit": limit}
        try:
            found = await self._connection.execute(_RAW[self._connection.dialect.name], given)
        except OperationalError as error:
            if "decode" not in str(error.orig):
                raise
            # SQLite keeps any bytes as text; what is no UTF-8 reads as surrogates, which fit no hash.
            found = await self._connection.execute(_RAW_BYTES, given)
            return [tuple(_lossless(v) for v in row) for row in found]
        return _tuples(found)

    async def matching(self, query: Query, after: tuple[str, int] | None) -> Sequence[RawEntry]:
        columns = [
            literal_column(_AT[self._connection.dialect.name]) if n == "at" else _LOG.c[n] for n in RAW
        ]
        wanted = select(*columns).where(_LISTING.condition(query))
        if after is not None:
            chain, sequence = after
            later = and_(_LOG.c.chain == chain, _LOG.c.sequence > sequence)
            wanted = wanted.where(or_(_LOG.c.chain > chain, later))
        wanted = wanted.order_by(_LOG.c.chain, _LOG.c.sequence).limit(query.limit)
        return _tuples(await self._connection.execute(wanted))

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
        return tuple(_entry(r) for r in (await self._connection.execute(query)).mappings())


def _lossless(value: Any) -> Any:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


def _tuples(found: Any) -> Sequence[RawEntry]:
    """The driver's own rows, already here: making SQLAlchemy's of them costs more than hashing them."""
    cursor: Any = found.cursor
    rows: Sequence[RawEntry] = cursor.fetchall()
    found.close()
    return rows
