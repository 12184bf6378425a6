"""The private servers from the command line: as the operations do it, and with each server's address.

The address holds the password. It is shown here only because whoever can run this can read the home; no other
door has it.
"""

from typing import Any
from urllib.parse import quote

from ..services.declared import OPERATIONS
from ..services.engines import ListEngines, StartEngine, StopEngine
from .run import LocalHome, Target, opened

_BY_NAME = {op.name: op for op in OPERATIONS}


async def start(kind: Any, name: str | None) -> Any:
    async with opened() as target:
        server = await target.call(_BY_NAME["engines.start"], StartEngine(kind=kind, name=name))
        return await _with_address(target, server)


async def stop(which: str) -> Any:
    name = f"local-{which}" if which in ("postgresql", "mongodb") else which
    async with opened() as target:
        return await target.call(_BY_NAME["engines.stop"], StopEngine(name=name))


async def list_all() -> Any:
    async with opened() as target:
        servers = await target.call(_BY_NAME["engines.list"], ListEngines())
        return [await _with_address(target, s) for s in servers]


async def _with_address(target: Target, server: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(target, LocalHome):
        return server
    password = await target.core.kernel.servers.password(server["name"])
    who = f"{quote(server['user'])}:{quote(password, safe='')}@{server['host']}:{server['port']}"
    if server["kind"] == "postgresql":
        return {**server, "dsn": f"postgresql://{who}/postgres"}
    return {**server, "dsn": f"mongodb://{who}/?authSource=admin&replicaSet=rs0"}
