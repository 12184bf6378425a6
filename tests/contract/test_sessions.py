"""SQLAlchemy's connections to files and to a server."""

import asyncio
import secrets
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from storage_core.domain.errors import Locked, NotFound, StorageError, Unreachable
from storage_core.domain.naming import schema_name
from storage_core.domain.provider import Endpoint, StepStatus
from storage_core.ports.sessions import Access, Sessions
from storage_core.providers.postgresql.engine import PostgresEngine
from storage_core.providers.postgresql.sessions import PostgresSessions
from storage_core.providers.sqlite.engine import SqliteEngine
from storage_core.providers.sqlite.sessions import SqliteSessions, _Guarded
from tests.contract.postgresql.pgbouncer import pgbouncer
from tests.contract.sessions_contract import SessionsContract

NAMES = ["tight_one", "tight_two", "tight_three"]


class TestSqlite(SessionsContract):
    @pytest.fixture
    async def engine(self, tmp_path: Path) -> SqliteEngine:
        return SqliteEngine(Endpoint(path=str(tmp_path / "files")), None)

    @pytest.fixture
    async def made(self, engine: SqliteEngine) -> AsyncIterator[Sessions]:
        sessions = SqliteSessions(engine._place, self.tight)
        yield sessions
        await sessions.close()

    @pytest.fixture
    async def names(self, engine: SqliteEngine) -> AsyncIterator[list[str]]:
        made = [f"{name}.sqlite3" for name in NAMES]
        for name in made:
            await engine.databases.create(name, {})
        yield made

    async def test_writers_take_turns_and_readers_do_not_wait(
        self, made: Sessions, names: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("storage_core.providers.sqlite.sessions.BUSY_SECONDS", 0.05)
        async with made.connection(names[0]) as writing:
            await writing.execute(text("create table rows (id int)"))
            async with made.connection(names[0], Access.READ) as reading:
                assert (await reading.execute(text("select count(*) from sqlite_schema"))).scalar() == 0
            with pytest.raises(Locked):
                async with made.connection(names[0]) as second:
                    await second.execute(text("select 1"))

    async def test_what_is_closed_holds_no_lock_however_long_a_cursor_of_it_is_kept(
        self, tmp_path: Path
    ) -> None:
        """The traceback of a cancelled call keeps its cursor alive, and that the connection."""
        file = tmp_path / "held"
        db = sqlite3.connect(file, isolation_level=None, factory=_Guarded)
        db.execute("create table rows (id int)")
        db.execute("insert into rows values (1), (2)")
        db.execute("begin immediate")
        kept = db.execute("select id from rows")
        kept.fetchone()
        db.close()
        with closing(sqlite3.connect(file, isolation_level=None, timeout=0)) as other:
            other.execute("begin immediate")

    async def test_no_other_file_can_be_attached(self, made: Sessions, names: list[str]) -> None:
        async with made.connection(names[0]) as connection:
            with pytest.raises(Exception, match="attached"):
                await connection.execute(text("attach 'other.sqlite3' as other"))

    async def test_tables_are_rebuilt_without_losing_what_refers_to_them(
        self, made: Sessions, names: list[str]
    ) -> None:
        async with made.connection(names[0]) as connection:
            await connection.execute(text("create table a (id int primary key)"))
            await connection.execute(text("create table b (a int references a on delete cascade)"))
            await connection.execute(text("insert into a values (1)"))
            await connection.execute(text("insert into b values (1)"))
            await connection.commit()
        async with made.connection(names[0], Access.SHAPE) as connection:
            for step in (
                "create table n (id int primary key, x int)",
                "insert into n select id, 1 from a",
                "drop table a",
                "alter table n rename to a",
            ):
                await connection.execute(text(step))
            await connection.commit()
        async with made.connection(names[0]) as connection:
            assert (await connection.execute(text("select count(*) from b"))).scalar() == 1
            await connection.execute(text("delete from a"))
            assert (await connection.execute(text("select count(*) from b"))).scalar() == 0


@pytest.mark.servers
class TestPostgresql(SessionsContract):
    gone: tuple[type[StorageError], ...] = (NotFound,)

    @pytest.fixture
    async def engine(self, postgresql_server: tuple[Endpoint, str]) -> AsyncIterator[PostgresEngine]:
        engine = PostgresEngine(*postgresql_server)
        yield engine
        await engine.close()

    naming = staticmethod(str)

    @pytest.fixture
    async def made(self, engine: PostgresEngine) -> AsyncIterator[Sessions]:
        sessions = PostgresSessions(
            engine._dialer, engine._databases.refuse_own, engine._pooler, bounds=self.tight
        )
        yield sessions
        await sessions.close()

    @pytest.fixture
    async def names(self, engine: PostgresEngine) -> AsyncIterator[list[str]]:
        # Each test its own: a PgBouncer remembers for a while that it could not sign in to a name.
        made = [self.naming(f"{name}_{secrets.token_hex(4)}") for name in NAMES]
        for name in made:
            await engine.databases.create(name, {})
        yield made
        await asyncio.gather(*(engine.databases.drop(name) for name in made))

    async def test_a_connection_that_breaks_is_a_domain_error_and_the_next_one_is_new(
        self, made: Sessions, names: list[str]
    ) -> None:
        end = text("select pg_terminate_backend(:pid)")
        async with made.connection(names[0]) as connection, made.connection(names[0]) as killer:
            pid = (await connection.execute(text("select pg_backend_pid()"))).scalar()
            await killer.execute(end, {"pid": pid})
            with pytest.raises(Unreachable):
                await connection.execute(text("select 1"))
        async with made.connection(names[0]) as one, made.connection(names[0]) as two:
            pids = [(await each.execute(text("select pg_backend_pid()"))).scalar() for each in (one, two)]
        async with made.connection(
            names[1], Access.SHAPE
        ) as killer:  # not by a pooler that shares what is killed
            for pid in pids:
                await killer.execute(end, {"pid": pid})
        async with made.connection(names[0]) as one, made.connection(names[0]) as two:
            assert (await one.execute(text("select pg_backend_pid()"))).scalar() not in pids
            assert (await two.execute(text("select pg_backend_pid()"))).scalar() not in pids

    async def test_a_database_is_dropped_although_connections_are_kept(
        self, made: Sessions, engine: PostgresEngine, names: list[str]
    ) -> None:
        async with made.connection(names[2]):
            pass
        await engine.databases.drop(names[2])
        with pytest.raises(self.gone):
            async with made.connection(names[2]):
                pass

    async def test_a_server_that_is_not_there(self, postgresql_server: tuple[Endpoint, str]) -> None:
        engine = PostgresEngine(Endpoint(host="127.0.0.1", port=1, user="x"), "p", connect_seconds=2)
        assert engine.sessions is not None
        with pytest.raises(Unreachable):
            async with engine.sessions.connection("any"):
                pass
        await engine.close()


@pytest.fixture(scope="module")
async def pooler_port(postgresql_server: tuple[Endpoint, str]) -> AsyncIterator[int]:
    async with pgbouncer(postgresql_server) as port:
        if port is None:
            pytest.skip("no PgBouncer to be had here")
        yield port


@pytest.mark.servers
class TestPgbouncer(TestPostgresql):
    """The same promises through a PgBouncer in transaction mode."""

    #: It keeps people waiting while it tries to reach what is not there any more.
    gone = (NotFound, Unreachable)

    @pytest.fixture
    async def engine(
        self, postgresql_server: tuple[Endpoint, str], pooler_port: int
    ) -> AsyncIterator[PostgresEngine]:
        endpoint, password = postgresql_server
        there = replace(endpoint, pooler_host="127.0.0.1", pooler_port=pooler_port)
        engine = PostgresEngine(there, password)
        yield engine
        await engine.close()

    async def test_a_statement_finds_its_way_on_every_connection_of_the_server(
        self, made: Sessions, names: list[str]
    ) -> None:
        """Prepared under a name, it would meet connections that do not know it."""
        statement = text("select pg_backend_pid() + cast(:none as int)")

        async def ask(connection: AsyncConnection) -> int:
            return int((await connection.execute(statement, {"none": 0})).scalar_one())

        async with made.connection(names[0]) as one, made.connection(names[0]) as two:
            for holding, asking in ((two, one), (one, two)) * 3:
                await ask(asking)
                await asking.commit()
                held = await ask(holding)
                assert await ask(asking) != held
                await asking.commit()
                await holding.commit()

    async def test_the_test_of_the_connection_tries_the_way_through_it(self, engine: PostgresEngine) -> None:
        assert (await engine.check())[-1].name == "pooler"
        assert (await engine.check())[-1].status is StepStatus.PASSED
        away = PostgresEngine(replace(engine._dialer.endpoint, pooler_port=1), engine._dialer.password)
        assert (await away.check())[-1].status is StepStatus.WARNING
        await away.close()


@pytest.mark.servers
class TestSchemas(TestPostgresql):
    """The same of schemas in the shared database."""

    naming = staticmethod(schema_name)


@pytest.mark.servers
class TestSchemasThroughPgbouncer(TestPgbouncer):
    """Connections of the pooler that meet one schema after the other."""

    naming = staticmethod(schema_name)
