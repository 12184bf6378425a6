"""The role matrix, walked: every operation, route, page handler and command by 4 roles in 2 tenants.

The table below is the specification, written apart from the product's own data. What is not in it fails.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import click
import httpx
import pytest
from reflex_base.registry import RegistrationContext
from starlette.routing import Route

from storage_console import session
from storage_console import storage_console as app_module
from storage_core.cli import build
from storage_core.domain.context import Actor, ActorKind, Context, local_context
from storage_core.domain.permission import Grant, Role, Scope, ScopeKind
from storage_core.services.operation import Effect
from storage_core.wire import parts, route
from tests.integration.doors import BY_NAME, Doors
from tests.integration.stage import Stage

#: operation -> cells of SuperAdmin Admin Operator Viewer, and where its target lies: in a tenant (t), on a provider
#: or in the system (s), or nowhere in particular (l: lists, one's own).
#: Y yes, C the exact name typed, 2 a second person while that rule is on, o one's own only, - no.
SPEC: dict[str, tuple[str, str]] = {
    "approvals.approve": ("- - - -", "t"),  # for people signed in; the callers here are tokens
    "approvals.list": ("Y Y - -", "l"),
    "approvals.refuse": ("Y Y - -", "t"),
    "audit.export": ("Y Y o -", "l"),
    "audit.get": ("Y Y o -", "s"),
    "audit.heads": ("Y Y o -", "s"),
    "audit.list": ("Y Y o -", "l"),
    "audit.verify": ("Y Y o -", "l"),
    "backups.create": ("Y Y Y -", "t"),
    "backups.delete": ("2 2 - -", "t"),
    "backups.forecast": ("Y Y Y Y", "t"),
    "backups.get": ("Y Y Y Y", "t"),
    "backups.list": ("Y Y Y Y", "l"),
    "backups.hold": ("Y Y - -", "t"),
    "backups.pin": ("Y Y Y -", "t"),
    "backups.release": ("2 2 - -", "t"),
    "backups.restore": ("Y Y - -", "t"),
    "backups.runs": ("Y Y Y Y", "l"),
    "backups.schedule": ("Y Y - -", "t"),
    "backups.schedules": ("Y Y Y Y", "l"),
    "backups.status": ("Y Y Y Y", "t"),
    "backups.undelete": ("Y Y Y -", "t"),
    "backups.unpin": ("2 2 - -", "t"),
    "backups.unschedule": ("Y Y - -", "t"),
    "backups.verify": ("Y Y Y -", "t"),
    "collections.drop": ("Y Y Y -", "t"),
    "collections.index": ("Y Y Y -", "t"),
    "collections.prepare": ("Y Y Y -", "t"),
    "collections.unindex": ("Y Y Y -", "t"),
    "databases.adopt": ("Y Y - -", "s"),
    "databases.configure": ("Y Y Y -", "t"),
    "databases.create": ("Y Y Y -", "t"),
    "databases.delete": ("C C - -", "t"),
    "databases.encrypt": ("Y Y Y -", "t"),
    "databases.existing": ("Y Y - -", "s"),
    "databases.get": ("Y Y Y Y", "t"),
    "databases.lease": ("Y Y Y -", "t"),
    "databases.leases": ("Y Y Y -", "l"),
    "databases.list": ("Y Y Y Y", "l"),
    "databases.open": ("Y Y Y -", "t"),
    "databases.optimize": ("Y Y Y -", "t"),
    "databases.release": ("Y Y Y -", "t"),
    "databases.schema": ("Y Y Y -", "t"),
    "databases.stats": ("Y Y Y Y", "t"),
    "engines.list": ("Y - - -", "s"),
    "engines.start": ("Y - - -", "s"),
    "engines.stop": ("Y - - -", "s"),
    "filters.create": ("Y Y Y Y", "l"),
    "filters.delete": ("o o o o", "l"),
    "filters.list": ("Y Y Y Y", "l"),
    "grants.create": ("Y Y - -", "t"),
    "grants.list": ("Y Y - -", "l"),
    "grants.revoke": ("Y Y - -", "t"),
    "jobs.cancel": ("Y Y o -", "t"),
    "jobs.get": ("Y Y Y Y", "t"),
    "jobs.list": ("Y Y Y Y", "l"),
    "jobs.retry": ("Y Y o -", "t"),
    "notifications.create": ("Y Y - -", "t"),
    "notifications.delete": ("Y Y - -", "t"),
    "notifications.list": ("Y Y - -", "l"),
    "notifications.test": ("Y Y - -", "t"),
    "notifications.update": ("Y Y - -", "t"),
    "preferences.show": ("Y Y Y Y", "l"),
    "preferences.update": ("Y Y Y Y", "l"),
    "providers.create": ("Y Y - -", "s"),
    "providers.delete": ("C C - -", "s"),
    "providers.get": ("Y Y Y Y", "l"),
    "providers.list": ("Y Y Y Y", "l"),
    "providers.test": ("Y Y Y -", "l"),
    "providers.update": ("Y Y - -", "s"),
    "records.delete": ("Y Y Y -", "t"),
    "records.get": ("Y Y Y -", "t"),
    "records.insert": ("Y Y Y -", "t"),
    "records.list": ("Y Y Y -", "t"),
    "records.query": ("Y Y Y -", "t"),
    "records.update": ("Y Y Y -", "t"),
    "secrets.credentials": ("Y Y - -", "s"),
    "secrets.export_recovery": ("2 - - -", "s"),
    "secrets.list": ("Y Y - -", "l"),
    "secrets.rotate": ("Y Y - -", "s"),  # of a tenant made for the question
    "secrets.rotate_master": ("2 - - -", "s"),
    "secrets.validate": ("Y Y - -", "s"),
    "sessions.list": ("Y Y Y Y", "l"),
    "sessions.revoke": ("Y Y o o", "t"),
    "settings.list": ("Y - - -", "s"),
    "settings.update": ("C - - -", "s"),
    "tenants.create": ("Y - - -", "s"),
    "tenants.delete": ("2 - - -", "s"),
    "tenants.get": ("Y Y Y Y", "t"),
    "tenants.list": ("Y Y Y Y", "l"),
    "tenants.policies": ("Y - - -", "s"),
    "tenants.resume": ("Y - - -", "s"),
    "tenants.suspend": ("2 - - -", "s"),
    "tenants.update": ("Y Y - -", "t"),
    "tenants.usage": ("Y Y Y Y", "t"),
    "tokens.create": ("Y Y Y Y", "l"),
    "tokens.list": ("Y Y Y Y", "l"),
    "tokens.revoke": ("Y Y o o", "t"),
    "users.create": ("Y Y - -", "t"),
    "users.disable": ("Y Y - -", "t"),
    "users.list": ("Y Y - -", "l"),
    "users.password": ("- - - -", "l"),  # for people signed in; the callers here are tokens
    "users.update": ("Y Y - -", "t"),
}
#: Routes made by hand: public ones, and those any valid sign-in opens.
PUBLIC = {
    ("POST", "/api/auth/login"),
    ("POST", "/api/auth/logout"),
    ("POST", "/api/auth/setup"),
    ("GET", "/api/auth/oidc"),
    ("GET", "/api/auth/oidc/callback"),
    ("GET", "/api/auth/oidc/renew"),  # leads strangers to the sign-in page
    ("GET", "/api/docs"),
    ("GET", "/api/openapi.json"),
    ("GET", "/health/live"),
    ("GET", "/health/ready"),
}
SIGNED_IN = {
    ("POST", "/api/auth/renew"),
    ("GET", "/api/auth/me"),
    ("GET", "/api/storage/events"),
    ("GET", "/metrics"),
}
#: Commands that are no operations: they work on the home of whoever runs them.
LOCAL_COMMANDS = {"worker", "openapi", "unlock", "migrate"}
REFUSED = {"forbidden", "not_found"}
#: The stage asks these about something that is not on the engine, so that nothing is started or taken.
NOT_THERE = {"databases.adopt", "engines.stop"}


@pytest.fixture(scope="module")
async def stages(shared: Doors, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Stage]:
    out = {}
    for name in ("acme", "other"):
        folder = tmp_path_factory.mktemp(name) / "root"
        out[name] = Stage(shared, folder, name, f"tenant:{name}")
        await out[name].set()
    return out


def test_every_operation_has_its_row() -> None:
    assert set(SPEC) == set(BY_NAME)


def cell_of(name: str, role: Role) -> str:
    return SPEC[name][0].split()[list(Role).index(role)]


async def answer(doors: Doors, name: str, role: Role, scope: str, fields: dict[str, Any]) -> str:
    """What REST says: ok, or the problem's code."""
    op = BY_NAME[name]
    path, query, body = parts(op, op.request(**fields))
    async with doors.rest(role, scope) as http:
        response = await http.request(route(op).method, path, params=query, json=body)
    return "ok" if response.is_success else str(response.json()["code"])


