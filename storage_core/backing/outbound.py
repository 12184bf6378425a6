"""The outbound guard: names resolved once, every answer judged, connections pinned to what was judged."""

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..domain.errors import AddressRefused, InvalidRequest, NameUnresolved, Unavailable, Unreachable
from ..domain.outbound import LOOPBACK, Address, Rules, checked, plain

if TYPE_CHECKING:
    import httpx

LOOKUP_SECONDS = 10.0
WEB_SECONDS = 15.0
ANSWER_BYTES = 1 << 20
KNOWN_SECONDS = 300.0

Lookup = Callable[[str, int], Awaitable[tuple[Address, ...]]]


async def system_lookup(host: str, port: int) -> tuple[Address, ...]:
    """What this machine's resolver answers, in its order; OSError when it knows nothing."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    # A zone stands behind link-local addresses only, and those are refused without it as well.
    return tuple(ip_address(str(info[4][0]).partition("%")[0]) for info in found)


class Fresh:
    """Asks anew for whoever comes; those who come while it is being asked share the next answer.

    However many connections are opened at once, at most two ask. While nobody can be asked the last answer holds for
    KNOWN_SECONDS: a catalog that is away for a moment cuts no tenant's storage off.
    """

    def __init__(
        self, ask: Callable[[], Awaitable[Rules]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask, self._clock = ask, clock
        self._asking = asyncio.Lock()
        self._next: asyncio.Task[Rules] | None = None
        self._known: tuple[float, Rules] | None = None

    async def __call__(self) -> Rules:
        if self._next is None:
            self._next = asyncio.create_task(self._answer(), name="outbound rules")
            self._next.add_done_callback(_heard)
        return await asyncio.shield(self._next)

    async def _answer(self) -> Rules:
        async with self._asking:
            self._next = None
            try:
                rules = await self._ask()
            except Unavailable:
                if self._known is None or self._clock() - self._known[0] > KNOWN_SECONDS:
                    raise
                return self._known[1]
            self._known = self._clock(), rules
            return rules


def _heard(done: asyncio.Task[Rules]) -> None:
    """Everybody who waited may have been cancelled: then its error is nobody's."""
    if not done.cancelled():
        done.exception()


class Guard:
    """The outbound port. `rules` are asked anew each time, so that a changed setting holds at once."""

    def __init__(self, rules: Callable[[], Awaitable[Rules]], lookup: Lookup = system_lookup) -> None:
        self._rules, self._lookup = Fresh(rules), lookup

    async def addresses(self, host: str, port: int, field: str | None = None) -> tuple[str, ...]:
        named = plain(host, field)
        if not isinstance(named, str):
            return checked(host, (named,), await self._rules(), field)
        try:
            async with asyncio.timeout(LOOKUP_SECONDS):
                found = await self._lookup(named, port)
        except TimeoutError:
            raise NameUnresolved(f"The name servers did not answer for {host}.", field=field) from None
        except (OSError, UnicodeError):
            found = ()
        if not found:
            raise NameUnresolved(f"{host} cannot be resolved.", field=field)
        return checked(host, found, await self._rules(), field)


class GuardedWeb:
    """The web port: each request connects to the address that was judged, while TLS verifies the name."""

    def __init__(self, guard: Guard, verify: ssl.SSLContext | None = None) -> None:
        self._guard = guard
        self._verify = verify
        self._http: httpx.AsyncClient | None = None

    @property
    def _client(self) -> "httpx.AsyncClient":
        import httpx  # here: most processes never ask the web

        if self._http is None:
            self._http = httpx.AsyncClient(
                timeout=WEB_SECONDS,
                follow_redirects=False,
                trust_env=False,  # a proxy of the environment would resolve the name again, out of our sight
                verify=self._verify or ssl.create_default_context(),
                limits=httpx.Limits(max_keepalive_connections=0),  # a kept one would outlive its judgement
            )
        return self._http

    async def send(
        self, method: str, url: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        host, port, secure = _parts(url)
        addresses = await self._guard.addresses(host, port, "url")
        if not secure and not all(any(ip_address(a) in n for n in LOOPBACK) for a in addresses):
            raise AddressRefused("Plain http is for this machine only.", hint="Use https.", field="url")
        import httpx

        error: httpx.HTTPError | None = None
        for address in addresses:
            request = self._pinned(method, url, host, address, body, headers or {})
            try:
                async with asyncio.timeout(WEB_SECONDS):
                    return await self._answer(request)
            except httpx.ConnectError as refused:
                error = refused  # the next address may do
            except (httpx.HTTPError, TimeoutError) as failed:
                raise Unreachable(f"{host} did not answer: {type(failed).__name__}.") from failed
        raise Unreachable(f"{host} cannot be reached.") from error

    async def close(self) -> None:
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    def _pinned(
        self, method: str, url: str, host: str, address: str, body: bytes, headers: Mapping[str, str]
    ) -> "httpx.Request":
        import httpx

        meant = httpx.URL(url)
        request = self._client.build_request(
            method,
            meant.copy_with(host=address),
            content=body,
            headers={**headers, "Host": meant.netloc.decode("ascii")},
        )
        request.extensions["sni_hostname"] = str(plain(host))
        return request

    async def _answer(self, request: "httpx.Request") -> tuple[int, bytes]:
        response = await self._client.send(request, stream=True)
        try:
            read = bytearray()
            async for piece in response.aiter_raw():
                read += piece
                if len(read) > ANSWER_BYTES:
                    break
            return response.status_code, bytes(read[:ANSWER_BYTES])
        finally:
            await response.aclose()


def _parts(url: str) -> tuple[str, int, bool]:
    """Host, port and whether TLS is spoken; InvalidRequest for what is no plain web address."""
    try:
        split = urlsplit(url)
        port = split.port
    except ValueError:
        split, port = urlsplit(""), None
    clean = url.isprintable() and not any(c in url for c in " \\")
    if split.scheme not in ("http", "https") or not split.hostname or not clean or split.username is not None:
        raise InvalidRequest("This is no web address.", hint="Write it like https://host/path.", field="url")
    secure = split.scheme == "https"
    return split.hostname, port or (443 if secure else 80), secure
