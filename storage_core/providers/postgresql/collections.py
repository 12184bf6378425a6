"""The collections of PostgreSQL's databases: tables in a schema of their own, reached through hot connections."""

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import orjson
from asyncpg import exceptions as pg
from sqlalchemy.schema import CreateTable

from ...domain.errors import Conflict, InvalidRequest, NameTaken, QuotaExceeded, StorageError
from ...domain.record import Ability, Quota
from ...ports.collection import Collection, Session
from . import collection_index
from .collection import PostgresCollection
from .collection_index import place_of
from .collection_quota import CountedCollection, Counting, prepare
from .collection_table import (
    MAKING,
    MARK,
    OURS,
    compiled,
    keyed,
    parts_of,
    plain,
    schema_of,
    table_of,
)
from .collection_trust import NUMBER, number_of_ours
from .dial import Connection, Dialer
from .errors import DRIVER_ERRORS
from .hotpool import LOST, HotPool, HotPools
from .indexes import Indexes, Known, NoIndexes
from .sql import ident, literal

SETTINGS = {"search_path": "", "timezone": "UTC", "jit": "off"}
STATEMENTS = 1024
#: Makes a collection, or only what all of them need, for logins that may not make anything.
Maker = Callable[[str | None], Awaitable[None]]
NOT_THERE = (pg.UndefinedTableError, pg.InvalidSchemaNameError)
COLLISIONS = (pg.SerializationError, pg.DeadlockDetectedError)
THERE = "select obj_description(to_regclass($1), 'pg_class'), to_regclass($1) is not null"
PLAIN_NAME = re.compile("[a-z_][a-z0-9_]*")
#: A table of somebody else's that has the name.
STRANGE = (
    pg.UndefinedColumnError,
    pg.WrongObjectTypeError,
    pg.DatatypeMismatchError,
    pg.NotNullViolationError,
)


