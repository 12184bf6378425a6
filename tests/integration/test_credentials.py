"""Credentials changed on real engines, under load in two consoles: no query fails, and the old set ends."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure

from storage_core.backing.servers.servers import LocalServers
from storage_core.bootstrap import Core, utc_now
from storage_core.domain.errors import Conflict, MissingPrivilege, SignInRejected, StorageError, Unsupported
from storage_core.domain.provider import Endpoint, EngineKind, Provider, StepStatus
from storage_core.services.credentials import GRACE, ChangeCredentials, Credentials
from storage_core.services.engines import StartEngine
from storage_core.services.kernel import password_place, previous_place
from storage_core.services.providers import Connection, CreateProvider
from tests.integration.homes import opened, settings_of, somebody

KINDS = ["postgresql", "mongodb"]
Server = tuple[Endpoint, str]


@dataclass
class World:
    """Two consoles on one home, a provider, and an administrator's own way to the engine."""

    core: Core
    other: Core
    provider: Provider
    server: Server
    failures: list[str] = field(default_factory=list)
    done: int = 0
    goal: int = 0
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    async def row(self) -> Provider:
        async with self.core.kernel.catalog.read() as uow:
            row = await uow.providers.get(self.provider.id)
        assert row is not None
        return row

    async def change(self, **fields: Any) -> Any:
        request = ChangeCredentials(id=self.provider.id, **fields)
        return await self.core.credentials.change(somebody(), request)

    async def password(self) -> str:
        return await self.core.credentials.password_of(self.provider.id) or ""

    async def signs_in(self, user: str, password: str) -> bool:
        return await signs_in(self.provider.kind, self.server[0], user, password)

    async def later(self) -> None:
        """The upkeep's rounds once the grace is over, until no call uses the set before."""
        object.__setattr__(self.core.kernel, "now", lambda: utc_now() + GRACE + timedelta(seconds=1))
        try:
            async with asyncio.timeout(60):
                while await self.has_previous():
                    await Credentials(self.core.kernel).settle()
        finally:
            object.__setattr__(self.core.kernel, "now", utc_now)

    async def has_previous(self) -> bool:
        async with self.core.kernel.catalog.read() as uow:
            return await uow.secrets.get(previous_place(self.provider.id)) is not None

    @asynccontextmanager
    async def load(self) -> AsyncIterator[None]:
        """Queries through both consoles, each engine asked for anew and one held, until the block ends."""
        over = asyncio.Event()

        async def ask(core: Core, hold: int) -> None:
            engine = await core.databases.engine_of(self.provider)
            while not over.is_set():
                for _ in range(hold):
                    try:
                        await engine.databases.existing()
                        self.done += 1
                    except StorageError as error:
                        self.failures.append(f"{error.code}: {error.detail}")
                    if self.done >= self.goal or self.failures:
                        self.reached.set()
                engine = await core.databases.engine_of(self.provider)  # the row as it was read at first

        async with asyncio.TaskGroup() as group:
            for core in (self.core, self.other):
                group.create_task(ask(core, 1))
                group.create_task(ask(core, 5))
            try:
                await self.more()
                yield
                await self.more()
            finally:
                over.set()

    async def more(self) -> None:
        """Until some queries more are done."""
        self.goal = self.done + 30
        self.reached.clear()
        await asyncio.wait_for(self.reached.wait(), 60)


@dataclass(frozen=True)
class Connected:
    """One connection to the engine, of somebody who signed in before."""

    link: Any
    works: Callable[[], Awaitable[bool]]

    async def close(self) -> None:
        await self.link.close()


async def connected(world: World, user: str, password: str) -> Connected:
    endpoint = world.server[0]
    if world.provider.kind is EngineKind.POSTGRESQL:
        link = await asyncpg.connect(
            host=endpoint.host, port=endpoint.port, user=user, password=password, database="postgres"
        )

        async def selects() -> bool:
            try:
                return bool(await link.fetchval("select true"))
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                return False

        return Connected(link, selects)
    client: AsyncMongoClient[Any] = AsyncMongoClient(
        endpoint.host, endpoint.port, username=user, password=password, directConnection=True, maxPoolSize=1
    )

    async def lists() -> bool:
        try:
            return bool(await client.list_database_names())
        except OperationFailure:
            return False

    return Connected(client, lists)


async def signs_in(kind: EngineKind, endpoint: Endpoint, user: str, password: str) -> bool:
    if kind is EngineKind.POSTGRESQL:
        try:
            link = await asyncpg.connect(
                host=endpoint.host, port=endpoint.port, user=user, password=password, database="postgres"
            )
        except asyncpg.InvalidPasswordError:
            return False
        await link.close()
        return True
    client: AsyncMongoClient[Any] = AsyncMongoClient(
        endpoint.host, endpoint.port, username=user, password=password, directConnection=True
    )
    try:
        await client.admin.command("ping")
    except OperationFailure:
        return False
    finally:
        await client.close()
    return True


