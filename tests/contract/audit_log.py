"""An audit log with everything around it, over any catalog: written, exported, verified, and tampered with."""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from sqlalchemy import delete, insert, select, text, update

from storage_core.backing.notary import VaultNotary
from storage_core.backing.vault import EnvelopeVault, MasterRing
from storage_core.backing.vault.master import GivenKeys
from storage_core.backing.witness import FileWitness
from storage_core.catalog.catalog import SqlCatalog
from storage_core.catalog.tables import AuditHeadRow, AuditRow
from storage_core.domain.audit import RAW, AuditEntry, Change, Verification, canonical_raw, instant
from storage_core.domain.context import local_context
from storage_core.services.audits import Audits, ExportAudit, VerifyAudit
from storage_core.services.heads import HeadExport
from tests.contract.catalog_contract import an_entry

LOG: Any = AuditRow.__table__  # type: ignore[attr-defined]
HEADS: Any = AuditHeadRow.__table__  # type: ignore[attr-defined]
ROOT = local_context("tester", "test")
#: Beside the system's, which says when heads were first exported.
CHAINS = ("t0", "t1")


def utc_now() -> datetime:
    return datetime.now(UTC)


class Log:
    """The operations' own code, without the doors around it."""

    def __init__(self, catalog: SqlCatalog, folder: Path) -> None:
        self.catalog, self.path = catalog, folder / "heads.jsonl"
        masters = MasterRing(GivenKeys(bytes(32), None), catalog.keys, utc_now)
        vault = EnvelopeVault(masters, catalog.keys, utc_now, lambda: str(uuid4()))
        self.notary = VaultNotary(catalog, vault, utc_now)
        self.kernel: Any = SimpleNamespace(
            catalog=catalog,
            witness=FileWitness(self.path),
            notary=self.notary,
            now=utc_now,
            new_id=lambda: str(uuid4()),
        )
        self.audits, self.heads = Audits(self.kernel), HeadExport(self.kernel)

    @property
    def key(self) -> Path:
        """The public key beside the heads."""
        [path] = self.path.parent.glob("heads.*.pem")
        return path

    async def write(self, *entries: AuditEntry) -> None:
        for entry in entries:
            async with self.catalog.write() as uow:
                await uow.audit.append(entry)

    async def grow(self, count: int, *, export_each: bool = True) -> None:
        """So many entries in each chain."""
        for n in range(count):
            for chain in CHAINS:
                changes = (Change("title", f"old {n}", 'new "ü" \u2028'),) if n % 2 else ()
                await self.write(
                    an_entry(n, chain=chain, detail=f"entry {n} ü💾", changes=changes, reason="why")
                )
            if export_each:
                await self.heads.export()

    async def verify(self) -> Verification:
        checked: Any = Audits.verify
        return await checked.__wrapped__(self.audits, ROOT, VerifyAudit())

    async def exported(self, **wanted: Any) -> bytes:
        made: Any = Audits.export
        file = await made.__wrapped__(self.audits, ROOT, ExportAudit(**wanted))
        return b"".join([piece async for piece in file.pieces])


@dataclass(frozen=True)
class Copy:
    """All rows of the log and its heads, to put back."""

    rows: list[dict[str, Any]]
    heads: list[dict[str, Any]]

    @classmethod
    async def of(cls, catalog: SqlCatalog) -> "Copy":
        async with catalog.engine.connect() as connection:
            order = select(LOG).order_by(LOG.c.chain, LOG.c.sequence)
            rows = [dict(r) for r in (await connection.execute(order)).mappings()]
            heads = [dict(r) for r in (await connection.execute(select(HEADS))).mappings()]
        return cls(rows, heads)

    async def restore(self, catalog: SqlCatalog) -> None:
        async with catalog.engine.begin() as connection:
            await connection.execute(delete(LOG))
            await connection.execute(delete(HEADS))
            await connection.execute(insert(LOG), self.rows)
            await connection.execute(insert(HEADS), self.heads)


def rehashed(row: dict[str, Any], previous: str) -> dict[str, Any]:
    """A row as a forger with our source code writes it."""
    row = {**row, "previous": previous}
    values = tuple(instant(row["at"]) if name == "at" else row[name] for name in RAW)
    return {**row, "hash": hashlib.sha256(canonical_raw(values)).hexdigest()}


