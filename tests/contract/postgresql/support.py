"""What the tests of PostgreSQL share: a plain driver, roles, databases for a while."""

import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import psutil

from storage_core.domain.backup import Manifest, compare
from storage_core.domain.provider import Endpoint
from storage_core.ports.backup import Backup
from storage_core.providers.postgresql.engine import PostgresEngine
from tests.contract.engine_contract import dumped, no_progress, replay
from tests.contract.postgresql import rich_schema

Server = tuple[Endpoint, str]


class Admin:
    """A plain driver beside the engine, as the superuser."""

    def __init__(self, server: Server) -> None:
        self.endpoint, self.password = server

    @contextlib.asynccontextmanager
    async def at(self, database: str = "postgres") -> AsyncIterator[asyncpg.Connection]:
        connection = await asyncpg.connect(
            host=self.endpoint.host,
            port=self.endpoint.port,
            user=self.endpoint.user,
            password=self.password,
            database=database,
            ssl=False,
        )
        try:
            yield connection
        finally:
            await connection.close()

    async def run(self, database: str, *statements: str) -> None:
        async with self.at(database) as connection:
            for statement in statements:
                await connection.execute(statement)


@contextlib.asynccontextmanager
async def temporary(engine: PostgresEngine, *, made: bool = True) -> AsyncIterator[str]:
    """A database's name, dropped afterwards."""
    name = f"sc_own_{secrets.token_hex(5)}"
    if made:
        await engine.databases.create(name, {})
    try:
        yield name
    finally:
        await engine.databases.drop(name)


def backup_of(engine: PostgresEngine) -> Backup:
    assert engine.backup is not None
    return engine.backup


async def round_trip(engine: PostgresEngine, source: str, copy: str) -> tuple[Manifest, tuple[str, ...]]:
    """Back up, restore and prove without a difference; answers the manifest and what was skipped."""
    pieces, manifest = await dumped(backup_of(engine), source)
    report = await backup_of(engine).restore(replay(pieces), copy, manifest, no_progress)
    assert compare(manifest, await backup_of(engine).measure(copy, manifest)) == ()
    return manifest, report.skipped


async def fill_rich(admin: Admin, name: str) -> None:
    await admin.run(name, rich_schema.TYPES, rich_schema.OBJECTS, rich_schema.NOTICED, rich_schema.SUPERUSER)


def programs() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if process.name() in ("pg_dump", "pg_restore") and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@contextlib.asynccontextmanager
async def role(admin: Admin, options: str = "") -> AsyncIterator[tuple[str, str]]:
    """A role and its password; everything of it goes with it."""
    name, password = f"r_{secrets.token_hex(4)}", "pa:ss\\wo'rd " + secrets.token_hex(4)
    quoted = password.replace("'", "''")
    await admin.run("postgres", f"create role {name} login password '{quoted}' {options}")
    try:
        yield name, password
    finally:
        async with admin.at() as connection:
            for (database,) in await connection.fetch(
                "select datname from pg_database where not datistemplate and datallowconn"
            ):
                await admin.run(database, f"reassign owned by {name} to postgres", f"drop owned by {name}")
            await connection.execute(f"drop role {name}")


@contextlib.asynccontextmanager
async def engine_of(admin: Admin, name: str, password: str) -> AsyncIterator[PostgresEngine]:
    engine = PostgresEngine(replace(admin.endpoint, user=name), password)
    try:
        yield engine
    finally:
        await engine.close()
