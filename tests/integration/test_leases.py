"""A leased login reaches its tenant's database, that one alone, for its time, and through the engine itself."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr
from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure

from storage_core.bootstrap import Core
from storage_core.domain.context import Actor, ActorKind, Context
from storage_core.domain.database import Database, DatabaseStatus
from storage_core.domain.errors import Conflict, InUse, NotFound, PolicyRefused, Unreachable, Unsupported
from storage_core.domain.lease import Lease, LeasedLogin
from storage_core.domain.permission import Grant, Role, Scope, ScopeKind
from storage_core.domain.provider import Endpoint, Provider
from storage_core.domain.tenant import Tenant
from storage_core.providers.postgresql.logins import PostgresLogins
from storage_core.services.audits import ListAudit
from storage_core.services.databases import CreateDatabase, DeleteDatabase
from storage_core.services.grants import RevokeGrant
from storage_core.services.lease_ends import LeaseEnds
from storage_core.services.leases import LeaseLogin, ListLeases, ReleaseLogin
from storage_core.services.providers import CreateProvider, DeleteProvider, UpdateProvider
from storage_core.services.records import InsertRecord, QueryRecords
from storage_core.services.tenants import CreateTenant, SuspendTenant, TenantPolicies
from storage_core.services.tokens import CreateToken, RevokeToken
from storage_core.services.users import CreateUser, DisableUser
from tests.integration.homes import opened, settings_of, somebody, until

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]
Server = tuple[Endpoint, str]
#: How a connection says that the server ended it.
ENDED = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[Core]:
    async with opened(settings_of(tmp_path / "home")) as opening:
        yield opening


async def provided(core: Core, kind: str, server: Server) -> Provider:
    endpoint, password = server
    connection = {
        "host": endpoint.host, "port": endpoint.port, "user": endpoint.user, "password": password,
        "database": endpoint.database, "replica_set": endpoint.replica_set, "tls": "disable",
    }  # fmt: skip
    request = {"name": f"p-{secrets.token_hex(3)}", "kind": kind, "connection": connection}
    return await core.providers.create(somebody(), CreateProvider.model_validate(request))


async def tenant_with(core: Core, provider: Provider) -> tuple[Tenant, Database]:
    tenant = await core.tenants.create(somebody(), CreateTenant(name=f"t-{secrets.token_hex(4)}"))
    request = CreateDatabase(provider_id=provider.id, name="main", tenant_id=tenant.id)
    row = await core.databases.create(somebody(), request)
    insert = InsertRecord(database_id=row.id, name="orders", id="o-1", data={"qty": 3})
    await core.records.insert(somebody(), insert)
    return tenant, row


async def leased(core: Core, row: Database, **more: Any) -> LeasedLogin:
    return await core.leases.lease(somebody(), LeaseLogin(id=row.id, **more))


@contextmanager
def later(core: Core, ahead: timedelta) -> Iterator[None]:
    """As if so much time had passed."""
    now = core.kernel.now
    object.__setattr__(core.kernel, "now", lambda: now() + ahead)
    yield
    object.__setattr__(core.kernel, "now", now)


async def ended(core: Core, ahead: timedelta) -> None:
    """The upkeep, later."""
    with later(core, ahead):
        await LeaseEnds(core.kernel).settle()


@asynccontextmanager
async def followed(core: Core) -> AsyncIterator[None]:
    """The upkeep, as a worker runs it beside everything else."""
    task = asyncio.create_task(LeaseEnds(core.kernel).follow(core.bus))
    await asyncio.sleep(0)  # it listens from here on
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def an_operator(core: Core, tenant: Tenant) -> Context:
    """Somebody with a role in one tenant, signed in."""
    name = f"u-{secrets.token_hex(4)}"
    request = CreateUser(
        username=name,
        password=SecretStr("a long password"),
        role=Role.OPERATOR,
        scope=f"tenant:{tenant.name}",
    )
    user = await core.users.create(somebody(), request)
    grant = Grant(Role.OPERATOR, Scope(ScopeKind.TENANT, tenant.id))
    actor = Actor(user.id, name, ActorKind.USER)
    return replace(somebody(), actor=actor, grants=(grant,), signed_in_at=core.kernel.now())


async def lease_of(core: Core, id: str) -> Lease | None:
    async with core.kernel.catalog.read() as uow:
        return await uow.leases.get(id)


async def gone(core: Core, login: LeasedLogin) -> bool:
    return await lease_of(core, login.id) is None


async def pointed(core: Core, provider: Provider, port: int) -> None:
    """Let a provider's server be elsewhere: where nothing answers, or back again."""
    async with core.kernel.catalog.write() as uow:
        row = await uow.providers.get(provider.id)
        assert row is not None
        there = replace(row.endpoint, port=port)
        await uow.providers.save(replace(row, endpoint=there, revision=row.revision + 1))


