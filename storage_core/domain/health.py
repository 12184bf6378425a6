"""How an engine feels right now."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Health:
    """A probe's outcome: reachable or not, round trip in milliseconds, the problem in words."""

    online: bool
    milliseconds: float
    version: str | None = None
    problem: str | None = None