class PostgresCollections:
    """The collections port. Pools are shared by all databases of the server; see `hotpool` for their bounds."""

    abilities = frozenset({Ability.REGEX, Ability.TRANSACTIONS})

    def __init__(
        self, dialer: Dialer, refuse_own: Callable[[str], Awaitable[None]], maker: Maker | None = None
    ) -> None:
        """:param refuse_own: refuses a database that is the console's own.
        :param maker: makes what is missing, where the signed-in user may not.
        """
        self._dialer, self._refuse_own, self.maker = dialer, refuse_own, maker
        self._known: set[str] = set()
        #: Databases whose place of collections is there and ours, and that schema's number.
        self._ours: dict[str, int] = {}
        self.pools = HotPools(self.connect)
        self._making = asyncio.Lock()
        #: Databases that were counted since this process met them under a quota.
        self.counted: set[str] = set()
        #: What indexes there are, by database and collection, as far as somebody asked.
        self.known: dict[tuple[str, str], Known] = {}

    def collection(self, database: str, name: str, quota: Quota | None = None) -> Collection:
        runner, indexes, name = PooledRunner(self, database), Indexes(self, database), keyed(database, name)
        if quota is None:
            return PostgresCollection(runner, name, indexes)
        return CountedCollection(Counting(self, database, quota, runner), name, indexes)

    def prefix(self, database: str) -> str:
        schema, start = parts_of(keyed(database, ""))
        return f"{schema if PLAIN_NAME.fullmatch(schema) else ident(schema)}.{start}"

    async def names(self, database: str) -> tuple[str, ...]:
        try:
            if database not in self._ours and not await self.is_there(database):
                return ()
        except Conflict:  # tables of somebody else's, which only look like it
            return ()
        found = await PooledRunner(self, database).read("", "fetch", OURS, schema_of(database))
        start = parts_of(keyed(database, ""))[1]
        return tuple(row[0].removeprefix(start) for row in found or ())

    async def drop(self, database: str, name: str) -> None:
        self.known.pop((database, keyed(database, name)), None)
        if name in await self.names(database):
            place = place_of(keyed(database, name))
            await PooledRunner(self, database).read(name, "execute", f"drop table if exists {place}")
            self.counted.discard(database)

    def forget(self, database: str) -> None:
        """Let go of a database that is about to be dropped: of its idle connections, and of what is known about it."""
        self.pools.close_idle(database)
        self._known.discard(database)
        self._ours.pop(database, None)
        self.counted.discard(database)
        self.known = {place: known for place, known in self.known.items() if place[0] != database}

    def transaction(self, database: str, quota: Quota | None = None) -> AbstractAsyncContextManager[Session]:
        return self._transaction(database, quota)

    @asynccontextmanager
    async def _transaction(self, database: str, quota: Quota | None) -> AsyncGenerator[Session]:
        if database not in self._ours:
            await self.is_there(database)
        async with (
            self.connection(database) as connection,
            connection.transaction(isolation="repeatable_read"),
        ):
            yield PostgresSession(self, database, connection, quota)

    @asynccontextmanager
    async def connection(self, database: str) -> AsyncGenerator[Connection]:
        """A connection for more than one statement; errors come out translated."""
        pool = self.pools.of(database)
        try:
            connection = await pool.acquire()
        except DRIVER_ERRORS as error:
            raise self._dialer.errors.translate(error, database) from error
        try:
            yield connection
        except StorageError:
            self._put_back(pool, connection)
            raise
        except DRIVER_ERRORS as error:
            self._put_back(pool, connection)
            raise await self.translated(error, database) from error
        except Exception:  # the caller's own: the connection is none the worse
            self._put_back(pool, connection)
            raise
        except BaseException:
            pool.discard(connection)
            raise
        self._put_back(pool, connection)

    @asynccontextmanager
    async def apart(self, database: str) -> AsyncGenerator[Connection]:
        """A transaction on a connection beside the pool, for what must not wait for those who hold one."""
        try:
            connection = await self.connect(database)
        except DRIVER_ERRORS as error:
            raise self._dialer.errors.translate(error, database) from error
        try:
            async with connection.transaction():
                yield connection
        except DRIVER_ERRORS as error:
            raise await self.translated(error, database) from error
        finally:
            connection.terminate()

    def runner(self, database: str, connection: Connection) -> "TransactionRunner":
        return TransactionRunner(self, database, connection)

    async def make(self, database: str, name: str) -> None:
        """Make a collection's table; whoever else makes one at the moment waits."""
        if self.maker is not None:
            await self.maker(plain(name))
            return
        async with self._making, self.apart(database) as connection:
            await connection.execute(f"select pg_advisory_xact_lock({MAKING})")
            mark, there = await connection.fetchrow(THERE, place_of(name))  # type: ignore[misc]  # one row always
            if there and mark != MARK:
                raise _somebody_else_s(name)
            if there:
                await number_of_ours(connection, schema_of(database))
            else:
                await prepare(connection, database)
                await connection.execute(compiled(CreateTable(table_of(name))))
                await connection.execute(f"comment on table {place_of(name)} is {literal(MARK)}")

    async def is_there(self, database: str, *, apart: bool = False) -> bool:
        """Whether a database has a place of collections; Conflict where it is not ours, before anything is run there.

        Who leased a login to us has only that login's rights to lose: whatever is there will do.

        :param apart: ask beside the pool, for who holds one of its connections.
        """
        if self.maker is not None:
            return True
        async with self.apart(database) if apart else self.connection(database) as connection:
            number = await number_of_ours(connection, schema_of(database))
        if number is not None:
            self._ours[database] = number
        return number is not None

    def is_ours(self, database: str) -> bool:
        """Whether that was seen already."""
        return database in self._ours

    async def prepare(self, database: str, name: str | None, quota: Quota | None) -> None:
        """Make the place of collections, and one of them; count what is there, where a quota is to hold."""
        async with self._making, self.apart(database) as connection:
            await connection.execute(f"select pg_advisory_xact_lock({MAKING})")
            await prepare(connection, database)
        if name is not None:
            await self.make(database, keyed(database, name))
        if quota is not None:
            await Counting(self, database, quota, PooledRunner(self, database)).count()

    async def translated(
        self, error: BaseException, database: str, name: str = "", connection: Connection | None = None
    ) -> StorageError:
        """The domain error of a driver's; `connection` is one that may be asked about it."""
        if isinstance(error, pg.UniqueViolationError):
            return await self._taken(error, database, name, connection)
        if isinstance(error, pg.DivisionByZeroError):  # see `collection_quota`: nothing else divides
            return QuotaExceeded("The database may not hold more.")
        if isinstance(error, COLLISIONS):
            return Conflict("Another transaction got in the way.", hint="Repeat it whole.")
        if isinstance(error, pg.InvalidRegularExpressionError):
            return InvalidRequest(
                f"The pattern cannot be understood: {error.args[0]}",
                field="where",
                hint="See POSIX patterns.",
            )
        if isinstance(error, STRANGE):
            return _somebody_else_s(name)
        if isinstance(
            error,
            pg.ProgramLimitExceededError
            | pg.InvalidTextRepresentationError
            | pg.UntranslatableCharacterError,
        ):
            return InvalidRequest(f"PostgreSQL cannot store this: {error.args[0]}", field="data")
        return self._dialer.errors.translate(error, database)

    async def _taken(
        self, error: pg.UniqueViolationError, database: str, name: str, connection: Connection | None
    ) -> StorageError:
        constraint = str(getattr(error, "constraint_name", None) or "")
        if not constraint.startswith(collection_index.UNIQUE):
            return NameTaken("There is a document of this id already.", field="id")
        if connection is None:
            async with self.connection(database) as asking:
                index = await collection_index.unique_name(asking, name, constraint)
        else:
            index = await collection_index.unique_name(connection, name, constraint)
        return NameTaken(f"Another document holds these values ({index}).", field=index)

    async def connect(self, database: str) -> Connection:
        """A new connection; the driver's errors."""
        if database not in self._known:
            await self._refuse_own(database)
            self._known.add(database)
        connection, _ = await self._dialer.dial(database, SETTINGS, cached=STATEMENTS)
        try:
            await connection.set_type_codec(
                "jsonb", schema="pg_catalog", format="binary", encoder=_as_it_is, decoder=_unpacked
            )
            if (known := self._ours.get(database)) is not None and known != await connection.fetchval(
                NUMBER, schema_of(database)
            ):
                self._ours.pop(database, None)
        except BaseException:
            connection.terminate()
            raise
        return connection

    def _put_back(self, pool: HotPool, connection: Connection) -> None:
        if connection.is_closed() or connection.is_in_transaction():
            pool.discard(connection)
        else:
            pool.release(connection)

    def close(self) -> None:
        self.pools.close()


