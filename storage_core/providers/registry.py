"""Which class serves which kind of engine; its driver is imported when the first engine of the kind is built."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, cast

from ..domain.provider import Endpoint, EngineKind
from ..ports.engine import Engine
from ..ports.outbound import Outbound

_CLASSES: Mapping[EngineKind, tuple[str, str]] = {
    EngineKind.POSTGRESQL: ("postgresql.engine", "PostgresEngine"),
    EngineKind.MONGODB: ("mongodb.engine", "MongoEngine"),
    EngineKind.SQLITE: ("sqlite.engine", "SqliteEngine"),
    EngineKind.TINYDB: ("tinydb.engine", "TinyEngine"),
    EngineKind.LOCALFILE: ("localfile.engine", "LocalFileEngine"),
}


def kinds() -> tuple[EngineKind, ...]:
    return tuple(_CLASSES)


def builder(
    options: Mapping[EngineKind, Mapping[str, Any]], outbound: Outbound | None = None
) -> Callable[[EngineKind, Endpoint, str | None], Engine]:
    """A function that builds engines, without I/O and without wrappers.

    `options` are a kind's own settings; `outbound` judges the addresses of servers.
    """

    def build(kind: EngineKind, endpoint: Endpoint, password: str | None) -> Engine:
        module, name = _CLASSES[kind]
        made = getattr(import_module(f".{module}", __package__), name)
        more: dict[str, Any] = {} if kind.is_files else {"outbound": outbound}
        return cast("Callable[..., Engine]", made)(endpoint, password, **options.get(kind, {}), **more)

    return build