@pytest.mark.parametrize("name", sorted(SPEC))
async def test_each_operation_by_each_role_in_and_outside_its_tenant(
    shared: Doors, stages: dict[str, Stage], name: str
) -> None:
    level = SPEC[name][1]
    for role in Role:
        cell = cell_of(name, role)
        for scope, tenant in (("tenant:acme", "acme"), ("tenant:acme", "other"), ("global", "other")):
            code = await answer(shared, name, role, scope, await stages[tenant].request(name))
            where = (name, role, scope, tenant, code)
            own_only = cell == "o"  # the things asked about are somebody else's
            outside = scope != "global" and (level == "s" or (level == "t" and tenant == "other"))
            if cell == "-" or outside or (own_only and level != "l"):
                assert code in REFUSED, where
            elif own_only:
                assert code in {"ok", *REFUSED}, where
            elif name in NOT_THERE:
                assert code == "not_found", where
            else:
                assert code not in {*REFUSED, "unauthenticated", "confirmation_required"}, where


@pytest.mark.parametrize("name", sorted(n for n in SPEC if {"C", "2"} & set(SPEC[n][0].split())))
async def test_danger_needs_the_typed_name(shared: Doors, stages: dict[str, Stage], name: str) -> None:
    fields = await stages["acme"].request(name)
    for typed in ("", "something else"):
        code = await answer(shared, name, Role.SUPER_ADMIN, "global", {**fields, "confirm": typed})
        assert code == "confirmation_required"


