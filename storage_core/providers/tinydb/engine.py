"""TinyDB as an engine: a directory of JSON files, each with a journal that makes its writes durable."""

from ...domain.provider import Endpoint, EngineKind
from ..files.engine import FileEngine
from ..files.own import Own
from .form import TinyForm
from .measure import measure


class TinyEngine(FileEngine):
    """One directory of databases, which several processes may use at once."""

    kind = EngineKind.TINYDB

    def __init__(self, endpoint: Endpoint, password: str | None, *, own: Own | None = None) -> None:
        """:param password: refused nowhere, used nowhere: files have none."""
        super().__init__(TinyForm(), measure, endpoint, own)
