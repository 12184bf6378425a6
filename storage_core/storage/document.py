"""What comes back from a collection."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..domain.record import Outcome
from ..domain.value import Loss


@dataclass(slots=True)
class Document:
    """A document as it is stored.

    `version` counts its changes from 1: hand it back to change only what nobody else has changed meanwhile.
    `created_at` and `updated_at` are UTC. `losses` says what a lossy collection could not keep of what was written
    just now. Yours to change: nothing is written before you say so.
    """

    id: str
    version: int
    created_at: datetime
    updated_at: datetime
    data: dict[str, Any]
    losses: tuple[Loss, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """One item of `update_many`: values by path, paths to remove, and the version it must have, if that matters."""

    id: str
    changes: Mapping[str, Any]
    version: int | None = None
    unset: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class DocumentPage:
    """Documents of one page; `next` is the cursor of the page after it, none at the end."""

    items: tuple[Document, ...]
    next: str | None


__all__ = ["Change", "Document", "DocumentPage", "Loss", "Outcome"]
