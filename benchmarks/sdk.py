"""The SDK against the raw drivers, SQLAlchemy's ORM and Beanie: same run, same servers, medians of five.

Everything that wraps the SDK is on, as its users get it. ``x_asyncpg`` and the like are the SDK's speed as a multiple
of that contender's. BENCH_ENGINES=sqlite,mongodb chooses engines; `wrappers` and `tenants` are parts, too.
"""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from storage_core.backing.servers.servers import LocalServers
from storage_core.domain.provider import Endpoint

from .data_plane.many import many
from .data_plane.measure import BASE, Contender, Lane, race, ratios
from .data_plane.stage import Sdk, Stage, staged
from .data_plane.wrappers import wrappers

PARTS = ("wrappers", "sqlite", "postgresql", "mongodb", "tinydb", "tenants")
#: Calls in one chunk. What is slow by nature does a share of them.
COUNTS = {"insert": 1600, "bulk": 8000, "get": 2400, "find": 480, "update": 1600, "delete": 1600}
TASKS, CONNECTIONS = 16, 4


async def run(size_mb: int) -> dict[str, float | str]:
    chosen = os.environ.get("BENCH_ENGINES", ",".join(PARTS)).split(",")
    out: dict[str, float | str] = {}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        for part in chosen:
            room = home / part
            room.mkdir()
            if part == "wrappers":
                out |= await wrappers()
                continue
            async with staged(room) as stage:
                out |= await _PARTS[part](stage)
    return out


async def _sqlite(stage: Stage) -> dict[str, float | str]:
    from .data_plane.orm import Orm
    from .data_plane.raw_sqlite import RawSqlite

    provider = await stage.files("sqlite")
    raw = RawSqlite(stage.folder / "raw.sqlite3", "FULL")
    orm = Orm(f"sqlite+aiosqlite:///{stage.folder / 'orm.sqlite3'}")
    contenders: list[tuple[Contender, float]] = [(raw, 1), (Sdk(stage, provider), 1), (orm, 0.1)]
    writes = {"insert": 1000, "update": 1000, "delete": 1000}
    return await _raced("sqlite", contenders, {**COUNTS, **writes}, writes)


async def _postgresql(stage: Stage) -> dict[str, float | str]:
    from .data_plane.orm import Orm
    from .data_plane.raw_postgresql import RawPostgres

    servers = LocalServers(stage.folder / "server", durable=False)
    await servers.start("postgresql", "bench")
    try:
        endpoint, password = await servers.endpoint("bench")
        provider = await stage.server("postgresql", endpoint, password)
        raw = RawPostgres(f"postgresql://{_address(endpoint, password)}/postgres")
        several = RawPostgres(f"postgresql://{_address(endpoint, password)}/postgres", CONNECTIONS)
        orm = Orm(f"postgresql+asyncpg://{_address(endpoint, password)}/postgres", CONNECTIONS)
        sdk = Sdk(stage, provider)
        out = await _raced("postgresql", [(raw, 1), (sdk, 1), (orm, 0.1)], COUNTS)
        lanes = [Lane(several), Lane(Reopened(sdk), count=1_000_000)]
        return out | await _several("postgresql", lanes, COUNTS)
    finally:
        await servers.stop("bench")


async def _mongodb(stage: Stage) -> dict[str, float | str]:
    from .data_plane.orm import Beanie
    from .data_plane.raw_mongodb import RawMongo

    servers = LocalServers(stage.folder / "server", durable=False)
    await servers.start("mongodb", "bench")
    try:
        endpoint, password = await servers.endpoint("bench")
        more = f"?replicaSet={endpoint.replica_set}" if endpoint.replica_set else ""
        address = f"mongodb://{_address(endpoint, password)}/{more}"
        provider = await stage.server("mongodb", endpoint, password)
        contenders: list[tuple[Contender, float]] = [
            (RawMongo(address), 0.5),
            (Sdk(stage, provider), 0.5),
            (Beanie(address), 0.2),
        ]
        return await _raced("mongodb", contenders, {**COUNTS, "bulk": 16_000})
    finally:
        await servers.stop("bench")


async def _tinydb(stage: Stage) -> dict[str, float | str]:
    from .data_plane.raw_tinydb import RawTiny

    provider = await stage.files("tinydb")
    slow: list[tuple[Contender, float]] = [
        (RawTiny(stage.folder / "raw.json"), 0.01),
        (Sdk(stage, provider), 1),
    ]
    return await _raced("tinydb", slow, {**COUNTS, "insert": 500, "update": 500, "delete": 500})


async def _tenants(stage: Stage) -> dict[str, float | str]:
    return await many(stage, "sqlite")


class Reopened:
    """The SDK as it is with an empty collection, for another race."""

    def __init__(self, sdk: Sdk) -> None:
        self._sdk = sdk

    def __getattr__(self, name: str) -> object:
        return getattr(self._sdk, name)

    async def open(self) -> None:
        await self._sdk.begin("orders_again")

    async def close(self) -> None: ...


async def _raced(
    engine: str,
    contenders: list[tuple[Contender, float]],
    counts: Mapping[str, int],
    several: Mapping[str, int] | None = None,
) -> dict[str, float | str]:
    """One task; then, where `several` says of what, many tasks at once."""
    lanes = [Lane(contender, share) for contender, share in contenders]
    for lane in lanes:
        await lane.fill(BASE)
    raw, sdk, *others = (contender.name for contender, _ in contenders)
    out = ratios(await race(lanes, counts), sdk, raw, others, engine)
    if several is not None:
        out |= ratios(await race(lanes, several, TASKS), sdk, raw, others, f"{engine}_{TASKS}_tasks")
    for lane in lanes:
        await lane.contender.close()
    return out


async def _several(engine: str, lanes: list[Lane], counts: Mapping[str, int]) -> dict[str, float | str]:
    for lane in lanes:
        await lane.fill(BASE)
    raw, sdk = (lane.contender.name for lane in lanes)
    out = ratios(await race(lanes, counts, TASKS), sdk, raw, (), f"{engine}_{TASKS}_tasks")
    for lane in lanes:
        await lane.contender.close()
    return out


def _address(endpoint: Endpoint, password: str) -> str:
    return f"{quote(endpoint.user or '')}:{quote(password)}@{endpoint.host}:{endpoint.port}"


_PARTS = {
    "sqlite": _sqlite,
    "postgresql": _postgresql,
    "mongodb": _mongodb,
    "tinydb": _tinydb,
    "tenants": _tenants,
}
