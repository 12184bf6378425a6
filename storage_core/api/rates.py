"""How often one address and one credential may ask."""

import hashlib
import math
import time
from collections.abc import Awaitable, Callable
from ipaddress import IPv6Address, ip_address, ip_network

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from ..domain.errors import StorageError, TooManyRequests
from ..domain.option import Options

SIGN_IN = "/api/auth/"
FRESH_SECONDS = 5.0
#: Asked by load balancers and supervisors, all the time.
FREE = frozenset({"/health/live", "/health/ready"})


class Rates:
    """Counts in this process's memory. The limits are the options of these names, read again every few seconds."""

    def __init__(self, options: Callable[[], Awaitable[Options]]) -> None:
        self._options = options
        self._read: Options | None = None
        self._read_at = 0.0
        self._counter = FixedWindowRateLimiter(MemoryStorage())

    async def _limits(self) -> Options:
        """The options; what was read last while the catalog is away: it must not be the reason to refuse."""
        now = time.monotonic()
        if self._read is None or now - self._read_at > FRESH_SECONDS:
            self._read_at = now
            try:
                self._read = await self._options()
            except StorageError:
                self._read = self._read or Options()
        return self._read

    async def arrive(self, address: str | None, method: str, path: str) -> None:
        """Count a request before anything of it is looked at; TooManyRequests when it is one too many."""
        if path in FREE:
            return
        limits, place = await self._limits(), _place(address)
        self._count("address", place, limits.rate_address)
        if method == "POST" and SIGN_IN in path:  # below whatever prefix a host has put it
            self._count("sign-in", place, limits.rate_sign_in)

    async def caller(self, credential: str) -> None:
        """Count a request of a token or session, before it is looked up."""
        place = hashlib.sha256(credential.encode()).hexdigest()
        self._count("caller", place, (await self._limits()).rate_caller)

    def _count(self, kind: str, place: str, limit: int) -> None:
        if limit <= 0:
            return
        item = RateLimitItemPerMinute(limit)
        if not self._counter.hit(item, kind, place):
            seconds = self._counter.get_window_stats(item, kind, place).reset_time - time.time()
            wait = max(1, math.ceil(seconds))
            raise TooManyRequests("There were too many requests within a minute.", retry_after=wait)


def _place(address: str | None) -> str:
    """The address; of IPv6 the /64, which one machine has all of."""
    try:
        found = ip_address(address or "")
    except ValueError:
        return address or "-"
    return str(ip_network((found, 64), strict=False)) if isinstance(found, IPv6Address) else str(found)
