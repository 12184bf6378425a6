"""The product acting on its own: with a reason, and said in the audit log."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ..domain.audit import Phase
from ..domain.context import Context, system_context
from ..domain.errors import StorageError
from ..domain.permission import Target
from ..ports.recording import Recording, recording
from .auditing import audit_entry, changed
from .kernel import Kernel, insisted


@asynccontextmanager
async def acting(kernel: Kernel, reason: str, operation: str, target: Target) -> AsyncIterator[Context]:
    """Run system work; what it has changed by its end is one entry, with the reason. Nothing changed, nothing said.

    There is no intent: such work finishes what an operation began, whose own intent is written.
    """
    ctx, recorded, result, detail = system_context(reason, kernel.new_id()), Recording(), "ok", ""
    recorder = recording.set(recorded)
    try:
        yield ctx
    except StorageError as error:
        result, detail = error.code, error.detail
        raise
    finally:
        recording.reset(recorder)
        if changes := await changed(kernel.notary, recorded):
            digest = hashlib.sha256(reason.encode()).hexdigest()
            entry = audit_entry(
                kernel, operation, ctx, target, digest, Phase.OUTCOME, result, detail, changes
            )

            async def write() -> None:
                async with kernel.catalog.write() as uow:
                    await uow.audit.append(entry)

            await insisted(write)