async def asked(server: Server, question: str, *args: Any, database: str = "postgres") -> Any:
    """What the server says to its administrator."""
    endpoint, password = server
    admin = await asyncpg.connect(
        host=endpoint.host,
        port=endpoint.port,
        user=endpoint.user,
        password=password,
        database=database,
        ssl=False,
    )
    try:
        return await admin.fetchval(question, *args)
    finally:
        await admin.close()


async def is_role(server: Server, login: LeasedLogin) -> bool:
    return bool(await asked(server, "select count(*) from pg_roles where rolname = $1", login.user))


def elsewhere(login: LeasedLogin, database: str) -> str:
    return login.url.replace(login.database, database)


class TestPostgresql:
    @pytest.fixture
    async def provider(self, core: Core, postgresql_server: Server) -> Provider:
        return await provided(core, "postgresql", postgresql_server)

    async def test_it_reads_its_own_database_alone(self, core: Core, provider: Provider) -> None:
        _, mine = await tenant_with(core, provider)
        _, theirs = await tenant_with(core, provider)
        login = await leased(core, mine)
        assert login.password not in repr(login)
        connection = await asyncpg.connect(login.url, ssl=False)
        assert await connection.fetchval("select body ->> 'qty' from collections.orders") == "3"
        for refused in (
            "delete from collections.orders",
            "create table collections.x (a int)",
            "create table public.x (a int)",
            "select rolpassword from pg_authid",
            "create role stronger superuser",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(refused)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await asyncpg.connect(login.url.replace(mine.physical_name, theirs.physical_name), ssl=False)
        listed = await core.leases.leases(somebody(), ListLeases(database_id=mine.id))
        assert [lease.user for lease in listed.items] == [login.user]
        await core.leases.release(somebody(), ReleaseLogin(id=mine.id, lease_id=login.id))
        with pytest.raises(ENDED):
            await connection.fetchval("select 1")
        with pytest.raises((asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError)):
            await asyncpg.connect(login.url, ssl=False)

    async def test_what_it_wrote_stays_when_its_time_is_over(self, core: Core, provider: Provider) -> None:
        _, row = await tenant_with(core, provider)
        login = await leased(core, row, write=True, seconds=60)
        connection = await asyncpg.connect(login.url, ssl=False)
        await connection.execute("update collections.orders set body = body || '{\"qty\": 4}'")
        for made in ("create table public.mine (a int)", "create view collections.v as select 1"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(made)
        await ended(core, timedelta(seconds=30))
        assert await connection.fetchval("select body ->> 'qty' from collections.orders") == "4"
        await ended(core, timedelta(seconds=90))
        with pytest.raises(ENDED):
            await connection.fetchval("select 1")
        again = await leased(core, row)
        connection = await asyncpg.connect(again.url, ssl=False)
        assert await connection.fetchval("select body ->> 'qty' from collections.orders") == "4"
        await connection.close()
        assert (await core.leases.leases(somebody(), ListLeases())).total == 1

    async def test_it_ends_as_soon_as_what_it_stands_on_goes(
        self, core: Core, provider: Provider, postgresql_server: Server
    ) -> None:
        tenant, row = await tenant_with(core, provider)
        suspended, theirs = await tenant_with(core, provider)
        sealed, secret = await tenant_with(core, provider)
        disabled, demoted, narrow = [await an_operator(core, tenant) for _ in range(3)]
        token = await core.tokens.create(narrow, CreateToken(name="t"))
        programs = replace(narrow, token_id=token.id)

        async def disable() -> None:
            await core.users.disable(somebody(), DisableUser(id=disabled.actor.id))

        async def demote() -> None:
            async with core.kernel.catalog.read() as uow:
                grant = await uow.grants.one(user_id=demoted.actor.id)
            assert grant is not None
            await core.grants.revoke(somebody(), RevokeGrant(id=grant.id))

        async def revoke() -> None:
            await core.tokens.revoke(narrow, RevokeToken(id=token.id))

        async def suspend() -> None:
            request = SuspendTenant(id=suspended.id, confirm=suspended.name)
            await core.tenants.suspend(somebody(), request)

        async def encrypt() -> None:
            await core.tenants.policies(somebody(), TenantPolicies(id=sealed.id, encryption=True))

        stays = await leased(core, row)
        async with followed(core):
            for asking, database, cause in (
                (disabled, row, disable),
                (demoted, row, demote),
                (programs, row, revoke),
                (somebody(), theirs, suspend),
                (somebody(), secret, encrypt),
            ):
                login = await core.leases.lease(asking, LeaseLogin(id=database.id))
                connection = await asyncpg.connect(login.url, ssl=False)
                await cause()
                await until(core, lambda login=login: gone(core, login))
                with pytest.raises(ENDED):
                    await connection.fetchval("select 1")
                assert not await is_role(postgresql_server, login), cause.__name__
        assert not await gone(core, stays)
        # what it ended by itself is in the log, with the reason
        log = (await core.audit.list(somebody(), ListAudit(operation="leases.settle", limit=500))).items
        assert len(log) == 5
        assert {entry.actor_name for entry in log} == {"system"}

    async def test_a_token_s_lease_does_not_outlive_it(self, core: Core, provider: Provider) -> None:
        _, row = await tenant_with(core, provider)
        soon = core.kernel.now() + timedelta(seconds=90)
        login = await core.leases.lease(replace(somebody(), expires_at=soon), LeaseLogin(id=row.id))
        assert login.expires_at == soon

    async def test_a_read_lease_may_select_and_nothing_else(self, core: Core, provider: Provider) -> None:
        _, row = await tenant_with(core, provider)
        connection = await asyncpg.connect((await leased(core, row)).url, ssl=False)
        more = await connection.fetchval(
            "select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace"
            " where n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and ("
            " c.relkind in ('r', 'p', 'v', 'm', 'f') and has_table_privilege(c.oid, 'insert, update, delete, truncate, references, trigger')"
            " or c.relkind = 'S' and has_sequence_privilege(c.oid, 'usage, update'))"
        )
        held = await connection.fetchval(
            "select bool_or(has_schema_privilege(oid, 'create')) from pg_namespace"
        ) or await connection.fetchval(
            "select has_database_privilege(current_database(), 'create, temporary')"
        )
        assert (more, held) == (0, False)
        await connection.close()

    async def test_it_cannot_make_itself_stay(
        self, core: Core, provider: Provider, postgresql_server: Server
    ) -> None:
        """Objects in other databases, and a transaction that holds its own role."""
        _, row = await tenant_with(core, provider)
        login = await leased(core, row, write=True)
        made, connections = [], []
        for database in ("postgres", "template1", row.physical_name):
            there = await asyncpg.connect(elsewhere(login, database), ssl=False)
            connections.append(there)
            made.append((database, await there.fetchval("select lo_create(0)")))
            if database == "postgres":
                await there.execute("create temporary table mine (a int)")
                await there.execute("begin; alter role current_user password 'x'")  # and stays open
        await core.leases.release(somebody(), ReleaseLogin(id=row.id, lease_id=login.id))
        assert not await is_role(postgresql_server, login)
        for connection in connections:
            with pytest.raises(ENDED):
                await connection.fetchval("select 1")
        for database, large in made:
            left = "select count(*) from pg_largeobject_metadata where oid = $1"
            assert await asked(postgresql_server, left, large, database=database) == 0

    async def test_several_may_end_it_at_once(
        self, core: Core, provider: Provider, postgresql_server: Server
    ) -> None:
        _, row = await tenant_with(core, provider)
        login = await leased(core, row)
        lease = await lease_of(core, login.id)
        assert lease is not None
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(LeaseEnds(core.kernel).end(lease, "everybody wants it"))
        assert await gone(core, login)
        assert not await is_role(postgresql_server, login)

    async def test_it_ends_before_its_database(
        self, core: Core, provider: Provider, postgresql_server: Server
    ) -> None:
        _, row = await tenant_with(core, provider)
        login = await leased(core, row)
        await pointed(core, provider, 9)
        with pytest.raises(Unreachable):
            await core.databases.delete(somebody(), DeleteDatabase(id=row.id, confirm=row.name))
        waiting = await lease_of(core, login.id)
        assert waiting is not None
        assert waiting.ending == "its database is deleted"
        assert waiting.problem
        await pointed(core, provider, postgresql_server[0].port or 0)
        await core.databases.delete(somebody(), DeleteDatabase(id=row.id, confirm=row.name))
        assert await gone(core, login)
        assert not await is_role(postgresql_server, login)

    async def test_a_deletion_that_was_cut_off_ends_it_as_well(
        self, core: Core, provider: Provider, postgresql_server: Server
    ) -> None:
        _, row = await tenant_with(core, provider)
        login = await leased(core, row)
        async with core.kernel.catalog.write() as uow:
            await uow.databases.save(replace(row, status=DatabaseStatus.DELETING))
        await core.databases.claims.put_away(row.id)
        assert await gone(core, login)
        assert not await is_role(postgresql_server, login)

    async def test_it_is_released_when_its_database_is_gone(
        self, core: Core, provider: Provider, postgresql_server: Server
    ) -> None:
        _, row = await tenant_with(core, provider)
        login = await leased(core, row)
        async with core.kernel.catalog.write() as uow:
            await uow.databases.remove(row.id)
        request = ReleaseLogin(id=row.id, lease_id=login.id)
        await core.leases.release(somebody(), request)
        assert not await is_role(postgresql_server, login)
        with pytest.raises(NotFound):
            await core.leases.release(somebody(), request)

    async def test_a_provider_is_not_forgotten_with_logins_on_it(
        self, core: Core, provider: Provider, postgresql_server: Server
    ) -> None:
        _, row = await tenant_with(core, provider)
        first, second = await leased(core, row), await leased(core, row)
        async with core.kernel.catalog.write() as uow:
            await uow.databases.remove(row.id)
        await core.leases.release(somebody(), ReleaseLogin(id=row.id, lease_id=first.id))
        await pointed(core, provider, 9)
        delete = DeleteProvider(id=provider.id, confirm=provider.name)
        with pytest.raises(InUse, match=second.user) as refused:
            await core.providers.delete(somebody(), delete)
        assert refused.value.field == "leave_logins"
        answer = await core.providers.delete(somebody(), delete.model_copy(update={"leave_logins": True}))
        assert second.user in (answer.problem or "")
        assert first.user not in (answer.problem or "")
        assert await gone(core, second)
        await asked(postgresql_server, f"drop owned by {second.user}", database=row.physical_name)
        await asked(postgresql_server, f"drop role {second.user}")

    async def test_a_provider_is_removed_with_its_logins(
        self, core: Core, provider: Provider, postgresql_server: Server
    ) -> None:
        _, row = await tenant_with(core, provider)
        login = await leased(core, row)
        async with core.kernel.catalog.write() as uow:
            await uow.databases.remove(row.id)
        await core.providers.delete(somebody(), DeleteProvider(id=provider.id, confirm=provider.name))
        assert not await is_role(postgresql_server, login)

    async def test_a_server_that_moves_keeps_no_login_behind(
        self, core: Core, provider: Provider, postgresql_server: Server
    ) -> None:
        _, row = await tenant_with(core, provider)
        login = await leased(core, row)
        connection = {
            "host": "localhost", "port": provider.endpoint.port, "user": provider.endpoint.user,
            "password": postgresql_server[1],
        }  # fmt: skip
        request = UpdateProvider.model_validate({"id": provider.id, "connection": connection})
        moved = await core.providers.update(somebody(), request)
        assert moved.problem is None
        assert not await is_role(postgresql_server, login)

        login = await leased(core, row)
        await pointed(core, provider, 9)
        moved = await core.providers.update(somebody(), request)
        assert login.user in (moved.problem or "")

    async def test_what_a_crash_left_of_it_goes(
        self, core: Core, provider: Provider, postgresql_server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The process died when the login was made, and before anybody was told; or what it stands on went then."""
        tenant, row = await tenant_with(core, provider)
        make, users = PostgresLogins.lease, []

        async def killed(self: PostgresLogins, user: str, *args: Any, **more: Any) -> None:
            await make(self, user, *args, **more)
            users.append(user)
            raise KeyboardInterrupt

        async def unready(self: PostgresLogins, user: str, *args: Any, **more: Any) -> None:
            await core.tenants.suspend(somebody(), SuspendTenant(id=tenant.id, confirm=tenant.name))
            await LeaseEnds(core.kernel).settle()
            await make(self, user, *args, **more)
            users.append(user)

        monkeypatch.setattr(core.leases, "_take_back", lambda lease: asyncio.sleep(0))
        monkeypatch.setattr(PostgresLogins, "lease", killed)
        with pytest.raises(KeyboardInterrupt):
            await leased(core, row)
        monkeypatch.undo()
        await ended(core, timedelta(minutes=3))
        assert (await core.leases.leases(somebody(), ListLeases())).total == 0

        monkeypatch.setattr(PostgresLogins, "lease", unready)
        with pytest.raises(Conflict, match="not active"):
            await leased(core, row)
        monkeypatch.undo()
        there = "select count(*) from pg_roles where rolname = any($1)"
        assert await asked(postgresql_server, there, users) == 0
        assert (await core.leases.leases(somebody(), ListLeases())).total == 0

    async def test_nobody_leases_past_a_policy_or_ends_what_is_elsewhere(
        self, core: Core, provider: Provider
    ) -> None:
        tenant, mine = await tenant_with(core, provider)
        _, theirs = await tenant_with(core, provider)
        login = await leased(core, mine)
        with pytest.raises(NotFound):
            await core.leases.release(somebody(), ReleaseLogin(id=theirs.id, lease_id=login.id))
        await core.tenants.policies(somebody(), TenantPolicies(id=tenant.id, encryption=True))
        with pytest.raises(PolicyRefused):
            await leased(core, mine)


async def test_on_mongodb(core: Core, mongodb_server: Server) -> None:
    provider = await provided(core, "mongodb", mongodb_server)
    _, mine = await tenant_with(core, provider)
    _, theirs = await tenant_with(core, provider)
    reading, writing = await leased(core, mine), await leased(core, mine, write=True)
    one: AsyncMongoClient[Any] = AsyncMongoClient(reading.url)
    two: AsyncMongoClient[Any] = AsyncMongoClient(writing.url)
    assert await one[mine.physical_name]["sc_documents.orders"].count_documents({}) == 1
    await two[mine.physical_name]["other"].insert_one({"a": 1})
    with pytest.raises(OperationFailure):
        await one[mine.physical_name]["sc_documents.orders"].delete_many({})
    for client in (one, two):
        with pytest.raises(OperationFailure):
            await client[theirs.physical_name]["sc_documents.orders"].find_one()
    await core.leases.release(somebody(), ReleaseLogin(id=mine.id, lease_id=reading.id))
    await core.databases.delete(somebody(), DeleteDatabase(id=mine.id, confirm=mine.name))
    for client in (one, two):
        with pytest.raises(OperationFailure):
            await client[mine.physical_name]["sc_documents.orders"].find_one()
        await client.close()
    assert (await core.leases.leases(somebody(), ListLeases())).total == 0


async def test_files_have_no_logins(core: Core, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    request = {"name": "files", "kind": "sqlite", "connection": {"path": str(tmp_path / "files")}}
    provider = await core.providers.create(somebody(), CreateProvider.model_validate(request))
    tenant = await core.tenants.create(somebody(), CreateTenant(name="files"))
    create = CreateDatabase(provider_id=provider.id, name="main", tenant_id=tenant.id)
    with pytest.raises(Unsupported):
        await leased(core, await core.databases.create(somebody(), create))


async def test_what_holds_collections_is_no_table_of_peoples(
    core: Core, postgresql_server: Server, mongodb_server: Server
) -> None:
    for kind, server, held in (
        ("postgresql", postgresql_server, "collections.orders"),
        ("mongodb", mongodb_server, "sc_documents.orders"),
    ):
        _, row = await tenant_with(core, await provided(core, kind, server))
        insert = InsertRecord(database_id=row.id, name=held, data={"id": "o-2", "body": "{}"})
        with pytest.raises((Conflict, NotFound)):
            await core.records.insert(somebody(), insert)
        with pytest.raises((Conflict, NotFound)):
            await core.records.query(somebody(), QueryRecords(database_id=row.id, name=held))
        kept = await core.records.query(somebody(), QueryRecords(database_id=row.id, name="orders"))
        assert [record.id for record in kept.items] == ["o-1"]
