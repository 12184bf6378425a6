"""Programs elsewhere: documents on the engines with leased logins, everything else over REST, no key of the console's."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from beanie import Document as Model
from sqlalchemy import Column, Integer, MetaData, Table, text

from storage_core import Storage, StorageFactory, tenant_scope
from storage_core.domain.errors import (
    InvalidRequest,
    NotFound,
    PolicyRefused,
    QuotaExceeded,
    StorageError,
    TenantMismatch,
    TenantRequired,
    TenantSuspended,
    Unauthenticated,
    Unsupported,
)
from storage_core.domain.lease import Lease
from storage_core.domain.permission import Role
from storage_core.domain.record import Index, Quota
from storage_core.ports.collection import Collection
from storage_core.storage.remote import Remote, remote
from tests.contract.collection_contract import CollectionContract
from tests.integration.doors import Live
from tests.integration.servers import Server

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]
SERVERS = ("postgresql", "mongodb")


class Book(Model):
    title: str

    class Settings:
        name = "books"


TABLES = MetaData()
Table("far", TABLES, Column("id", Integer, primary_key=True))


class Console:
    """A running console with tenants on real servers, as its operators see it."""

    def __init__(self, live: Live, servers: dict[str, Server]) -> None:
        self.live, self.servers = live, servers
        self._providers: dict[str, str] = {}

    def call(self, name: str, /, **fields: Any) -> Any:
        return self.live.do(self.live.doors.call(name, **fields))

    def provider(self, kind: str) -> str:
        if kind not in self._providers:
            if kind in self.servers:
                endpoint, password = self.servers[kind]
                words = ("host", "port", "user", "database", "tls", "replica_set")
                connection = {w: getattr(endpoint, w) for w in words if getattr(endpoint, w)}
                connection["password"] = password
            else:
                connection = {"path": str(self.live.doors.core.settings.home / kind)}
            made = self.call("providers.create", name=kind, kind=kind, connection=connection)
            self._providers[kind] = made.id
        return self._providers[kind]

    def tenant(self, kind: str = "postgresql") -> str:
        """The name of a new tenant with a database on an engine of this kind, or with a schema on PostgreSQL."""
        name = f"t-{secrets.token_hex(4)}"
        made = self.call("tenants.create", name=name)
        more = {"isolation": "schema"} if kind == "schema" else {}
        provider = self.provider("postgresql" if more else kind)
        self.call("databases.create", provider_id=provider, name="main", tenant_id=made.id, **more)
        return name

    def id_of(self, tenant: str) -> str:
        found = self.call("tenants.list", q=tenant)
        return str(found.items[0].id)

    def token(self, role: Role = Role.OPERATOR, scope: str = "global") -> str:
        return self.live.do(self.live.doors.token(role, scope))

    def leases(self, storage: Storage) -> list[Lease]:
        return list(self.call("databases.leases", database_id=storage.database.id).items)

    async def roles(self, user: str) -> tuple[int, int]:
        """How many roles of this name PostgreSQL has, and how many sessions they have open."""
        endpoint, password = self.servers["postgresql"]
        connection = await asyncpg.connect(
            host=endpoint.host, port=endpoint.port, user=endpoint.user, password=password, database="postgres"
        )
        try:
            roles = await connection.fetchval("select count(*) from pg_roles where rolname = $1", user)
            sessions = await connection.fetchval(
                "select count(*) from pg_stat_activity where usename = $1", user
            )
            return roles, sessions
        finally:
            await connection.close()


@pytest.fixture(scope="module")
def console(live: Live, postgresql_server: Server, mongodb_server: Server) -> Console:
    return Console(live, {"postgresql": postgresql_server, "mongodb": mongodb_server})


@asynccontextmanager
async def opened(console: Console, token: str, **more: Any) -> AsyncIterator[tuple[Remote, StorageFactory]]:
    async with (
        remote(console.live.url, token, linger=0, **more) as source,
        StorageFactory(source).running() as factory,
    ):
        yield source, factory


@pytest.fixture(scope="module")
async def both(console: Console) -> AsyncIterator[tuple[Remote, StorageFactory]]:
    async with opened(console, console.token()) as pair:
        yield pair


@pytest.fixture
def factory(both: tuple[Remote, StorageFactory]) -> StorageFactory:
    return both[1]


async def soon(what: Callable[[], Awaitable[Any]]) -> Any:
    async with asyncio.timeout(60):
        answer = await what()
        while not answer:
            await asyncio.sleep(0.02)
            answer = await what()
        return answer


async def refusal(storage: Storage, kind: type[StorageError]) -> bool:
    """Whether the storage refuses in this way now."""
    try:
        await storage.collection("orders").count()
    except kind:
        return True
    return False


class Far:
    """A database's collections as a program elsewhere has them: what shapes them goes over REST, as in the SDK."""

    def __init__(self, storage: Storage) -> None:
        self._storage, self._near = storage, storage.link.standing.collections

    def __getattr__(self, name: str) -> Any:
        return getattr(self._near, name)

    def collection(self, database: str, name: str, quota: Quota | None = None) -> "FarCollection":
        return FarCollection(self._storage, name, self._near.collection(database, name, quota))

    async def drop(self, database: str, name: str) -> None:
        await self._storage.drop_collection(name)


