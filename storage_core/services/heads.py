"""Exports the audit's signed heads to the witness, and reads them back as evidence."""

import asyncio
import hashlib
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from ..domain.audit import SYSTEM_CHAIN, AuditEntry, Phase, instant
from ..domain.context import system_context
from ..domain.errors import StorageError
from ..domain.heads import (
    FORMAT,
    Evidence,
    Exported,
    ExportedHead,
    Head,
    SignedHeads,
    anchors_of,
    encoded,
    key_id,
    missing_from,
    read_line,
    signed_line,
    unsigned,
)
from ..domain.page import Clause, Query, Test
from ..domain.permission import Target
from ..ports.catalog import UnitOfWork
from .auditing import audit_entry
from .kernel import Kernel, Service, options_in

log = logging.getLogger(__name__)

#: How long heads may lag behind the log, in intervals, before somebody is told.
OVERDUE = 3
LOOKED_AT = 100
#: What the system's chain says of a place when it first has heads: who empties the place, and the catalog's memory of
#: it, must cut the log as well.
FIRST = "audit.heads"
_UNTIL_AGAIN = (
    " Until all heads are exported again, what is cut from the log cannot be told; compare it with a copy of the lost"
    " heads."
)
#: How long people are told of a loss after everything was exported anew.
TOLD_OF = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Anchors:
    """What the place remembers: hashes by sequence by chain, and when the newest line was signed."""

    by_chain: dict[str, dict[int, str]]
    count: int = 0
    at: datetime | None = None
    strange: int = 0


def place_key(kernel: Kernel) -> str:
    """Under which name the catalog remembers what was exported to the place."""
    return hashlib.sha256(kernel.witness.key.encode()).hexdigest()


async def first_noted(uow: UnitOfWork, place: str) -> bool:
    """Whether the log says that heads were exported to this place."""
    wanted = {
        "chain": SYSTEM_CHAIN, "operation": FIRST, "phase": Phase.OUTCOME.value, "target_id": place
    }  # fmt: skip
    where = tuple(Clause(name, Test.ANY_OF, (value,)) for name, value in wanted.items())
    return (await uow.audit.find(Query(where, sort="-at", limit=1))).total > 0


async def anchors(kernel: Kernel) -> Anchors:
    """The exported heads whose signature holds. Raises what the witness raises when it cannot be read."""
    evidence = Evidence()
    strange = 0
    async for line in kernel.witness.lines():
        read = read_line(line)
        if read is None:
            strange += 1
        else:
            evidence.add(read)
    kept = evidence.lines()
    if not kept:
        return Anchors({}, strange=strange)
    own = await kernel.notary.public()
    # A key beside the lines counts as well: a restored catalog may be older than its own key.
    keys = {**await kernel.witness.keys(), key_id(own): own}
    true = await asyncio.to_thread(lambda: [line for line in kept if _holds(kernel, keys, line)])
    found = anchors_of(true)
    count = sum(len(one) for one in found.values())
    newest = max((line.at for line in true), default=None)
    return Anchors(found, count, newest, strange + len(kept) - len(true))


def _holds(kernel: Kernel, keys: dict[str, bytes], line: SignedHeads) -> bool:
    public = keys.get(line.key_id)
    return public is not None and kernel.notary.holds(public, line.signature, line.signed)


