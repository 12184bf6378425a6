"""Who is calling: token or cookie, same origin, tenant."""

from collections.abc import Callable
from ipaddress import ip_address

from starlette.requests import HTTPConnection

from ..bootstrap import Core
from ..domain.claims import Claims
from ..domain.context import Context, Door
from ..domain.errors import CrossSite, Unauthenticated
from ..domain.origin import same_origin
from ..tenancy import optional_tenant
from ..tenancy.middleware import CLAIMS
from .rates import Rates

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
BEHIND_TLS = "Behind a proxy that speaks TLS, name it in STORAGE_TRUSTED_PROXIES and let it send X-Forwarded-Proto: https."


class Callers:
    """Turns a request into a Context. `core` is asked late: the core opens with the server."""

    def __init__(self, core: Callable[[], Core], rates: Rates) -> None:
        self._core = core
        self._rates = rates

    async def __call__(self, connection: HTTPConnection) -> Context:
        """The caller's context, narrowed to the tenant of the request; Unauthenticated without one."""
        core, correlation = self._core(), correlation_of(connection)
        address = connection.client.host if connection.client else None
        ctx = await self._by_header(core, connection, address, correlation)
        if ctx is None:
            cookie = connection.cookies.get(cookie_name(connection))
            if cookie is not None:
                refuse_plain_http(connection)
                check_same_origin(connection)
                await self._rates.caller(cookie)
                ctx = await core.auth.by_cookie(cookie, Door.REST, address, correlation)
        if ctx is None:
            raise Unauthenticated("There is no valid sign-in with this request.")
        return await core.auth.in_tenant(ctx, optional_tenant())

    async def behind(self, connection: HTTPConnection) -> Context | None:
        """Whose session a refused request carries, for the audit; the session does not count as used."""
        cookie = connection.cookies.get(cookie_name(connection), "")
        address = connection.client.host if connection.client else None
        return await self._core().auth.by_cookie(
            cookie, Door.REST, address, correlation_of(connection), touch=False
        )

    async def _by_header(
        self, core: Core, connection: HTTPConnection, address: str | None, correlation: str
    ) -> Context | None:
        header = connection.headers.get("authorization")
        if header is None:
            return None
        await self._rates.caller(header)
        claims: Claims | None = getattr(connection.state, CLAIMS, None)
        if claims is not None:
            return await core.auth.by_claims(claims, address, correlation)
        scheme, _, value = header.partition(" ")
        ctx = (
            await core.auth.by_token(value.strip(), address, correlation)
            if scheme.lower() == "bearer"
            else None
        )
        if ctx is None:
            raise Unauthenticated("The Authorization header carries no valid API token.")
        return ctx


def cookie_name(connection: HTTPConnection) -> str:
    """`__Host-` binds the cookie to https and to this host; loopback over http cannot have it."""
    return "__Host-sc_session" if is_secure(connection) else "sc_session"


def is_secure(connection: HTTPConnection) -> bool:
    return connection.url.scheme in ("https", "wss")


def is_loopback(connection: HTTPConnection) -> bool:
    try:
        address = ip_address(connection.client.host) if connection.client is not None else None
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return address is not None and (mapped or address).is_loopback


def refuse_plain_http(connection: HTTPConnection) -> None:
    """A password or cookie over plain http is for loopback only."""
    if not is_secure(connection) and not is_loopback(connection):
        raise CrossSite("Signing in over plain http is allowed on this machine only.", hint="Use https.")


def check_same_origin(connection: HTTPConnection) -> None:
    """A cookie alone proves nothing about who made the request: changes need our own origin."""
    headers = connection.headers
    site = headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        raise CrossSite("The request came from another site.")
    method = connection.scope.get("method", "GET")
    if method in SAFE:
        return
    origin, host = headers.get("origin"), headers.get("host")
    if not same_origin(origin, host, secure=is_secure(connection)):
        unsaid = not is_secure(connection) and same_origin(origin, host, secure=True)
        raise CrossSite(
            "The request does not come from this console's own pages.", hint=BEHIND_TLS if unsaid else ""
        )


def refuse_other_sites(connection: HTTPConnection) -> None:
    """Signing in: a program says nothing about origins, a browser must say that it is on our own page.

    Without this another site could sign a visitor in to an account of its own.
    """
    if "origin" in connection.headers or "sec-fetch-site" in connection.headers:
        check_same_origin(connection)


def correlation_of(connection: HTTPConnection) -> str:
    return getattr(connection.state, "correlation_id", "-")