@pytest.fixture(params=KINDS)
async def world(
    request: pytest.FixtureRequest, local_servers: LocalServers, tmp_path: Path
) -> AsyncIterator[World]:
    kind = EngineKind(request.param)
    await local_servers.start(kind, kind)
    endpoint, root = await local_servers.endpoint(kind)
    user, password = f"u{secrets.token_hex(4)}", secrets.token_hex(8)
    await make_user(kind, endpoint, root, user, password)
    async with AsyncExitStack() as stack:
        core = await stack.enter_async_context(opened(settings_of(tmp_path / "home")))
        other = await stack.enter_async_context(opened(settings_of(tmp_path / "home")))
        connection = Connection.model_validate(
            {"host": endpoint.host, "port": endpoint.port, "user": user, "password": password}
        )
        row = await core.providers.create(
            somebody(), CreateProvider(name="main", kind=kind, connection=connection)
        )
        yield World(core, other, row, (endpoint, root))
    await drop_users(kind, endpoint, root, user, f"{user}_2")


async def make_user(kind: EngineKind, endpoint: Endpoint, root: str, user: str, password: str) -> None:
    if kind is EngineKind.POSTGRESQL:
        admin = await asyncpg.connect(
            host=endpoint.host, port=endpoint.port, user=endpoint.user, password=root, database="postgres"
        )
        await admin.execute(f"create role {user} login superuser password '{password}'")
        await admin.close()
        return
    async with mongo(endpoint, root) as client:
        await client.admin.command("createUser", user, pwd=password, roles=["root"])


async def drop_users(kind: EngineKind, endpoint: Endpoint, root: str, *users: str) -> None:
    if kind is EngineKind.POSTGRESQL:
        admin = await asyncpg.connect(
            host=endpoint.host, port=endpoint.port, user=endpoint.user, password=root, database="postgres"
        )
        for user in reversed(users):
            await admin.execute(f"drop role if exists {user}")
        await admin.close()
        return
    async with mongo(endpoint, root) as client:
        for user in users:
            await client.admin.command({"dropUser": user}, allowable_errors=[11])


@asynccontextmanager
async def mongo(endpoint: Endpoint, root: str) -> AsyncIterator[AsyncMongoClient[Any]]:
    client: AsyncMongoClient[Any] = AsyncMongoClient(
        endpoint.host, endpoint.port, username=endpoint.user, password=root, directConnection=True
    )
    try:
        yield client
    finally:
        await client.close()


async def test_a_generated_set_takes_over_under_load_and_back_again(world: World) -> None:
    first, secret = world.provider.endpoint.user or "", await world.password()
    thief = await connected(world, first, secret)
    async with world.load():
        done = await world.change(generate=True)
    assert world.failures == []
    assert done.user == f"{first}_2" and done.generated
    assert await thief.works()
    assert {s.status for s in done.steps} <= {StepStatus.PASSED, StepStatus.SKIPPED}
    assert (await world.row()).endpoint.user == done.user
    second = await world.password()
    assert await world.signs_in(done.user, second) and await world.signs_in(first, secret)

    async with world.load():
        await world.later()
    assert world.failures == []
    assert await world.signs_in(done.user, second) and not await world.signs_in(first, secret)
    assert not await thief.works(), "a connection that was open before"
    await thief.close()

    async with world.load():
        back = await world.change(generate=True)
        await world.later()
    assert world.failures == []
    assert back.user == first and await world.password() not in (secret, second)
    assert not await world.signs_in(done.user, second)
    # What the second login made belongs to the first, and what the first may, it may.
    engine = await world.core.databases.engine_of(await world.row())
    name = f"made_{secrets.token_hex(4)}"
    await engine.databases.create(name, {})
    await engine.databases.drop(name)


async def test_what_the_second_login_makes_the_first_one_can_drop(world: World) -> None:
    await world.change(generate=True)
    engine = await world.core.databases.engine_of(await world.row())
    name = f"made_{secrets.token_hex(4)}"
    await engine.databases.create(name, {})
    await world.later()
    await world.change(generate=True)
    engine = await world.core.databases.engine_of(await world.row())
    assert name in {d.physical_name for d in await engine.databases.existing()} or (
        world.provider.kind is EngineKind.MONGODB
    )
    await engine.databases.drop(name)


