"""A provider's stored password goes nowhere but where it was given for."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from storage_core.bootstrap import Core
from storage_core.domain.errors import Conflict, InvalidRequest, StorageError
from storage_core.domain.provider import Endpoint, Provider, TlsMode
from storage_core.services.providers import CreateProvider, TestProvider, UpdateProvider
from tests.integration.homes import opened, settings_of, somebody

pytestmark = [pytest.mark.servers, pytest.mark.timeout(120)]
Server = tuple[Endpoint, str]


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[Core]:
    async with opened(settings_of(tmp_path / "home")) as opening:
        yield opening


@pytest.fixture
async def listener() -> AsyncIterator[tuple[int, list[bytes]]]:
    """A stranger's server: its port, and all that it is told."""
    heard: list[bytes] = []

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(4096))
        writer.close()

    server = await asyncio.start_server(hear, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1], heard
    server.close()


async def registered(core: Core, server: Server) -> tuple[Provider, dict[str, Any]]:
    endpoint, password = server
    connection = {"host": endpoint.host, "port": endpoint.port, "user": endpoint.user}
    request = {"name": "p", "kind": "postgresql", "connection": {**connection, "password": password}}
    return await core.providers.create(somebody(), CreateProvider.model_validate(request)), connection


async def updated(core: Core, provider: Provider, connection: dict[str, Any]) -> Provider:
    request = UpdateProvider.model_validate({"id": provider.id, "connection": connection})
    return await core.providers.update(somebody(), request)


async def test_a_new_address_needs_the_password_again(
    core: Core, postgresql_server: Server, listener: tuple[int, list[bytes]]
) -> None:
    provider, connection = await registered(core, postgresql_server)
    port, heard = listener
    for change in ({"port": port}, {"host": "localhost"}, {"pooler_host": "127.0.0.1", "pooler_port": port}):
        with pytest.raises(InvalidRequest, match="stored password") as refused:
            await updated(core, provider, {**connection, **change})
        assert refused.value.field == "connection.password"
        assert "again" in refused.value.hint
    assert heard == []
    # with a password it is the caller's own that goes there, and an unsaved connection is tested with its own alone
    with pytest.raises(StorageError):
        await updated(core, provider, {**connection, "port": port, "password": "mine"})
    test = TestProvider.model_validate({"kind": "postgresql", "connection": {**connection, "port": port}})
    await core.providers.test(somebody(), test)
    assert heard
    assert not any(postgresql_server[1].encode() in said for said in heard)


async def test_less_guard_needs_the_password_again_and_the_same_place_does_not(
    core: Core, postgresql_server: Server
) -> None:
    provider, connection = await registered(core, postgresql_server)
    assert (await updated(core, provider, {**connection, "database": "template1"})).revision == 2
    async with core.kernel.catalog.write() as uow:
        row = await uow.providers.get(provider.id)
        assert row is not None
        await uow.providers.save(replace(row, endpoint=replace(row.endpoint, tls=TlsMode.REQUIRE)))
    with pytest.raises(InvalidRequest, match="less guarded"):
        await updated(core, provider, connection)
    again = await updated(core, provider, {**connection, "password": postgresql_server[1]})
    assert again.endpoint.tls is TlsMode.DISABLE


async def test_two_changes_at_once_do_not_mix_address_and_password(
    core: Core, postgresql_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider, connection = await registered(core, postgresql_server)
    tried = core.providers._tried

    async def overtaken(row: Provider, password: str | None) -> Provider:
        monkeypatch.undo()
        await updated(core, provider, {**connection, "password": postgresql_server[1]})
        return await tried(row, password)

    monkeypatch.setattr(core.providers, "_tried", overtaken)
    with pytest.raises(Conflict, match="meanwhile"):
        await updated(core, provider, connection)
