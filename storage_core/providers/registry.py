"""Which class serves which kind of engine; its driver is imported when the first engine of the kind is built."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, cast

from ..domain.provider import Endpoint, EngineKind
from ..ports.engine import Engine

_CLASSES: Mapping[EngineKind, tuple[str, str]] = {
    EngineKind.POSTGRESQL: ("postgresql.engine", "PostgresEngine"),
    EngineKind.MONGODB: ("mongodb.engine", "MongoEngine"),
    EngineKind.SQLITE: ("sqlite.engine", "SqliteEngine"),
}


def kinds() -> tuple[EngineKind, ...]:
    return tuple(_CLASSES)


def builder(
    options: Mapping[EngineKind, Mapping[str, Any]],
) -> Callable[[EngineKind, Endpoint, str | None], Engine]:
    """A function that builds engines, without I/O and without wrappers; `options` are a kind's own settings."""

    def build(kind: EngineKind, endpoint: Endpoint, password: str | None) -> Engine:
        module, name = _CLASSES[kind]
        made = getattr(import_module(f".{module}", __package__), name)
        return cast("Callable[..., Engine]", made)(endpoint, password, **options.get(kind, {}))

    return build
