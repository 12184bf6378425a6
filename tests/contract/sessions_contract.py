"""What SQLAlchemy's connections promise on every engine that has them."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

from storage_core.domain.errors import Gone, NotFound, StorageError, TooManyRequests
from storage_core.ports.sessions import Access, Sessions
from storage_core.providers.sessions import Bounds, SessionPools


class SessionsContract:
    """Inherit it; give an engine of the kind, and its sessions with bounds of the test's own."""

    tight = Bounds(all=4, each=2, checkout=30.0, opening=3.0)

    @pytest.fixture
    async def made(self) -> AsyncIterator[Sessions]:
        """Sessions bounded by `tight`; closed by the fixture."""
        raise AssertionError

    @pytest.fixture
    async def names(self) -> AsyncIterator[list[str]]:
        """Three empty databases."""
        raise AssertionError

    def pools(self, sessions: Sessions) -> SessionPools:
        pools: SessionPools = sessions.pools  # type: ignore[attr-defined]  # every engine's has them
        return pools

    async def test_what_is_not_committed_is_gone(self, made: Sessions, names: list[str]) -> None:
        async with made.connection(names[0]) as connection:
            await connection.execute(text("create table rows (id int primary key)"))
            await connection.commit()
            await connection.execute(text("insert into rows values (1)"))
        async with made.connection(names[0], Access.READ) as connection:
            assert (await connection.execute(text("select count(*) from rows"))).scalar() == 0

    async def test_statements_that_are_wrong_stay_sqlalchemys(self, made: Sessions, names: list[str]) -> None:
        async with made.connection(names[0]) as connection:
            await connection.execute(text("create table rows (id int primary key)"))
            with pytest.raises(DBAPIError):
                await connection.execute(text("select * from nowhere"))
            await connection.rollback()
            await connection.execute(text("create table rows (id int primary key)"))
            with pytest.raises(IntegrityError):
                await connection.execute(text("insert into rows values (1), (1)"))

    async def test_a_reading_connection_writes_nothing_and_is_writing_again_later(
        self, made: Sessions, names: list[str]
    ) -> None:
        for access in (Access.SHAPE, Access.READ, Access.WRITE, Access.READ, Access.SHAPE):
            async with made.connection(names[0], access) as connection:
                make = text("create table if not exists rows (id int)")
                if access is Access.READ:
                    with pytest.raises(DBAPIError):
                        await connection.execute(text("insert into rows values (1)"))
                else:
                    await connection.execute(make)
                    await connection.commit()

    async def test_a_database_that_is_not_there(self, made: Sessions) -> None:
        # A name of its own each time: a pooler that failed to reach one waits before it tries that one again.
        with pytest.raises(NotFound):
            async with made.connection(f"nowhere_{uuid.uuid4().hex}"):
                pass

    async def test_connections_are_bounded_and_go_where_they_are_wanted(
        self, made: Sessions, names: list[str]
    ) -> None:
        pools = self.pools(made)
        async with AsyncExitStack() as stack:
            for name in (names[0], names[0], names[1], names[1]):
                await stack.enter_async_context(made.connection(name))
            pools._bounds = replace(self.tight, checkout=0.1)
            for full in (names[0], names[2]):
                with pytest.raises(TooManyRequests):
                    async with made.connection(full):
                        pass
        pools._bounds = self.tight
        assert pools.connections == 4
        async with made.connection(names[2]), made.connection(names[2]):
            assert pools.connections == 4
        async with made.connection(names[0]), made.connection(names[2]), made.connection(names[1]):
            assert pools.connections <= 4  # one that is unused goes, though others of its database are in use

    async def test_whoever_waits_gets_what_is_given_back(self, made: Sessions, names: list[str]) -> None:
        async def ask(name: str) -> int:
            async with made.connection(name) as connection:
                return int((await connection.execute(text("select 1"))).scalar_one())

        for _ in range(3):
            assert await asyncio.gather(*(ask(name) for name in names * 4)) == [1] * 12
            assert self.pools(made).connections <= 4

    async def test_unused_connections_are_closed(self, made: Sessions, names: list[str]) -> None:
        pools = self.pools(made)
        pools._bounds = replace(self.tight, idle=0.05)
        async with made.connection(names[0]):
            assert pools.connections == 1
        assert pools._sweeper is not None
        async with asyncio.timeout(10):
            await pools._sweeper
        assert pools.connections == 0
        async with made.connection(names[0]):
            pass
        await pools.close()
        with pytest.raises(Gone):
            async with made.connection(names[0]):
                pass

    async def test_cancelled_callers_leave_nothing_open(self, made: Sessions, names: list[str]) -> None:
        async def use(name: str) -> None:
            async with made.connection(name) as connection:
                await connection.execute(text("select 1"))
                await connection.commit()

        for number in range(120):
            tasks = [asyncio.create_task(use(names[(number + i) % 3])) for i in range(3)]
            for _ in range(number % 40):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            for error in await asyncio.gather(*tasks, return_exceptions=True):
                assert error is None or isinstance(error, asyncio.CancelledError | StorageError)
        pools = self.pools(made)
        assert pools.busy == 0
        for name in names:
            await use(name)
        assert pools.connections <= 4
