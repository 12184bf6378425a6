"""A PgBouncer before a server, in transaction mode: each transaction may meet another connection of the server."""

import time
from dataclasses import replace
from typing import Any

from ...domain.errors import StorageError
from ...domain.provider import POOLER_PORT, CheckStep, Endpoint, StepStatus
from ...ports.outbound import Outbound
from ..probe import since
from .dial import Dialer

#: A statement that was prepared in one transaction is not there in the next: nothing is kept, nothing is named.
UNPREPARED: dict[str, Any] = {
    "prepared_statement_cache_size": 0,
    "prepared_statement_name_func": lambda: "",
}


def pooler_of(
    endpoint: Endpoint, password: str | None, connect_seconds: float, outbound: Outbound | None
) -> Dialer | None:
    """The way to the server through its PgBouncer, under the same credentials and TLS; none where it has none."""
    if endpoint.pooler_host is None:
        return None
    there = replace(endpoint, host=endpoint.pooler_host, port=endpoint.pooler_port or POOLER_PORT)
    return Dialer(there, password, connect_seconds, outbound, "connection.pooler_host", scoped=False)


async def tried(pooler: Dialer) -> CheckStep:
    """A step of the connection's test: only a warning, since all but sessions work without it."""
    began = time.perf_counter()
    try:
        connection = await pooler.connect(cached=0)
        await connection.close(timeout=5)
    except StorageError as error:
        return CheckStep("pooler", StepStatus.WARNING, error.detail, error.hint, error.code, since(began))
    detail = f"PgBouncer at {pooler.host}:{pooler.port} leads to the server."
    return CheckStep("pooler", StepStatus.PASSED, detail, milliseconds=since(began))
