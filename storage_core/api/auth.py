"""Sign-in by hand: login, logout, setup, me. Browser forms get redirects, programs JSON."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response

from ..bootstrap import Core
from ..domain.errors import InvalidRequest, Malformed, StorageError, Unauthenticated
from ..domain.onward import local_path
from ..services.sign_in import SignedIn
from .context import (
    Callers,
    check_same_origin,
    cookie_name,
    correlation_of,
    is_secure,
    refuse_other_sites,
    refuse_plain_http,
)
from .errors import RESPONSES
from .session import address_of, first_page, going_on, set_session, told

MAX_FIELD = 1024

_TEXT = {
    "username": ("The name to sign in with.", "ann"),
    "password": ("The password.", "correct horse battery staple"),
    "token": ("The one-time token of the setup link.", "Zx0…"),
}
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    code: RESPONSES[code] for code in (400, 401, 403, 413, 422, 429)
}


def router(core: Callable[[], Core], callers: Callers) -> APIRouter:
    """The routes under /api/auth."""
    out = APIRouter(prefix="/api/auth", tags=["auth"])

    @out.post(
        "/login",
        operation_id="auth.login",
        summary="Sign in",
        description="Opens a session and sets its cookie. JSON answers 200 or 401, a browser's form 303.",
        responses=_PROBLEMS,
        openapi_extra=_body("username", "password"),
    )
    async def login(request: Request) -> Response:
        form, data = await _fields(request, "username", "password")
        try:
            _guard(request, form=form)
            signed = await _login(core(), request, data)
        except StorageError as error:
            if form:
                wanted = local_path(request.query_params.get("next"))
                again = told("/login", error)
                return RedirectResponse(
                    again if wanted == "/" else f"{again}&next={quote(wanted, safe='')}", 303
                )
            raise
        wanted = local_path(request.query_params.get("next"))
        return _signed_in(request, signed, await first_page(core(), wanted, signed.user.id) if form else None)

    @out.post(
        "/renew",
        operation_id="auth.renew",
        summary="Prove again who you are",
        description=(
            "Some operations want a sign-in of the last five minutes (`sign_in_again`). The session of the cookie "
            "stays the same. JSON answers 200 or 401, a browser's form 303 to the page named by `next`."
        ),
        responses=_PROBLEMS,
        openapi_extra=_body("password"),
    )
    async def renew(request: Request) -> Response:
        form, data = await _fields(request, "password")
        onward = local_path(request.query_params.get("next"))
        try:
            _guard(request, form=True)
            cookie = request.cookies.get(cookie_name(request), "")
            at = await core().auth.renew(
                cookie, data["password"], address_of(request), correlation_of(request)
            )
        except StorageError as error:
            if not form:
                raise
            ended = error.code == Unauthenticated.code
            return RedirectResponse(told("/login" if ended else onward, error), 303)
        return RedirectResponse(onward, 303) if form else JSONResponse({"signed_in_at": at.isoformat()})

    @out.post(
        "/logout",
        operation_id="auth.logout",
        summary="Sign out",
        description=(
            "Ends the session of the cookie, for good. JSON answers 200; a browser's form 303 to the sign-in page, or "
            "a page that goes on to the identity provider, so that whoever signed in there signs out there too."
        ),
        responses={403: RESPONSES[403]},
    )
    async def logout(request: Request) -> Response:
        check_same_origin(request)
        cookie = request.cookies.get(cookie_name(request))
        who = await core().auth.logout(cookie, correlation_of(request)) if cookie is not None else None
        response: Response = JSONResponse({})
        if _is_form(request):
            there = await core().federation.leaving(who) if who is not None else None
            response = RedirectResponse("/login", 303) if there is None else going_on("Signed out", there)
        response.delete_cookie(
            cookie_name(request), path="/", secure=is_secure(request), httponly=True, samesite="strict"
        )
        return response

    @out.post(
        "/setup",
        operation_id="auth.setup",
        summary="Create the first SuperAdmin with the one-time link",
        description="Works once, within 15 minutes of the first start; 410 afterwards. Signs in as well.",
        responses={**_PROBLEMS, 410: {**RESPONSES[409], "description": "The link was used or is too old"}},
        openapi_extra=_body("token", "username", "password"),
    )
    async def setup(request: Request) -> Response:
        form, data = await _fields(request, "token", "username", "password")
        try:
            _guard(request, form=form)
            address, correlation = address_of(request), correlation_of(request)
            await core().auth.claim_setup(
                data["token"], data["username"], data["password"], address, correlation
            )
            signed = await _login(core(), request, data)
        except StorageError as error:
            if form:
                return RedirectResponse(told(f"/setup?token={quote(data['token'])}", error), 303)
            raise
        return _signed_in(request, signed, "/" if form else None)

    @out.get(
        "/me",
        operation_id="auth.me",
        summary="Who am I",
        description="The caller, the tenant the call is narrowed to, the roles it holds; when a person last proved who they are, and how they do it again.",
        responses={401: RESPONSES[401]},
    )
    async def me(request: Request) -> dict[str, Any]:
        ctx = await callers(request)
        renewed_by = None
        if ctx.session_id is None:
            ctx = await core().auth.active(ctx)  # a program of a suspended tenant is refused everywhere
        else:
            renewed_by = "password" if await core().auth.has_password(ctx.actor.id) else "oidc"
        return {
            "id": ctx.actor.id,
            "name": ctx.actor.name,
            "tenant_id": ctx.tenant_id,
            "signed_in_at": ctx.signed_in_at,
            "renewed_by": renewed_by,
            "grants": [{"role": g.role, "scope": g.scope.kind, "scope_id": g.scope.id} for g in ctx.grants],
        }

    return out


async def _login(core: Core, request: Request, data: dict[str, str]) -> SignedIn:
    agent, correlation = request.headers.get("user-agent", ""), correlation_of(request)
    signed = await core.auth.login(
        data["username"], data["password"], address_of(request), agent, correlation
    )
    if (before := request.cookies.get(cookie_name(request))) is not None:
        await core.auth.logout(
            before, correlation
        )  # the browser forgets it now: nobody else may go on with it
    return signed


def _signed_in(request: Request, signed: SignedIn, onward: str | None) -> Response:
    """The fresh session's cookie; with `onward` a redirect there, else JSON."""
    response: Response = (
        JSONResponse({"id": signed.user.id, "username": signed.user.username})
        if onward is None
        else RedirectResponse(onward, 303)
    )
    set_session(request, response, signed)
    return response