class FarCollection:
    """One of them."""

    def __init__(self, storage: Storage, name: str, near: Collection) -> None:
        self._storage, self._name, self._near = storage, name, near

    def __getattr__(self, name: str) -> Any:
        return getattr(self._near, name)

    async def create_index(self, index: Index) -> None:
        await self._storage._create_index(self._name, index)

    async def drop_index(self, name: str) -> None:
        await self._storage._drop_index(self._name, name)


@pytest.mark.parametrize("kind", SERVERS)
class TestCollections:
    """Of the contract of all collections, what logins without the right to make anything could break."""

    QUESTIONS = CollectionContract.QUESTIONS
    name = CollectionContract.name
    some = CollectionContract.some
    fill = CollectionContract.fill
    test_what_is_not_there = CollectionContract.test_what_is_not_there
    test_versions_count_and_guard = CollectionContract.test_versions_count_and_guard
    test_bulk_calls_say_what_became_of_each = CollectionContract.test_bulk_calls_say_what_became_of_each
    test_indexes_are_made_listed_used_and_dropped = (
        CollectionContract.test_indexes_are_made_listed_used_and_dropped
    )
    test_unique_indexes = CollectionContract.test_unique_indexes
    test_names_and_drop = CollectionContract.test_names_and_drop
    test_first_writes_at_once_make_one_collection = (
        CollectionContract.test_first_writes_at_once_make_one_collection
    )
    test_transactions = CollectionContract.test_transactions

    @pytest.fixture
    async def storage(self, console: Console, factory: StorageFactory, kind: str) -> Storage:
        return await factory.get_storage(tenant_id=console.tenant(kind))

    @pytest.fixture
    def collections(self, storage: Storage) -> Far:
        return Far(storage)

    @pytest.fixture
    def database(self, storage: Storage) -> str:
        return storage.database.physical_name


@pytest.mark.parametrize("kind", (*SERVERS, "schema"))
async def test_a_tenants_documents_are_reached_with_one_leased_login(
    console: Console, both: tuple[Remote, StorageFactory], kind: str
) -> None:
    source, factory = both
    with tenant_scope(console.tenant(kind)):
        storages = await asyncio.gather(*(factory.get_storage() for _ in range(20)))
        storage = storages[0]
        assert len({id(each.link) for each in storages}) == 1
        orders = storage.collection("orders")
        order = await orders.insert({"sku": "A1", "qty": 3})
        await orders.update(order.id, {"qty": 4}, version=order.version)
        assert [found.data["qty"] async for found in orders.query({"qty": {"$gte": 2}})] == [4]
        async with storage.transaction() as transaction:
            await transaction.collection("moved").insert({"of": order.id})
        assert set(await storage.collections()) == {"orders", "moved"}
    login = source.leasing.login(storage.database.id)
    assert login is not None
    assert [(lease.user, lease.write) for lease in console.leases(storage)] == [(login.user, True)]
    with pytest.raises(TenantRequired):
        await factory.get_storage()
    with tenant_scope(console.tenant(kind)), pytest.raises(TenantMismatch):
        await orders.get(order.id)


