"""Databases of a MongoDB deployment, by name.

Settings are the database's own profiler: `profiling` (off, slow, all) and `slow_ms`. The server's `slowms` is one
value for all databases, so a threshold here becomes a filter of this database's profiler instead. The server
forgets both when it restarts.
"""

from collections.abc import Mapping
from typing import Any

from pymongo.errors import OperationFailure

from ...domain.database import DatabaseSchema, DatabaseStats, ExistingDatabase, OptimizeReport
from ...domain.errors import InvalidRequest
from ...domain.naming import said
from . import catalogue, restore, schema
from .layout import BUCKETS
from .link import Link
from .names import SYSTEM_DATABASES, checked, is_internal, is_marker, marker_of

PROFILING = {"off": 0, "slow": 1, "all": 2}
SETTINGS = ("profiling", "slow_ms")


def profile_command(settings: Mapping[str, str]) -> dict[str, Any] | None:
    """The one command that applies all settings; InvalidRequest names the first that is unknown or wrong."""
    for key in settings:
        if key not in SETTINGS:
            raise InvalidRequest(
                f"MongoDB databases have no setting {said(key, 200)}.",
                field=f"settings.{key}",
                hint=f"Known: {', '.join(SETTINGS)}.",
            )
    if not settings:
        return None
    level = settings.get("profiling", "slow" if "slow_ms" in settings else "off")
    if level not in PROFILING:
        raise InvalidRequest("profiling is off, slow or all.", field="settings.profiling")
    command: dict[str, Any] = {"profile": PROFILING[level]}
    if "slow_ms" in settings:
        text = settings["slow_ms"]
        if not (text.isascii() and text.isdigit() and len(text) <= 8):
            raise InvalidRequest("slow_ms is a whole number of milliseconds.", field="settings.slow_ms")
        command["filter"] = {"millis": {"$gte": int(text)}}
    else:
        command["filter"] = "unset"
    return command


class MongoDatabases:
    """A created database holds one hidden marker collection (see `names`), so that it exists from the start."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def location(self, name: str) -> str:
        return f"{self._link.place}/{name}"

    async def create(self, name: str, settings: Mapping[str, str]) -> str:
        profile_command(settings)
        await restore.claim(self._link, name)
        if settings:
            try:
                await self.configure(name, settings)
            except BaseException:
                await self.drop(name)
                raise
        return self.location(name)

    async def drop(self, name: str) -> None:
        async with self._link.speaking() as client:
            await client.drop_database(checked(name))

    async def existing(self) -> tuple[ExistingDatabase, ...]:
        found = await self._link.existing()
        return tuple(
            ExistingDatabase(n, size) for n, size in sorted(found.items()) if n not in SYSTEM_DATABASES
        )

    async def stats(self, name: str) -> DatabaseStats:
        await self._link.present(name)
        async with self._link.speaking() as client:
            figures = await client[name].command("dbStats")
            listed = await catalogue.entries(client[name])
            theirs = sum(not is_internal(entry) for entry in listed)
            # each view and time series is a document of system.views, which only the server may read
            hidden = sum(entry["type"] != "collection" for entry in listed)
            if marker := marker_of(listed):
                hidden += await client[name][marker].estimated_document_count()
        details = {
            key: figures.get(key) for key in ("dataSize", "storageSize", "indexes", "indexSize", "views")
        }
        return DatabaseStats(
            size_bytes=int(figures["storageSize"]) + int(figures["indexSize"]),
            objects=theirs,
            rows_estimate=max(0, int(figures["objects"]) - hidden),
            connections=None,
            details=tuple((key, int(value)) for key, value in details.items() if value is not None),
        )

    async def schema(self, name: str) -> DatabaseSchema:
        await self._link.present(name)
        async with self._link.speaking() as client:
            return await schema.describe(client[name])

    async def configure(self, name: str, settings: Mapping[str, str]) -> None:
        command = profile_command(settings)
        await self._link.present(name)
        if command is not None:
            async with self._link.speaking() as client:
                await client[name].command(command)

    async def optimize(self, name: str) -> OptimizeReport:
        """Compact every collection: the engine gives free space inside its files back."""
        before = (await self.stats(name)).size_bytes
        steps: list[str] = []
        async with self._link.speaking() as client:
            for entry in sorted(await catalogue.entries(client[name]), key=lambda e: str(e["name"])):
                label = str(entry["name"])
                if label.startswith(BUCKETS):
                    steps.append(
                        f"left {label.removeprefix(BUCKETS)} as it is: MongoDB compacts no time series"
                    )
                    continue
                if entry["type"] != "collection" or label.startswith("system.") or is_marker(entry):
                    continue
                try:
                    done = await client[name].command({"compact": entry["name"], "force": True})
                    steps.append(f"compacted {label}: {int(done.get('bytesFreed', 0))} bytes freed")
                except OperationFailure as error:
                    if error.code in (13, 18):
                        raise
                    steps.append(f"left {label} as it is: MongoDB answered {error.code}")
        return OptimizeReport(
            tuple(steps or ["nothing to compact"]), before, (await self.stats(name)).size_bytes
        )