async def test_given_credentials_are_tested_and_switched_under_load(world: World) -> None:
    user, password = f"u{secrets.token_hex(4)}", secrets.token_hex(8)
    await make_user(world.provider.kind, *world.server, user, password)
    first, secret = world.provider.endpoint.user or "", await world.password()
    async with world.load():
        done = await world.change(user=user, password=password)
    assert world.failures == [] and (done.user, done.generated) == (user, False)
    assert (await world.password(), (await world.row()).endpoint.user) == (password, user)
    await world.later()
    assert await world.signs_in(first, secret)  # not ours to lock out
    await drop_users(world.provider.kind, *world.server, user)


async def test_a_set_that_does_not_work_changes_nothing(world: World) -> None:
    before, secret = await world.row(), await world.password()
    async with world.load():
        with pytest.raises(SignInRejected):
            await world.change(password="not the password")
    assert world.failures == []
    assert (await world.row(), await world.password()) == (before, secret)
    assert not await world.has_previous()
    async with world.core.kernel.catalog.read() as uow:
        kept = await uow.secrets.get(password_place(before.id))
    assert kept is not None and kept.version == 1


async def test_the_set_before_is_not_overtaken_while_it_still_works(world: World) -> None:
    await world.change(generate=True)
    for fields in ({"generate": True}, {"password": "another"}):
        with pytest.raises(Conflict, match="still works"):
            await world.change(**fields)
    await Credentials(world.core.kernel).settle()  # the grace is not over
    with pytest.raises(Conflict):
        await world.change(generate=True)
    await world.later()
    await world.change(generate=True)


async def test_a_login_in_the_others_place_that_is_not_ours_is_left_alone(world: World) -> None:
    user = f"{world.provider.endpoint.user}_2"
    await make_user(world.provider.kind, *world.server, user, "somebody-elses")
    with pytest.raises(Conflict, match="not the second login"):
        await world.change(generate=True)
    assert await world.signs_in(user, "somebody-elses")


async def test_a_switch_that_was_cut_off_locks_nobody_out(world: World) -> None:
    """The set before was kept, and the process ended before the new one counted."""
    present, secret = world.provider.endpoint.user or "", await world.password()
    await world.change(generate=True)
    async with world.core.kernel.catalog.write() as uow:
        row = await uow.providers.get(world.provider.id)
        assert row is not None
        object.__setattr__(row, "endpoint", world.provider.endpoint)
        await uow.providers.save(row)
    await world.later()
    assert await world.signs_in(present, secret)


async def test_who_may_not_make_logins_is_told_so(local_servers: LocalServers, tmp_path: Path) -> None:
    await local_servers.start("postgresql", "postgresql")
    endpoint, root = await local_servers.endpoint("postgresql")
    user = f"u{secrets.token_hex(4)}"
    admin = await asyncpg.connect(
        host=endpoint.host, port=endpoint.port, user=endpoint.user, password=root, database="postgres"
    )
    await admin.execute(f"create role {user} login createdb password 'pw'")
    try:
        async with opened(settings_of(tmp_path / "home")) as core:
            connection = Connection.model_validate(
                {"host": endpoint.host, "port": endpoint.port, "user": user, "password": "pw"}
            )
            row = await core.providers.create(
                somebody(),
                CreateProvider(name="weak", kind=EngineKind.POSTGRESQL, connection=connection),
            )
            with pytest.raises(MissingPrivilege):
                await core.credentials.change(somebody(), ChangeCredentials(id=row.id, generate=True))
            assert await core.credentials.password_of(row.id) == "pw"
            files = await core.providers.create(
                somebody(),
                CreateProvider(
                    name="files", kind=EngineKind.SQLITE, connection=Connection(path=str(tmp_path / "files"))
                ),
            )
            with pytest.raises(Unsupported):
                await core.credentials.change(somebody(), ChangeCredentials(id=files.id, generate=True))
    finally:
        await admin.execute(f"drop role {user}")
        await admin.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_private_servers_credentials_are_generated_and_survive_its_restart(
    kind: Any, tmp_path: Path
) -> None:
    async with opened(settings_of(tmp_path / "home")) as core:
        await core.engines.start(somebody(), StartEngine(kind=kind, name="mine"))
        servers = core.kernel.servers
        try:
            async with core.kernel.catalog.read() as uow:
                row = await uow.providers.one(server="mine")
            assert row is not None
            endpoint, before = await servers.endpoint("mine")
            world = World(core, core, row, (endpoint, before))
            async with world.load():
                done = await world.change(generate=True)
                await world.later()
            assert world.failures == []
            after, password = await servers.endpoint("mine")
            assert after.user == done.user == (await world.row()).endpoint.user
            assert await servers.password("mine") == password != before
            assert await world.signs_in(done.user, password)
            assert not await world.signs_in(endpoint.user or "", before)
            await servers.stop("mine")
            engine = await core.databases.engine_of(await world.row())
            await engine.databases.existing()
        finally:
            await servers.stop("mine")
