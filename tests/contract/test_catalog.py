"""The catalog's contract on SQLite and on a real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from storage_core.backing.bus import OutboxBus
from storage_core.catalog.catalog import SqlCatalog, open_engine
from storage_core.catalog.migrate import migrate, newest
from storage_core.domain.errors import Unavailable
from storage_core.domain.provider import Endpoint
from tests.contract.audit_log import Log
from tests.contract.catalog_contract import CatalogContract, Handed, a_tenant
from tests.integration.homes import a_postgresql_database


@pytest.fixture
def verify(tmp_path: Path) -> Callable[[SqlCatalog], Any]:
    """The operation's own check, without the doors around it."""
    return lambda catalog: Log(catalog, tmp_path).verify()


@pytest.fixture
async def postgresql_url(postgresql_server: tuple[Endpoint, str]) -> AsyncIterator[str]:
    """An empty database of its own."""
    async with a_postgresql_database(postgresql_server) as url:
        yield url


class TestSqliteCatalog(CatalogContract):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / 'catalog.sqlite3'}"

    async def test_a_catalog_that_cannot_be_opened_is_unavailable(self, tmp_path: Path) -> None:
        (tmp_path / "no").mkdir()
        catalog = _catalog(f"sqlite:///{tmp_path / 'no'}")
        with pytest.raises(Unavailable):
            await catalog.ping()
        await catalog.close()


class TestPostgresqlCatalog(CatalogContract):
    @pytest.fixture
    def url(self, postgresql_url: str) -> str:
        return postgresql_url

    def bus(self, catalog: SqlCatalog) -> OutboxBus:
        """So rarely reading by itself that only being told can be in time."""
        return OutboxBus(catalog.events, catalog.last_event, 3600, catalog.news)

    async def test_listening_begins_again_after_its_connection_was_lost(self, catalog: SqlCatalog) -> None:
        bus = OutboxBus(catalog.events, catalog.last_event, 0.05, catalog.news)
        await bus.start()
        try:
            async with catalog.write() as uow:
                await uow.tenants.add(a_tenant(1))
            reached = await asyncio.wait_for(bus.wait_beyond(0), 10)
            await self._end_sessions(catalog)
            async with asyncio.timeout(10):
                while True:
                    try:
                        async with catalog.write() as uow:
                            await uow.tenants.add(a_tenant(2))
                        break
                    except Unavailable:
                        continue
            await asyncio.wait_for(bus.wait_beyond(reached), 10)
        finally:
            await bus.close()

    async def test_a_lost_connection_is_unavailable_and_the_next_unit_works(
        self, catalog: SqlCatalog
    ) -> None:
        with pytest.raises(Unavailable):
            async with catalog.write() as uow:
                await uow.tenants.add(a_tenant(1))
                await self._end_sessions(catalog)
                await uow.tenants.add(a_tenant(2))
        async with catalog.write() as uow:
            assert await uow.tenants.get("t1") is None
            await uow.tenants.add(a_tenant(1))

    @pytest.mark.parametrize("harm", ["port", "password", "database", "host"])
    async def test_a_catalog_that_cannot_be_reached_is_unavailable(self, url: str, harm: str) -> None:
        from sqlalchemy import make_url

        parsed = make_url(url)
        change: dict[str, Any] = {
            "port": {"port": 1},
            "password": {"password": "wrong"},
            "database": {"database": "no_such_database"},
            "host": {"host": "no-such-host.invalid"},
        }[harm]
        catalog = _catalog(parsed.set(**change).render_as_string(hide_password=False))
        with pytest.raises(Unavailable) as caught:
            await catalog.ping()
        assert "wrong" not in str(caught.value)
        await catalog.close()

    async def _end_sessions(self, catalog: SqlCatalog) -> None:
        url = catalog.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        admin = await asyncpg.connect(url)
        await admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
        await admin.close()


def test_there_is_a_newest_revision() -> None:
    assert newest() is not None


async def test_a_newer_catalog_is_not_touched(tmp_path: Path) -> None:
    """A catalog of a later version stops the start with words, not with half an upgrade."""
    from sqlalchemy import text

    engine = open_engine(f"sqlite:///{tmp_path / 'catalog.sqlite3'}")
    try:
        await migrate(engine)
        async with engine.begin() as connection:
            await connection.execute(text("update catalog_version set version_num = '9999'"))
        with pytest.raises(Unavailable, match="newer"):
            await migrate(engine)
    finally:
        await engine.dispose()


def _catalog(url: str) -> SqlCatalog:
    from datetime import UTC, datetime

    return SqlCatalog(open_engine(url), Handed(), lambda: datetime.now(UTC), shared=True)  # type: ignore[arg-type]
