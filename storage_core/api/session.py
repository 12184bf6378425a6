"""What every way of signing in shares: the session's cookie, where one goes on, the caller's address."""

from html import escape
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import HTMLResponse, Response

from ..bootstrap import Core
from ..domain.errors import StorageError, TooManyRequests
from ..domain.identity import SESSION_ABSOLUTE
from ..domain.onward import local_path
from ..services.sign_in import SignedIn
from .context import cookie_name, is_secure


def set_session(request: Request, response: Response, signed: SignedIn) -> None:
    """Give the browser the fresh session's cookie."""
    response.headers["cache-control"] = "no-store"
    response.set_cookie(
        cookie_name(request),
        signed.cookie,
        max_age=int(SESSION_ABSOLUTE.total_seconds()),
        path="/",
        secure=is_secure(request),
        httponly=True,
        samesite="strict",
    )


def told(path: str, error: StorageError) -> str:
    """A path of our own with the refusal's code for the page to speak of, and how long to wait where it says so."""
    wait = f"&wait={error.retry_after}" if isinstance(error, TooManyRequests) else ""
    return f"{path}{'&' if '?' in path else '?'}error={error.code}{wait}"


def going_on(title: str, place: str) -> HTMLResponse:
    """A page of our own that goes on by itself, to a path of ours or an address of the identity provider's.

    After signing in a redirect would still count as coming from the provider's site, and the session's cookie,
    SameSite=Strict, would stay behind; after signing out the policy on forms would not let one lead to the provider.
    """
    there = escape(quote(place, safe="/?&=%:@+,;~-._!*'()"), quote=True)
    return HTMLResponse(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title} · Storage Console</title>'
        f'<meta http-equiv="refresh" content="0;url={there}"></head>'
        f'<body><main><h1>{title}</h1><p><a href="{there}">Continue</a></p></main></body></html>',
        headers={"cache-control": "no-store"},
    )


def address_of(request: Request) -> str | None:
    return request.client.host if request.client else None


async def first_page(core: Core, wanted: str, user_id: str) -> str:
    """The page that was asked for, else the one this user likes to begin with."""
    return wanted if wanted != "/" else local_path(await core.preferences.start_page(user_id))
