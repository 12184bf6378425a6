"""Local files as an engine: a directory of folders, one file for each document."""

from ...domain.provider import Endpoint, EngineKind
from ..files.engine import FileEngine
from ..files.own import Own
from .form import LocalForm
from .measure import measure


class LocalFileEngine(FileEngine):
    """One directory of databases, which several processes may use at once."""

    kind = EngineKind.LOCALFILE

    def __init__(self, endpoint: Endpoint, password: str | None, *, own: Own | None = None) -> None:
        """:param password: refused nowhere, used nowhere: files have none."""
        super().__init__(LocalForm(), measure, endpoint, own)
