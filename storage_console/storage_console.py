"""The Reflex app: the pages, the core's doors and the guard around both, as one ASGI application."""

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, cast

import reflex as rx

from storage_console import core
from storage_console.asked import refuse_unaskable
from storage_console.audit import one_page as entry_page
from storage_console.audit import page as audit_page
from storage_console.backups import one_page as backup_page
from storage_console.backups import page as backups_page
from storage_console.backups import schedules_page as backups_schedules_page
from storage_console.databases import one_page as database_page
from storage_console.databases import page as databases_page
from storage_console.jobs import one_page as job_page
from storage_console.jobs import page as jobs_page
from storage_console.login import page as login_page
from storage_console.missing import page as missing_page
from storage_console.overview import page as overview_page
from storage_console.parts.export import exports
from storage_console.profile import page as profile_page
from storage_console.providers import page as providers_page
from storage_console.security import App, Doors, Outer, Trust, trust_of
from storage_console.session import AuthMiddleware, on_error, redact_logs
from storage_console.settings import approvals_page as settings_approvals_page
from storage_console.settings import notifications_page as settings_notifications_page
from storage_console.settings import page as settings_page
from storage_console.settings import secrets_page as settings_secrets_page
from storage_console.settings import sessions_page as settings_sessions_page
from storage_console.settings import tokens_page as settings_tokens_page
from storage_console.settings import users_page as settings_users_page
from storage_console.setup import page as setup_page
from storage_console.sockets import Sockets, endable
from storage_console.tenants import page as tenants_page

if TYPE_CHECKING:
    from storage_core.api.rates import Rates

PAGES = (
    overview_page,
    login_page,
    missing_page,
    setup_page,
    providers_page,
    tenants_page,
    databases_page,
    database_page,
    backups_page,
    backup_page,
    backups_schedules_page,
    jobs_page,
    job_page,
    settings_page,
    settings_users_page,
    settings_sessions_page,
    settings_tokens_page,
    settings_secrets_page,
    settings_approvals_page,
    settings_notifications_page,
    profile_page,
    audit_page,
    entry_page,
)  # fmt: skip  # importing them registers their routes

_api: list[App] = []
_rates: list["Rates"] = []
_trust = [Trust()]


@contextlib.asynccontextmanager
async def _resources() -> AsyncIterator[None]:
    # Late, like the core itself: compiling the pages needs none of it.
    from storage_core.admin import install
    from storage_core.api.app import create_app
    from storage_core.bootstrap import OPERATIONS

    async with core.opened() as opened:
        _trust.append(trust_of(opened.settings))
        redact_logs()
        api = create_app(core.core, OPERATIONS)
        install(api, core.core)
        async with api.router.lifespan_context(api):
            _api.append(api)
            _rates.append(api.state.rates)
            try:
                async with Sockets(app).watched():
                    yield
            finally:
                _rates.remove(api.state.rates)
                _api.remove(api)


async def _arrive(address: str | None) -> None:
    """Each connection of a page counts like a request of its address."""
    if _rates:
        await _rates[-1].arrive(address, "GET", "/_event")


async def _event(address: str | None, cookie: str) -> None:
    """Each event counts like a request of its address, and of its sign-in."""
    await _arrive(address)
    if _rates and cookie:
        await _rates[-1].caller(cookie)


def _guarded(inner: App) -> App:
    doors = Doors(endable(inner), lambda: _api[-1] if _api else None, exports())
    return Outer(doors, lambda: _trust[-1], _arrive)


app = rx.App(
    head_components=[
        rx.el.link(rel="icon", href="/favicon.svg", type="image/svg+xml"),
        rx.el.meta(name="color-scheme", content="light dark"),
    ],
    stylesheets=["/console.css", "/pages.css"],
    html_lang="en",
    toaster=rx.toast.provider(position="bottom-right", close_button=True, rich_colors=False),
    api_transformer=_guarded,
    backend_exception_handler=cast("Any", on_error),  # answers an Event, which Reflex sends like an EventSpec
)
app.app_wraps.pop((5, "Overlay"), None)  # the frame has a banner of its own for a lost connection
app.add_middleware(AuthMiddleware())
refuse_unaskable(app, _event)
app.register_lifespan_task(_resources)
