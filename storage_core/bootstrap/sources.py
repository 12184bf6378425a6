"""The sources of change: time, ids, tokens."""

import os
import secrets
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime


def utc_now() -> datetime:
    return datetime.now(UTC)


def new_id() -> str:
    return str(uuid.uuid4())


def new_token() -> str:
    return secrets.token_urlsafe(32)


class OrderedIds:
    """Ids of documents: UUIDs of version 7 (RFC 9562, method 3), in the order they were made in by one process.

    48 bits of milliseconds, 12 of their fraction, 62 of chance: none tells the next.
    """

    _DRAWN = 4096

    def __init__(
        self, clock: Callable[[], int] = time.time_ns, chance: Callable[[int], bytes] = os.urandom
    ) -> None:
        self._clock, self._chance = clock, chance
        self._last = 0
        self._drawn, self._at = "", 0
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        """What was drawn is the parent's."""
        self._drawn, self._at = "", 0

    def __call__(self) -> str:
        milliseconds, rest = divmod(self._clock(), 1_000_000)
        tick = (milliseconds << 12) | (rest << 12) // 1_000_000
        if tick <= self._last:
            tick = self._last + 1
        self._last = tick
        at = self._at
        if at >= len(self._drawn):
            # One call of the system for many ids: it costs more than all the rest.
            self._drawn, at = self._chance(self._DRAWN).hex(), 0
        self._at = at + 16
        chance = self._drawn[at : at + 16]
        when = f"{tick:015x}"
        return f"{when[:8]}-{when[8:12]}-7{when[12:]}-{_VARIANT[chance[0]]}{chance[1:4]}-{chance[4:]}"


#: The first digit of the fourth group says what kind of UUID it is: two bits are fixed.
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}

new_ordered_id = OrderedIds()