class Tamperer:
    """Harms a log at random; every harm answers the first entry that is bad afterwards."""

    def __init__(self, catalog: SqlCatalog, copy: Copy, random: Random) -> None:
        self.catalog, self.copy, self.random = catalog, copy, random
        self.sqlite = catalog.engine.dialect.name == "sqlite"
        self.harms: tuple[Callable[[str, list[dict[str, Any]]], Awaitable[int]], ...] = (
            self.edit, self.edit, self.edit, self.remove, self.swap, self.cut, self.set_back, self.rewrite,
            self.wipe, self.smuggle,
        )  # fmt: skip

    async def harm(self) -> tuple[str, str]:
        """Answers what was done, and the first bad entry."""
        chain = self.random.choice(CHAINS)
        rows = [row for row in self.copy.rows if row["chain"] == chain]
        work = self.random.choice(self.harms)
        bad = await work(chain, rows)
        return f"{work.__name__} in {chain}", f"{chain}:{bad}"

    def _any(self, rows: list[dict[str, Any]], least: int = 1) -> int:
        return self.random.randint(least, len(rows))

    async def _do(self, *statements: Any) -> None:
        async with self.catalog.engine.begin() as connection:
            for statement in statements:
                await connection.execute(statement)

    def _at(self, chain: str, sequence: int) -> Any:
        return (LOG.c.chain == chain) & (LOG.c.sequence == sequence)

    async def edit(self, chain: str, rows: list[dict[str, Any]]) -> int:
        """One byte of one field; the smallest change there is where a field has no bytes."""
        n, column = self._any(rows), self.random.choice(RAW)
        where = f"where chain = '{chain}' and sequence = {n}"
        value = rows[n - 1][column]
        if column == "at" and self.sqlite:
            spot = self.random.randint(1, 26)
            value = value.strftime("%Y-%m-%d %H:%M:%S.%f")
            new = value[: spot - 1] + self._other(value[spot - 1]) + value[spot:]
            await self._do(text(f"update audit set at = :new {where}").bindparams(new=new))
        elif column == "at":
            await self._do(text(f"update audit set at = at + interval '1 microsecond' {where}"))
        elif column in ("sequence", "version"):
            await self._do(text(f"update audit set {column} = {column} + 1000 {where}"))
        else:
            await self._do(update(LOG).where(self._at(chain, n)).values({column: self._edited(value)}))
        return n

    def _edited(self, value: str | None) -> str:
        if not value:
            return "x" if value == "" else ""
        spot = self.random.randrange(len(value))
        return value[:spot] + self._other(value[spot]) + value[spot + 1 :]

    def _other(self, character: str) -> str:
        return self.random.choice([c for c in '0123456789abcdefT :-Z"\\,[]{}\n' if c != character])

    async def remove(self, chain: str, rows: list[dict[str, Any]]) -> int:
        n = self._any(rows)
        await self._do(delete(LOG).where(self._at(chain, n)))
        return n

    async def swap(self, chain: str, rows: list[dict[str, Any]]) -> int:
        first, second = sorted(self.random.sample(range(1, len(rows) + 1), 2))
        moves = ((first, -1), (second, first), (-1, second))
        await self._do(*(update(LOG).where(self._at(chain, a)).values(sequence=b) for a, b in moves))
        return first

    async def cut(self, chain: str, rows: list[dict[str, Any]]) -> int:
        """The tail and the head together, as if it had never been longer."""
        n = self._any(rows, 2)
        kept = rows[n - 2]
        await self._do(
            delete(LOG).where(LOG.c.chain == chain, LOG.c.sequence >= n),
            update(HEADS).where(HEADS.c.chain == chain).values(sequence=n - 1, hash=kept["hash"]),
        )
        return n

    async def set_back(self, chain: str, rows: list[dict[str, Any]]) -> int:
        """An older copy that went on growing, beyond what was exported."""
        n = await self.cut(chain, rows)
        for more in range(len(rows) - n + 3):
            async with self.catalog.write() as uow:
                await uow.audit.append(an_entry(f"new{more}", chain=chain))
        return n

    async def rewrite(self, chain: str, rows: list[dict[str, Any]]) -> int:
        """One entry changed and every hash after it made anew."""
        n = self._any(rows)
        forged, previous = [], rows[n - 1]["previous"]
        for row in rows[n - 1 :]:
            changed = {**row, "actor_name": "eve"} if row["sequence"] == n else row
            forged.append(rehashed(changed, previous))
            previous = forged[-1]["hash"]
        await self._do(delete(LOG).where(LOG.c.chain == chain, LOG.c.sequence >= n))
        async with self.catalog.engine.begin() as connection:
            await connection.execute(insert(LOG), forged)
            await connection.execute(update(HEADS).where(HEADS.c.chain == chain).values(hash=previous))
        return n

    async def wipe(self, chain: str, rows: list[dict[str, Any]]) -> int:
        await self._do(delete(LOG).where(LOG.c.chain == chain), delete(HEADS).where(HEADS.c.chain == chain))
        return 1

    async def smuggle(self, chain: str, rows: list[dict[str, Any]]) -> int:
        """An entry before the first one."""
        n = -self.random.randint(0, 5)
        await self._do(insert(LOG).values(**{**rows[0], "sequence": n}))
        return n


async def campaign(log: Log, seed: int, count: int) -> list[str]:
    """Harm the log so many times, each time from whole; answers what was not named rightly."""
    copy = await Copy.of(log.catalog)
    tamperer = Tamperer(log.catalog, copy, Random(seed))
    wrong: list[str] = []
    for number in range(count):
        what, bad = await tamperer.harm()
        found = await log.verify()
        if found.ok or found.first_bad != bad:
            wrong.append(f"{seed}/{number}: {what}: {bad} is bad, {found.first_bad} was named")
        await copy.restore(log.catalog)
    whole = await log.verify()
    assert whole.ok, whole
    return wrong