class PooledRunner:
    """Each statement for itself, on whichever connection is free."""

    __slots__ = ("_collections", "_database")

    def __init__(self, collections: PostgresCollections, database: str) -> None:
        self._collections, self._database = collections, database

    async def read(self, name: str, method: str, *args: Any) -> Any:
        if not self._collections.is_ours(self._database) and not await self._collections.is_there(
            self._database
        ):
            return None
        pool = self._collections.pools.of(self._database)
        try:
            try:
                return await pool.run(method, *args)
            except LOST:  # reading twice does no harm, and the other connection is a new one
                return await pool.run(method, *args)
        except NOT_THERE:
            return None
        except DRIVER_ERRORS as error:
            raise await self._collections.translated(error, self._database, name) from error

    async def change(self, name: str, method: str, *args: Any) -> Any:
        if not self._collections.is_ours(self._database) and not await self._collections.is_there(
            self._database
        ):
            return None
        try:
            return await self._collections.pools.of(self._database).run(method, *args)
        except NOT_THERE:
            return None
        except DRIVER_ERRORS as error:
            raise await self._collections.translated(error, self._database, name) from error

    async def write(self, name: str, method: str, *args: Any, **more: Any) -> Any:
        if self._collections.is_ours(self._database) or await self._collections.is_there(self._database):
            try:
                return await self._collections.pools.of(self._database).run(method, *args, **more)
            except NOT_THERE:
                pass
            except DRIVER_ERRORS as error:
                raise await self._collections.translated(error, self._database, name) from error
        await self._collections.make(self._database, name)
        try:
            return await self._collections.pools.of(self._database).run(method, *args, **more)
        except DRIVER_ERRORS as error:
            raise await self._collections.translated(error, self._database, name) from error


class TransactionRunner:
    """Every statement in one transaction; one that fails takes back itself alone."""

    def __init__(self, collections: PostgresCollections, database: str, connection: Connection) -> None:
        self._collections, self._database, self._connection = collections, database, connection
        self._there: set[str] = set()

    async def read(self, name: str, method: str, *args: Any) -> Any:
        if not await self._is_there(name):
            return None
        return await self._run(name, method, *args)

    change = read

    async def write(self, name: str, method: str, *args: Any, **more: Any) -> Any:
        if not await self._is_there(name):
            await self._collections.make(self._database, name)
            self._there.add(name)
        return await self._run(name, method, *args, **more)

    async def _run(self, name: str, method: str, *args: Any, **more: Any) -> Any:
        try:
            async with self._connection.transaction():
                return await getattr(self._connection, method)(*args, **more)
        except DRIVER_ERRORS as error:
            raise await self._collections.translated(error, self._database, name, self._connection) from error

    async def _is_there(self, name: str) -> bool:
        if name not in self._there:
            found = await self._connection.fetchrow(THERE, place_of(name))
            if found is None or found[0] != MARK:
                return False
            if not self._collections.is_ours(self._database):
                await self._collections.is_there(self._database, apart=True)
            self._there.add(name)
        return True


class PostgresSession:
    """A transaction's collections."""

    def __init__(
        self, collections: PostgresCollections, database: str, connection: Connection, quota: Quota | None
    ) -> None:
        self._database = database
        self._runner = collections.runner(database, connection)
        self._counting = None if quota is None else Counting(collections, database, quota, self._runner)
        self._indexes = NoIndexes(collections, database, connection)

    def collection(self, name: str) -> Collection:
        name = keyed(self._database, name)
        if self._counting is None:
            return PostgresCollection(self._runner, name, self._indexes)
        return CountedCollection(self._counting, name, self._indexes)


def _as_it_is(packed: bytes) -> bytes:
    return packed


def _unpacked(value: bytes) -> Any:
    return orjson.loads(value[1:])  # a copy of a document costs less than a view of it


def _somebody_else_s(name: str) -> Conflict:
    return Conflict(
        f"{'.'.join(parts_of(name))} is a table of somebody else's.",
        field="collection",
        hint="Use another name.",
    )