def routes(app: Any) -> Iterator[tuple[str, str]]:
    for found in app.routes:
        if isinstance(found, Route):
            yield from ((method, found.path) for method in (found.methods or ()) if method != "HEAD")
        else:  # an included router; whatever else would be mounted here must be walked, too
            yield from routes(found.original_router)


async def test_every_route_is_an_operation_or_named_above(shared: Doors) -> None:
    operations = {(route(op).method, route(op).path) for op in BY_NAME.values()}
    assert set(routes(shared.app)) == operations | PUBLIC | SIGNED_IN


async def test_what_is_not_public_asks_who_is_there(shared: Doors) -> None:
    async with shared.rest(None) as http:
        for method, path in sorted(set(routes(shared.app)) - PUBLIC):
            body = None if method in ("GET", "DELETE") else {"password": "something"}
            response = await http.request(method, path.replace("{id}", "x"), json=body)
            # 403: what a cookie changes asks for our own origin before it asks who is there
            assert response.status_code in (401, 403), (method, path)


async def test_a_valid_sign_in_of_any_role_opens_the_rest(shared: Doors) -> None:
    for role in Role:
        for scope in ("global", "tenant:acme"):
            async with shared.rest(role, scope) as http:
                me: httpx.Response = await http.get("/api/auth/me")
                assert me.json()["grants"][0]["role"] == role
                assert (await http.get("/metrics")).status_code == 200


# pages


def caller(role: Role, scope: Scope) -> Context:
    ctx = local_context("x", "test")
    return replace(ctx, actor=Actor("u", "u", ActorKind.USER), grants=(Grant(role, scope),))


#: permission -> cells: what a role must hold somewhere before a page's handler of that mark is even begun.
MARKS = {
    "signed_in": "Y Y Y Y",
    "inventory.read": "Y Y Y Y",
    "status.read": "Y Y Y Y",
    "token.own": "Y Y Y Y",
    "provider.inspect": "Y Y Y -",
    "provider.write": "Y Y - -",
    "provider.delete": "Y Y - -",
    "tenant.admin": "Y - - -",
    "tenant.update": "Y Y - -",
    "tenant.danger": "Y - - -",
    "database.write": "Y Y Y -",
    "database.adopt": "Y Y - -",
    "database.delete": "Y Y - -",
    "backup.run": "Y Y Y -",
    "backup.plan": "Y Y - -",
    "backup.delete": "Y Y - -",
    "restore.new": "Y Y - -",
    "job.control": "Y Y Y -",
    "user.manage": "Y Y - -",
    "notification.manage": "Y Y - -",
    "approval.decide": "Y Y - -",
    "settings.read": "Y - - -",
    "settings.write": "Y - - -",
    "secret.manage": "Y Y - -",
    "master_key": "Y - - -",
    "audit.read": "Y Y Y -",
    "records.read": "Y Y Y -",
    "records.write": "Y Y Y -",
    "server.manage": "Y - - -",
}


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize(
    "scope", [Scope(), Scope(ScopeKind.TENANT, "acme"), Scope(ScopeKind.TENANT, "other")]
)
def test_every_page_handler_by_each_role(role: Role, scope: Scope) -> None:
    assert app_module
    ctx = caller(role, scope)
    walked = 0
    for name, registered in RegistrationContext.get().event_handlers.items():
        if not registered.states or not registered.states[0].__module__.startswith("storage_console."):
            continue
        event = session.Event(name=name, payload={})
        passes, stranger = session._gate(event, ctx) is None, session._gate(event, None) is None
        mark = getattr(registered.handler.fn, session.MARK, None)
        if name.endswith(".setvar"):
            assert not passes and not stranger, name
        elif mark == session.PUBLIC:
            assert passes and stranger, name
        else:
            assert not stranger, name
            assert mark in MARKS, (name, mark)
            assert passes == (MARKS[mark].split()[list(Role).index(role)] != "-"), (name, role)
        walked += 1
    assert walked > 100


# commands


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    ctx = click.Context(group)
    for name in group.list_commands(ctx):
        found = group.get_command(ctx, name)
        if isinstance(found, click.Group):
            yield from commands(found, (*path, name))
        else:
            yield (*path, name)


def test_every_command_is_an_operation_or_works_on_the_home_alone() -> None:
    for path in commands(build()):
        known = ".".join(path).replace("-", "_") in BY_NAME
        assert known or path[0] in LOCAL_COMMANDS, path
    walked = {".".join(p).replace("-", "_") for p in commands(build())}
    assert set(BY_NAME) <= walked


def test_reads_change_nothing_by_their_declaration() -> None:
    """A GET is safe to repeat and to prefetch: only operations that read are GETs."""
    for op in BY_NAME.values():
        if route(op).method == "GET":
            assert op.effect is Effect.READ, op.name
