"""What an operation changes in the catalog, noted where it is committed, for the entry that says so in the audit log."""

from contextvars import ContextVar
from typing import Any


class Recording:
    """Rows changed since it began: what each was before the first change, and is after the last one."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], tuple[Any, Any]] = {}

    def note(self, noun: str, id: str, before: Any, after: Any) -> None:
        """A committed change of one row; none for one that was not there, or is not any more."""
        first, _ = self._rows.get((noun, id), (before, None))
        self._rows[noun, id] = (first, after)

    def rows(self) -> tuple[tuple[str, str, Any, Any], ...]:
        """Noun, id, before and after of each row, in the order of their first change."""
        return tuple((noun, id, *pair) for (noun, id), pair in self._rows.items())


#: Set while an operation runs; the catalog notes into it what it commits.
recording: ContextVar[Recording | None] = ContextVar("recording", default=None)
