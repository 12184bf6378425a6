"""How often one address and one credential may ask."""

import hashlib
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from ..domain.errors import TooManyRequests

SIGN_IN = "/api/auth/"
#: Asked by load balancers and supervisors, all the time.
FREE = frozenset({"/health/live", "/health/ready"})


@dataclass(frozen=True, slots=True)
class RateLimits:
    """Requests a minute: of one credential, of one address, and of one address to the sign-in; 0 is no limit."""

    caller: int = 12_000
    address: int = 18_000
    sign_in: int = 300


class Rates:
    """Counts in this process's memory. `limits` are asked each time, so that a changed setting holds at once."""

    def __init__(self, limits: Callable[[], Awaitable[RateLimits]]) -> None:
        self._limits = limits
        self._counter = FixedWindowRateLimiter(MemoryStorage())

    async def arrive(self, address: str | None, method: str, path: str) -> None:
        """Count a request before anything of it is looked at; TooManyRequests when it is one too many."""
        if path in FREE:
            return
        limits, place = await self._limits(), _place(address)
        self._count("address", place, limits.address)
        if method == "POST" and path.startswith(SIGN_IN):
            self._count("sign-in", place, limits.sign_in)

    async def caller(self, credential: str) -> None:
        """Count a request of a token or session, before it is looked up."""
        place = hashlib.sha256(credential.encode()).hexdigest()
        self._count("caller", place, (await self._limits()).caller)

    def _count(self, kind: str, place: str, limit: int) -> None:
        if limit <= 0:
            return
        item = RateLimitItemPerMinute(limit)
        if not self._counter.hit(item, kind, place):
            seconds = self._counter.get_window_stats(item, kind, place).reset_time - time.time()
            wait = max(1, math.ceil(seconds))
            raise TooManyRequests(
                "There were too many requests within a minute.",
                hint=f"Wait {wait} seconds and try again.",
                retry_after=wait,
            )


def _place(address: str | None) -> str:
    """The address; of IPv6 the /64, which one machine has all of."""
    try:
        found = ip_address(address or "")
    except ValueError:
        return address or "-"
    return str(ip_network((found, 64), strict=False)) if isinstance(found, IPv6Address) else str(found)