@pytest.mark.parametrize("kind", SERVERS)
async def test_the_next_login_is_there_before_the_present_one_ends(
    console: Console, both: tuple[Remote, StorageFactory], kind: str
) -> None:
    source, factory = both
    storage = await factory.get_storage(tenant_id=console.tenant(kind))
    orders, before = storage.collection("orders"), source.leasing.login(storage.database.id)
    assert before is not None
    made, renewed = 0, asyncio.Event()

    async def write() -> None:
        nonlocal made
        while not renewed.is_set():
            await orders.insert({"n": made})
            made += 1

    async def renew() -> None:
        async with storage.transaction() as transaction:
            await transaction.collection("slow").insert({"n": 1}, "a")
            due(source, storage)
            await soon(lambda: other_login(source, storage, before.user))
            assert before.user in {lease.user for lease in console.leases(storage)}, "still in use"
            await transaction.collection("slow").insert({"n": 2}, "b")
        await soon(lambda: gone(console, storage, before.user))
        renewed.set()

    async with asyncio.TaskGroup() as group:
        for task in (write(), write(), write(), write(), renew()):
            group.create_task(task)
    assert await orders.count() == made
    assert await storage.collection("slow").count() == 2
    now = source.leasing.login(storage.database.id)
    assert now is not None and [lease.user for lease in console.leases(storage)] == [now.user]


def due(source: Remote, storage: Storage) -> None:
    """Let a login's time to be renewed be now."""
    held = source.leasing._held[storage.database.id]
    held.due = asyncio.get_running_loop().time()
    source._due(storage.database.id)


async def other_login(source: Remote, storage: Storage, user: str) -> bool:
    login = source.leasing.login(storage.database.id)
    return login is not None and login.user != user


async def gone(console: Console, storage: Storage, user: str) -> bool:
    return user not in {lease.user for lease in console.leases(storage)}


async def test_beanies_documents_go_on_while_logins_change(
    console: Console, both: tuple[Remote, StorageFactory]
) -> None:
    source, factory = both
    storage = await factory.get_storage(tenant_id=console.tenant("mongodb"))
    books = await storage.documents(Book)
    book = await books(title="one").insert()
    for _ in range(2):
        before = source.leasing.login(storage.database.id)
        assert before is not None
        due(source, storage)
        while not await other_login(source, storage, before.user):
            assert await books.find(books.title == "one").count() == 1
        assert await books.find(books.title == "one").count() == 1
    await book.set({Book.title: "two"})
    assert await books.find(books.title == "two").count() == 1


async def test_sessions_work_on_tables_that_are_there(console: Console, factory: StorageFactory) -> None:
    storage = await factory.get_storage(tenant_id=console.tenant())
    endpoint, password = console.servers["postgresql"]
    connection = await asyncpg.connect(
        host=endpoint.host,
        port=endpoint.port,
        user=endpoint.user,
        password=password,
        database=storage.database.physical_name,
    )
    await connection.execute("create table public.notes (id int primary key, text text)")
    await connection.close()
    async with storage.session() as session:
        await session.execute(text("insert into public.notes values (1, 'a')"))
    async with storage.session("read") as session:
        assert await session.scalar(text("select text from public.notes")) == "a"


async def test_a_quota_holds_for_programs_elsewhere(console: Console, factory: StorageFactory) -> None:
    tenant = console.tenant()
    storage = await factory.get_storage(tenant_id=tenant)
    orders = storage.collection("orders")
    await orders.insert({"n": 0})
    console.call("tenants.policies", id=storage.tenant.id, documents=2)
    await soon(lambda: limited(storage))
    await storage.collection("others").insert({"n": 1})
    for name in ("orders", "others", "third"):
        with pytest.raises(QuotaExceeded):
            await storage.collection(name).insert({"n": 2})


async def limited(storage: Storage) -> bool:
    return (await storage.link.current()).quota is not None


async def test_a_suspended_tenant_stops_and_goes_on(console: Console) -> None:
    tenant = console.tenant()
    async with opened(console, console.token(Role.OPERATOR, f"tenant:{tenant}")) as (source, factory):
        storage = await factory.get_storage(tenant_id=tenant)
        await storage.collection("orders").insert({"n": 1})
        console.call("tenants.suspend", id=storage.tenant.id, confirm=tenant)
        await soon(lambda: refusal(storage, TenantSuspended))
        with pytest.raises(TenantSuspended):
            await factory.get_storage(tenant_id=tenant)
        assert source.leasing.live == 0
        console.call("tenants.resume", id=storage.tenant.id)
        assert await storage.collection("orders").count() == 1


