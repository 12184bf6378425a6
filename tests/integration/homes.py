"""A home of the product for a test: settings, an open core, databases to back up, and patience."""

# ruff: noqa: ASYNC240 - a test looks at small files of its own

import asyncio
import atexit
import secrets
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg

from storage_core.bootstrap import Core, migrate, new_id, open_core
from storage_core.domain.backup import Backup
from storage_core.domain.context import Context, local_context
from storage_core.domain.database import Database
from storage_core.domain.job import ENDED, Job
from storage_core.domain.provider import Endpoint, Provider
from storage_core.services.backups import CreateBackup
from storage_core.services.databases import CreateDatabase
from storage_core.services.providers import CreateProvider
from storage_core.settings import Settings, prepare_home

PATIENCE = 60.0


def settings_of(home: Path, **more: Any) -> Settings:
    return Settings(home=home, **more)


def somebody() -> Context:
    return local_context("tester", new_id())


async def prepare(settings: Settings) -> None:
    """A home at this version. A new one begins as a copy of one: making its tables takes longer than most tests."""
    catalog, note = settings.home / "catalog.sqlite3", settings.home / "migrated"
    if settings.jobs == settings.catalog == f"sqlite:///{catalog}" and not catalog.exists():
        prepare_home(settings)
        model = await _model()
        for path in (catalog, note):
            shutil.copyfile(model / path.name, path)
    await migrate(settings)


async def _model() -> Path:
    """The home that new ones of this process are copied from."""
    if not _MODEL:
        folder = Path(tempfile.mkdtemp())
        atexit.register(shutil.rmtree, folder)
        await migrate(Settings(home=folder / "home"))
        _MODEL.append(folder / "home")
    return _MODEL[0]


_MODEL: list[Path] = []


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Core]:
    await prepare(settings)
    async with open_core(settings) as core:
        yield core


async def until(core: Core, what: Callable[[], Awaitable[Any]]) -> Any:
    """Wait for a condition, looked at again whenever something changed in the catalog."""
    async with asyncio.timeout(PATIENCE):
        seen = await core.kernel.catalog.last_event()
        while not (answer := await what()):
            try:
                seen = await asyncio.wait_for(core.bus.wait_beyond(seen), 0.5)
            except TimeoutError:
                continue
        return answer


async def job_of(core: Core, id: str) -> Job:
    async with core.kernel.catalog.read() as uow:
        job = await uow.jobs.get(id)
    assert job is not None
    return job


async def backup_of(core: Core, id: str) -> Backup:
    async with core.kernel.catalog.read() as uow:
        row = await uow.backups.get(id)
    assert row is not None
    return row


async def ended(core: Core, job_id: str) -> Job:
    """Wait for a job's end."""

    async def over() -> Job | None:
        job = await job_of(core, job_id)
        return job if job.status in ENDED else None

    job: Job = await until(core, over)
    return job


async def a_provider(core: Core, root: Path) -> Provider:
    root.mkdir(exist_ok=True)
    name = f"files-{new_id()[:8]}"
    request = CreateProvider.model_validate(
        {"name": name, "kind": "sqlite", "connection": {"path": str(root)}}
    )
    return await core.providers.create(somebody(), request)


async def a_database(core: Core, provider: Provider, rows: int = 300, size: int = 10_000) -> Database:
    """A database of about ``rows * size`` bytes that do not compress, with an index and a view."""
    request = CreateDatabase(provider_id=provider.id, name=f"db-{new_id()[:8]}")
    database = await core.databases.create(somebody(), request)
    assert database.location is not None
    with closing(sqlite3.connect(database.location)) as db:
        db.execute("create table orders (id integer primary key, word text not null, body blob)")
        db.execute(
            "insert into orders with recursive n(i) as (select 1 union all select i + 1 from n where i < ?)"
            " select i, 'word ' || i, randomblob(?) from n",
            (rows, size),
        )
        db.execute("create table lines (order_id integer references orders, qty integer)")
        db.execute("insert into lines select id, id % 7 from orders")
        db.execute("create index by_word on orders (word)")
        db.execute("create view busy as select * from lines where qty > 3")
        db.commit()
    return database


async def a_backup(core: Core, database: Database) -> tuple[Job, Backup]:
    ticket = await core.backups.create(somebody(), CreateBackup(database_id=database.id))
    return await ended(core, ticket.job_id), await backup_of(core, ticket.id)


@asynccontextmanager
async def a_postgresql_database(server: tuple[Endpoint, str]) -> AsyncIterator[str]:
    """An empty database of its own on a real server, by its address."""
    endpoint, password = server
    name = f"catalog_{secrets.token_hex(6)}"
    address = f"{quote(endpoint.user or '')}:{quote(password)}@{endpoint.host}:{endpoint.port}"
    admin = await asyncpg.connect(f"postgresql://{address}/{endpoint.database or 'postgres'}")
    try:
        await admin.execute(f'create database "{name}"')
        yield f"postgresql://{address}/{name}"
        await admin.execute(f'drop database "{name}" with (force)')
    finally:
        await admin.close()


def databases_in(root: Path) -> set[str]:
    """Names of every file below a provider's directory, without SQLite's own companions."""
    names = {p.name for p in root.rglob("*") if p.is_file()}
    return {n for n in names if not n.endswith(("-wal", "-shm", "-journal"))}


def artifacts_in(home: Path) -> set[str]:
    return {p.name for p in (home / "store").rglob("*") if p.is_file()}