def _guard(request: Request, *, form: bool) -> None:
    """No password over plain http from afar, and none that another site sends in a visitor's name."""
    refuse_plain_http(request)
    if form:
        check_same_origin(request)
    else:
        refuse_other_sites(request)


def _is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")


async def _fields(request: Request, *names: str) -> tuple[bool, dict[str, str]]:
    """The fields of a form or a JSON object; says which it was. A form's missing field is empty."""
    form = _is_form(request)
    if form:
        given: Any = dict(await request.form())
    else:
        try:
            given = await request.json()
        except (ValueError, RecursionError):
            raise Malformed("The body is not JSON.", hint="Send a JSON object.") from None
    out = {}
    for name in names:
        value = given.get(name) if isinstance(given, dict) else None
        if not isinstance(value, str) or not value or len(value) > MAX_FIELD:
            if not form:
                raise InvalidRequest(f"{name} is missing or too long.", field=name)
            value = ""
        out[name] = value
    return form, out


def _body(*names: str) -> dict[str, Any]:
    """The request's description for OpenAPI: these routes read form and JSON themselves."""
    properties = {
        n: {"type": "string", "minLength": 1, "maxLength": MAX_FIELD, "description": _TEXT[n][0]}
        for n in names
    }
    schema = {"type": "object", "required": list(names), "properties": properties}
    content = {"schema": schema, "example": {n: _TEXT[n][1] for n in names}}
    kinds = ("application/json", "application/x-www-form-urlencoded")
    return {"requestBody": {"required": True, "content": dict.fromkeys(kinds, content)}}
