"""The private servers of a home, for asynchronous callers."""

import asyncio
import errno
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ...domain.errors import EngineFailure, InvalidRequest, StorageFull
from ...domain.naming import checked_name
from ...domain.provider import Endpoint
from ...domain.server import PrivateServer
from .binaries import HOST, PrivateEngine, adopt_login, login_of
from .instance import Instance, State
from .mongodb import PrivateMongo
from .postgresql import PrivatePostgres

T = TypeVar("T")


class LocalServers:
    """Private servers below ``<home>/servers``. Without `durable` they do not wait for the disk: for tests."""

    def __init__(self, home: Path, *, durable: bool = True) -> None:
        self._root = home.resolve() / "servers"
        engines: tuple[PrivateEngine, ...] = (PrivatePostgres(durable), PrivateMongo(durable))
        self._engines = {engine.kind: engine for engine in engines}

    async def start(self, kind: str, name: str) -> PrivateServer:
        engine, instance = self._engine(kind), self._instance(name)
        state = await _in_thread(lambda: instance.start(engine))
        return self._describe(instance, state)

    async def stop(self, name: str) -> PrivateServer:
        instance = self._instance(name)
        state = await _in_thread(instance.stop)
        return self._describe(instance, state)

    async def list(self) -> tuple[PrivateServer, ...]:
        return await _in_thread(self._list)

    async def endpoint(self, name: str) -> tuple[Endpoint, str]:
        instance = self._instance(name)
        return await _in_thread(lambda: self._endpoint(instance))

    async def password(self, name: str) -> str:
        instance = self._instance(name)
        return await _in_thread(lambda: self._login(instance, instance.known())[1])

    async def adopt(self, name: str, user: str, password: str) -> None:
        instance = self._instance(name)
        await _in_thread(lambda: (instance.known(), adopt_login(instance.place, user, password)))

    async def bind(self, name: str, provider_id: str) -> None:
        instance = self._instance(name)
        await _in_thread(lambda: instance.bind(provider_id))

    def _list(self) -> tuple[PrivateServer, ...]:
        places = sorted(self._root.iterdir()) if self._root.is_dir() else []
        instances = [Instance(place) for place in places if place.is_dir()]
        return tuple(self._describe(each, state) for each in instances if (state := each.state))

    def _endpoint(self, instance: Instance) -> tuple[Endpoint, str]:
        state = instance.known()
        engine = self._engine(state.kind)
        if not instance.running(state):
            state = instance.start(engine)
        user, password = self._login(instance, state)
        where = Endpoint(
            host=HOST,
            port=state.port,
            user=user,
            database=engine.database,
            replica_set=engine.replica_set,
        )
        return where, password

    def _login(self, instance: Instance, state: State) -> tuple[str, str]:
        return login_of(instance.place, self._engine(state.kind).user)

    def _describe(self, instance: Instance, state: State) -> PrivateServer:
        return instance.describe(state, self._login(instance, state)[0])

    def _instance(self, name: str) -> Instance:
        return Instance(self._root / checked_name(name, "name"))

    def _engine(self, kind: str) -> PrivateEngine:
        try:
            return self._engines[kind]
        except KeyError:
            raise InvalidRequest(
                f"There are no private servers of kind {kind[:60]!r}.",
                field="kind",
                hint=f"Use one of: {', '.join(self._engines)}.",
            ) from None


async def _in_thread(work: Callable[[], T]) -> T:
    """Run blocking work beside the loop; the operating system's errors become ours."""
    try:
        return await asyncio.to_thread(work)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise StorageFull(
                "There is no space left for the private server.", hint="Free space below the home."
            ) from error
        raise EngineFailure(
            f"The private server's files cannot be used: {error.strerror or error}"
        ) from error
