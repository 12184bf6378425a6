"""Signing in with the identity provider: out to it, and back. Both are visited by browsers, so refusals are pages."""

import logging
from collections.abc import Callable

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from ..bootstrap import Core
from ..domain.errors import SignInExpired, StorageError
from ..domain.federation import FLOW_LIFE
from ..domain.onward import local_path
from .context import check_same_origin, cookie_name, correlation_of, is_secure, refuse_plain_http
from .session import address_of, first_page, going_on, set_session, told

log = logging.getLogger(__name__)


def router(core: Callable[[], Core]) -> APIRouter:
    """The routes under /api/auth/oidc; NotFound where no provider is configured."""
    out = APIRouter(prefix="/api/auth/oidc", tags=["auth"])

    @out.get(
        "",
        operation_id="auth.oidc",
        summary="Sign in with the identity provider",
        description="For browsers: 303 to the provider, or to the sign-in page with what went wrong.",
        status_code=303,
        response_class=RedirectResponse,
    )
    async def begin(request: Request) -> Response:
        try:
            refuse_plain_http(request)
            begun = await core().federation.begin(local_path(request.query_params.get("next")))
        except StorageError as error:
            return _failed(error, "/login")
        return _sent(request, begun.address, begun.cookie)

    @out.get(
        "/renew",
        operation_id="auth.oidc_renew",
        summary="Prove again who you are, at the identity provider",
        description="Like `POST /api/auth/renew`, for people without a password here; ends at the path `next`.",
        status_code=303,
        response_class=RedirectResponse,
    )
    async def renew(request: Request) -> Response:
        onward = local_path(request.query_params.get("next"))
        try:
            refuse_plain_http(request)
            check_same_origin(request)
            cookie = request.cookies.get(cookie_name(request), "")
            begun = await core().federation.begin_renewal(cookie, onward)
        except StorageError as error:
            return _failed(error, onward if error.status >= 500 else "/login")
        return _sent(request, begun.address, begun.cookie)

    @out.get(
        "/callback",
        operation_id="auth.oidc_callback",
        summary="Back from the identity provider",
        description="Ends what was begun by this browser, once: a page with the session's cookie that goes on.",
        response_class=HTMLResponse,
        responses={303: {"description": "Refused: to the sign-in page, with the reason's code"}},
    )
    async def callback(request: Request) -> Response:
        try:
            refuse_plain_http(request)
            said = dict(request.query_params.multi_items())
            if len(said) != len(request.query_params.multi_items()):
                raise SignInExpired("The identity provider's answer says something twice.")
            arrived = await core().federation.finish(
                request.cookies.get(_flow_cookie(request), ""),
                said,
                address_of(request),
                request.headers.get("user-agent", ""),
                correlation_of(request),
            )
        except StorageError as error:
            response = _failed(error, "/login")
        else:
            onward = arrived.onward
            if arrived.signed is not None:
                onward = await first_page(core(), onward, arrived.signed.user.id)
            response = going_on("Signed in", onward)
            if arrived.signed is not None:
                set_session(request, response, arrived.signed)
        response.delete_cookie(
            _flow_cookie(request), path="/", secure=is_secure(request), httponly=True, samesite="lax"
        )
        return response

    return out


def _flow_cookie(request: Request) -> str:
    return "__Host-sc_flow" if is_secure(request) else "sc_flow"


def _sent(request: Request, address: str, cookie: str) -> Response:
    """To the provider, with the flow's cookie: `lax`, since it must come back from another site."""
    response = RedirectResponse(address, 303, headers={"cache-control": "no-store"})
    response.set_cookie(
        _flow_cookie(request),
        cookie,
        max_age=int(FLOW_LIFE.total_seconds()),
        path="/",
        secure=is_secure(request),
        httponly=True,
        samesite="lax",
    )
    return response


def _failed(error: StorageError, page: str) -> Response:
    if error.status >= 500:
        log.warning("signing in with the identity provider: %s", error.detail)
    return RedirectResponse(told(page, error), 303, headers={"cache-control": "no-store"})