class HeadExport(Service):
    """Signs the heads of all chains and hands them to the witness. Not an operation: the log itself goes on."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self._told: dict[str, Head] | None = None
        self._held: dict[str, Head] = {}
        self._again: datetime | None = None
        self._failing = self._gone = False
        self._lock = asyncio.Lock()

    async def interval(self) -> float:
        """Seconds until the next export, as set."""
        async with self.kernel.catalog.read() as uow:
            return (await options_in(uow)).audit_heads_seconds

    async def export(self) -> None:
        """Export what is new since the last time; a place that fails is an alert, not an error."""
        async with self._lock:
            try:
                await self._export()
            except StorageError as error:
                log.error("the audit's heads are not exported: %s", error.detail)
                await self._alert(failing=True)
            else:
                await self._alert(failing=False)

    async def _export(self) -> None:
        key, witness = place_key(self.kernel), self.kernel.witness
        async with self.kernel.catalog.read() as uow:
            now = {head.chain: head for head in await uow.audit.heads()}
            remembered = [one.head for one in await uow.audit.remembered(key)]
            noted = self._told is not None or await first_noted(uow, key)
        if self._told is not None and not await witness.kept():
            await self._lost()
            self._told = None
        told = self._told
        carried = await self._carried(now, remembered, noted=noted) if told is None else []
        fresh = [head for chain, head in now.items() if told is None or told.get(chain) != head]
        if not fresh and not carried:
            return
        public = await self.kernel.notary.public()
        values = unsigned(FORMAT, self.kernel.now(), public, [*carried, *fresh], whole=told is None)
        line = signed_line(values, await self.kernel.notary.sign(encoded(values)))
        await witness.publish(key_id(public), self.kernel.notary.pem(public))
        await witness.append(line, whole=told is None)
        async with self.kernel.catalog.write() as uow:
            await uow.audit.remember(key, fresh, whole=told is None, since=self._again)
            if not noted:
                await uow.audit.append(self._first(key))
        self._told = self._held = now
        self._again, self._gone = None, False
        if not noted:
            await self._export()  # with that entry: from now on it cannot be cut unseen

    def _first(self, key: str) -> AuditEntry:
        ctx = system_context("signed heads go to this place", self.kernel.new_id())
        target = Target("place", key, self.kernel.witness.place)
        return audit_entry(self.kernel, FIRST, ctx, target, key, Phase.OUTCOME, "ok")

    async def _carried(self, now: dict[str, Head], remembered: list[Head], *, noted: bool) -> list[Head]:
        """The highest heads the place knows: a catalog that was set back must not make it forget them.

        Where the place lost some, those this process exported stand for them. What the catalog remembers does not:
        whoever can write it would have us sign anything.
        """
        known = (await anchors(self.kernel)).by_chain
        reached = {chain: max(at) for chain, at in known.items()}
        held = missing_from(reached, self._held.values())
        if held or missing_from(reached, remembered) or (noted and not reached):
            await self._lost()
            self._again = self.kernel.now()
        heads = {chain: Head(chain, last, known[chain][last]) for chain, last in reached.items()}
        heads |= {head.chain: head for head in held}
        evidence = {**{head.chain: head for head in remembered}, **heads}
        for head in evidence.values():
            if _set_back(head, now.get(head.chain)):
                log.error("the audit log of %s was set back: entry %d was exported and is not here any more",
                          head.chain, head.sequence)  # fmt: skip
        return [head for head in heads.values() if now.get(head.chain) != head]

    async def _lost(self) -> None:
        """Said once for each loss, also when exporting anew takes several attempts."""
        if self._gone:
            return
        self._gone = True
        log.error("the place of the audit's heads, %s, lost what was written to it: all heads are exported again",
                  self.kernel.witness.place)  # fmt: skip
        await self._tell("lost")

    async def _alert(self, *, failing: bool) -> None:
        if failing is self._failing:
            return
        self._failing = failing
        await self._tell("unexported" if failing else "exported")

    async def _tell(self, verb: str) -> None:
        try:
            async with self.kernel.catalog.write() as uow:
                await uow.publish("audit", verb, "heads", None)
        except StorageError as error:
            log.warning("nobody is told about the audit's heads: %s", error.detail)


def _set_back(head: Head, now: Head | None) -> bool:
    return now is None or now.sequence < head.sequence or (now.sequence == head.sequence and now != head)


def lost_words(remembered: Collection[ExportedHead], reached: Mapping[str, int], *, noted: bool) -> str:
    """That the place does not hold what was exported to it, as the catalog or the log knows; empty when it does."""
    gone = missing_from(reached, [one.head for one in remembered])
    if not gone and noted and not reached:
        return (
            "The log says that heads were exported to this place, and none can be read there any more."
            + _UNTIL_AGAIN
        )
    if not gone:
        return ""
    count = (
        f"the last exported heads of {len(gone)} chains"
        if len(gone) > 1
        else f"the last head of {gone[0].chain}"
    )
    return f"The place lost what was written to it: {count} cannot be found there any more." + _UNTIL_AGAIN


def again_words(remembered: Collection[ExportedHead], now: datetime) -> str:
    """That the place had lost heads lately and since when it guards the log again, empty when it had not."""
    since = max((one.since for one in remembered if one.since is not None), default=None)
    if since is None or now - since > TOLD_OF:
        return ""
    return (
        "The place had lost what was written to it; all heads were exported again and guard the log since"
        f" {instant(since)}. What was cut before then cannot be told; compare the log with a copy of the lost heads."
    )


async def exported(kernel: Kernel) -> Exported:
    """How far the heads are exported, and what is wrong with that."""
    public = await kernel.notary.public()
    place, pem = kernel.witness.place, kernel.notary.pem(public)
    # First what should be there: an export in between only adds to what is found.
    async with kernel.catalog.read() as uow:
        remembered = await uow.audit.remembered(place_key(kernel))
        noted = await first_noted(uow, place_key(kernel))
    try:
        known = await anchors(kernel)
    except StorageError as error:
        return Exported(place, key_id(public), pem, None, 0, error.detail)
    reached = {chain: max(at) for chain, at in known.by_chain.items()}
    said = (
        lost_words(remembered, reached, noted=noted),
        await _problem(kernel, known, reached),
        again_words(remembered, kernel.now()),
    )
    return Exported(place, key_id(public), pem, known.at, sum(reached.values()), " ".join(filter(None, said)))


async def _problem(kernel: Kernel, known: Anchors, reached: dict[str, int]) -> str:
    if known.strange:
        return f"{known.strange} lines at the place are not signed by a key of this console."
    async with kernel.catalog.read() as uow:
        interval = timedelta(seconds=(await options_in(uow)).audit_heads_seconds)
        late = [h for h in await uow.audit.heads() if h.sequence > reached.get(h.chain, 0)]
        # The first entries that are not exported yet: how long they have been waiting is what counts.
        waiting = [await uow.audit.get(h.chain, reached.get(h.chain, 0) + 1) for h in late[:LOOKED_AT]]
    since = min((entry.at for entry in waiting if entry is not None), default=None)
    if since is None or kernel.now() - since <= OVERDUE * interval:
        return ""
    return f"Entries since {instant(since)} are not exported."
