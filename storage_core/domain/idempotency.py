"""Answers kept for callers who ask the same thing twice."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from .secret import Binding, key_of

KEPT = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Remembered:
    """A POST under an Idempotency-Key. `id` hashes actor, key and path; `digest` the body; status 0: still running.

    `body` is sealed once there is an answer; `key_id` is read from it.
    """

    id: str
    digest: str
    created_at: datetime
    status: int = 0
    body: str = ""
    key_id: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "key_id", key_of(self.body))

    @property
    def sealed(self) -> str:
        return self.body

    @property
    def binding(self) -> Binding:
        return Binding(None, "remembered", self.id, "body")
