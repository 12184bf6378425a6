"""A catalog from before keys had generations keeps all it sealed, on both databases."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Connection, text

from storage_core.backing.servers.servers import LocalServers
from storage_core.catalog import migrate as migrating
from storage_core.catalog.catalog import open_engine
from tests.integration.homes import a_postgresql_database

BEFORE = "0006"
AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgresql"])
async def url(
    request: pytest.FixtureRequest, tmp_path: Path, local_servers: LocalServers
) -> AsyncIterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'catalog.sqlite3'}"
        return
    await local_servers.start("postgresql", "postgresql")
    async with a_postgresql_database(await local_servers.endpoint("postgresql")) as made:
        yield made


async def test_what_was_there_names_its_keys(url: str) -> None:
    engine = open_engine(url)
    at: Any = AT if engine.dialect.name == "postgresql" else AT.replace(tzinfo=None).isoformat(" ")

    def old(sync: Connection) -> None:
        command.upgrade(migrating._config(sync), BEFORE)
        for row in (
            (
                "keys (id, owner, tenant_id, wrapped, state, created_at) "
                "values ('k1', 'system', null, 'm1.body', 'primary', :at), "
                "('k2', 't1', 't1', 'm1.body', 'primary', :at)"
            ),
            (
                "secrets (id, tenant_id, owner_id, envelope, version, created_at, updated_at, row_version) "
                "values ('p1/password', null, 'p1', 'v1.k1.body', 1, :at, :at, 1), "
                "('audit/signing', null, 'audit', 'v1.k1.body', 1, :at, :at, 1)"
            ),
            (
                "data_keys (id, tenant_id, wrapped, created_at, row_version) "
                "values ('b1', 't1', 'v1.k2.body', :at, 1)"
            ),
            (
                "remembered (id, digest, status, body, created_at, row_version) "
                "values ('r1', 'd', 200, 'v1.k1.body', :at, 1), ('r2', 'd', 0, '', :at, 1)"
            ),
        ):
            sync.execute(text(f"insert into {row}"), {"at": at})

    try:
        async with engine.begin() as connection:
            await connection.run_sync(old)
        await migrating.migrate(engine)
        async with engine.connect() as connection:

            async def rows(query: str) -> list[tuple[Any, ...]]:
                return [tuple(row) for row in await connection.execute(text(query))]

            assert await rows("select id, owner, state, version, wrapped from keys order by id") == [
                ("k1", "system", "primary", 1, "m1.body"),
                ("k2", "t1", "primary", 1, "m1.body"),
                ("m1", "master", "primary", 1, ""),
            ]
            assert await rows("select id, owner_id, collection, key_id from secrets order by id") == [
                ("p1/password", "p1", "providers", "k1"),
                ("signing/key", "signing", "audit", "k1"),
            ]
            assert await rows("select id, key_id from data_keys") == [("b1", "k2")]
            assert await rows("select id, key_id from remembered order by id") == [("r1", "k1"), ("r2", "")]
            assert await rows("select count(*) from keys where updated_at = created_at") == [(3,)]
    finally:
        await engine.dispose()