async def test_a_revoked_token_stops(console: Console) -> None:
    tenant = console.tenant()
    user = f"u-{tenant}"
    console.live.do(console.live.doors.user(user, Role.OPERATOR, f"tenant:{tenant}"))
    token = console.call("tokens.create", name="far", user=user)
    async with opened(console, token.token) as (source, factory):
        storage = await factory.get_storage(tenant_id=tenant)
        await storage.collection("orders").insert({"n": 1})
        console.call("tokens.revoke", id=token.id)
        await soon(lambda: refusal(storage, Unauthenticated))
        assert source.leasing.login(storage.database.id) is None


async def test_a_login_that_an_operator_ends_is_followed_by_another(
    console: Console, both: tuple[Remote, StorageFactory]
) -> None:
    source, factory = both
    storage = await factory.get_storage(tenant_id=console.tenant())
    await storage.collection("orders").insert({"n": 1})
    [lease] = console.leases(storage)
    console.call("databases.release", id=storage.database.id, lease_id=lease.id)
    await soon(lambda: working(storage))
    assert await other_login(source, storage, lease.user)


async def working(storage: Storage) -> bool:
    try:
        return await storage.collection("orders").count() == 1
    except StorageError:
        return False


async def test_nothing_is_left_at_the_end(console: Console) -> None:
    async with opened(console, console.token()) as (source, factory):
        storages = [await factory.get_storage(tenant_id=console.tenant(kind)) for kind in SERVERS]
        for storage in storages:
            await storage.collection("orders").insert({"n": 1})
        login = source.leasing.login(storages[0].database.id)
        assert login is not None
        assert (await console.roles(login.user))[0] == 1
    assert await console.roles(login.user) == (0, 0)
    for storage in storages:
        assert console.leases(storage) == []


async def test_what_only_the_console_can_do_says_so(console: Console, factory: StorageFactory) -> None:
    storage = await factory.get_storage(tenant_id=console.tenant())
    await storage.encrypt("people")
    with pytest.raises(Unsupported, match="sealed"):
        await storage.collection("people").insert({"name": "Ann"})
    factory.register(TABLES)
    with pytest.raises(Unsupported, match="no tables"):
        await storage.create_tables()
    with pytest.raises(Unsupported):
        await factory.migrate("anywhere")
    with pytest.raises(Unsupported):
        _ = factory.core
    with pytest.raises(Unsupported, match="files"):
        await factory.get_storage(tenant_id=console.tenant("sqlite"))
    tenant = console.tenant()
    console.call("tenants.policies", id=console.id_of(tenant), encryption=True)
    with pytest.raises(PolicyRefused):
        await factory.get_storage(tenant_id=tenant)


async def test_a_policy_that_demands_encryption_ends_the_login(
    console: Console, both: tuple[Remote, StorageFactory]
) -> None:
    source, factory = both
    storage = await factory.get_storage(tenant_id=console.tenant())
    console.call("tenants.policies", id=storage.tenant.id, encryption=True)
    await soon(lambda: refusal(storage, PolicyRefused))
    assert console.leases(storage) == [] and source.leasing.login(storage.database.id) is None


async def test_nobody_reaches_past_a_token(console: Console) -> None:
    mine, other = console.tenant(), console.tenant()
    async with opened(console, console.token(Role.OPERATOR, f"tenant:{mine}")) as (_, factory):
        for name in (other, "never-made"):
            with pytest.raises(NotFound) as refused:
                await factory.get_storage(tenant_id=name)
            assert refused.value.field == "tenant_id"
    async with opened(console, console.token(Role.VIEWER, f"tenant:{mine}")) as (_, factory):
        with pytest.raises(StorageError) as forbidden:
            await factory.get_storage(tenant_id=mine)
        assert forbidden.value.code == "forbidden"
    with pytest.raises(InvalidRequest) as wrong:
        async with StorageFactory.open(url="console.example", token="x"):
            pass
    assert wrong.value.field == "url"


async def test_the_environment_says_where_the_console_is(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = console.tenant()
    monkeypatch.setenv("STORAGE_URL", console.live.url)
    with pytest.raises(Unauthenticated):
        async with StorageFactory.open():
            pass
    monkeypatch.setenv("STORAGE_TOKEN", console.token())
    async with StorageFactory.open() as factory:
        with tenant_scope(tenant):
            storage = await factory.get_storage()
        assert (await storage.collection("orders").insert({"n": 1})).version == 1
    assert console.leases(storage) == []
