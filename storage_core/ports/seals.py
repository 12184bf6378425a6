"""The seals port: what puts a collection behind its encryption."""

from typing import Protocol

from ..domain.encryption import Encryption
from .collection import Collection


class Seals(Protocol):
    """Answers a collection that seals what goes into another one, and opens what comes out, with a data key.

    Equality of searchable fields can be asked for; Unsupported for everything else that looks into sealed values.
    WrongKey for a value that was changed, moved or sealed with another key.
    """

    def __call__(self, plain: Collection, encryption: Encryption, key: bytes) -> Collection: ...
