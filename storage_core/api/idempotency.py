"""Idempotency-Key: the same key and body answer the same, however often the network makes a caller repeat."""

import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from ..bootstrap import Core
from ..domain.context import Context
from ..domain.errors import Conflict, NameTaken
from ..domain.idempotency import Remembered
from ..services.kernel import opened, raced
from ..services.operation import Operation
from ..wire import from_json, to_json


async def replayed(
    core: Core, ctx: Context, op: Operation, key: str, digest: str, run: Callable[[], Awaitable[Any]]
) -> Any:
    """Run once per caller, key and operation; a failed run forgets the key, so that it can be tried again.

    The answer is kept sealed: it may hold what is shown only once. Conflict for another body (`digest`), and
    while the first call still runs.
    """
    # The actor's name tells a person from each of their tokens: no token replays what a stronger one was told.
    place = "\x00".join((ctx.actor.id, ctx.actor.name, ctx.tenant_id or "", op.name, key))
    id = hashlib.sha256(place.encode()).hexdigest()
    catalog, vault = core.kernel.catalog, core.kernel.vault
    row = Remembered(id, digest, core.kernel.now())
    before = await _claim(core, row)
    if before is not None:
        _check(before, digest)
        body = await opened(vault, lambda: _kept(core, id))
        if body is None:
            raise Conflict("The first answer was forgotten in this moment.", hint="Ask again.")
        return from_json(op, json.loads(body))
    try:
        answer = await run()
    except BaseException:
        async with catalog.write() as uow:
            await uow.remembered.remove(id)
        raise

    async def remember() -> None:
        body = await vault.seal(json.dumps(to_json(op, answer)).encode(), row.binding)
        async with catalog.write() as uow:
            await uow.remembered.save(replace(row, status=200, body=body))

    await raced(remember)
    return answer


async def _kept(core: Core, id: str) -> Remembered | None:
    async with core.kernel.catalog.read() as uow:
        return await uow.remembered.get(id)


async def _claim(core: Core, row: Remembered) -> Remembered | None:
    """Take the key; answers who had it before, none when it is ours."""
    try:
        async with core.kernel.catalog.write() as uow:
            before = await uow.remembered.get(row.id)
            if before is None:
                await uow.remembered.add(row)
            return before
    except NameTaken:
        return await _kept(core, row.id)


def _check(before: Remembered, digest: str) -> None:
    if before.digest != digest:
        raise Conflict("This Idempotency-Key was used with another request.", hint="Use a fresh key.")
    if before.status == 0:
        raise Conflict(
            "The first request with this Idempotency-Key is still running.", hint="Ask again in a moment."
        )
