"""The walk of the admin views: every view and act by every role, on things of their own tenant and of another."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.routing import Route

from storage_core.domain.permission import Role
from storage_core.domain.provider import Endpoint
from tests.integration.admin_site import AdminSite, admin_at
from tests.integration.homes import a_postgresql_database

ACTS = ("list", "details", "create", "edit", "delete", "export", "lookup", "save", "remove")
#: What answers SuperAdmin, then Admin of a tenant: on their own tenant's things, on another tenant's.
#: Everybody else is refused. ok: the page; `-` 403; `0` 404, as if it were not there.
#: `wrong` is a form sent with a value that the operation refuses in words.
WALK: dict[str, dict[str, str]] = {
    "provider": {
        "list": "ok ok ok", "details": "ok ok ok", "create": "ok - -", "edit": "ok - -", "delete": "ok - -",
        "export": "ok ok ok", "lookup": "ok ok ok", "save": "wrong - -", "remove": "wrong - -",
    },
    "database": {
        "list": "ok ok ok", "details": "ok ok 0", "create": "ok ok ok", "edit": "ok ok 0", "delete": "ok ok 0",
        "export": "ok ok ok", "lookup": "ok ok ok", "save": "wrong wrong 0", "remove": "wrong wrong 0",
    },
    "backup": {
        "list": "ok ok ok", "details": "ok ok 0", "create": "ok ok ok", "edit": "0 0 0", "delete": "ok ok 0",
        "export": "ok ok ok", "lookup": "ok ok ok", "save": "0 0 0", "remove": "wrong wrong 0",
    },
    "tenant": {
        "list": "ok ok ok", "details": "ok ok 0", "create": "ok - -", "edit": "ok ok 0", "delete": "ok - 0",
        "export": "ok ok ok", "lookup": "0 0 0", "save": "wrong wrong 0", "remove": "wrong - 0",
    },
    "audit": {
        "list": "ok ok ok", "details": "ok ok 0", "create": "0 0 0", "edit": "0 0 0", "delete": "0 0 0",
        "export": "ok ok ok", "lookup": "0 0 0", "save": "0 0 0", "remove": "0 0 0",
    },
}  # fmt: skip
STATUS = {"ok": {200}, "-": {403}, "0": {404}, "wrong": {422}}
WRONG = {"provider": {"name": "No Good!"}, "database": {"settings": "no_such = 1"}, "tenant": {"title": " "}}
LOOKUPS = {"provider": "proof_provider_id", "database": "tenant_id", "backup": "database_id"}
VISITORS = (
    *((role, f"tenant:{own}") for role in (Role.ADMIN, Role.OPERATOR, Role.VIEWER) for own in ("acme", "globex")),
    (Role.SUPER_ADMIN, "global"), (None, ""),
)  # fmt: skip


#: The matrix is the product's, whatever keeps the catalog; the other one's queries are asked by those who may.
WALKS = (
    *(("sqlite", *visitor) for visitor in VISITORS),
    *(("postgresql", role, scope) for role, scope in VISITORS if role is Role.SUPER_ADMIN or (scope == "tenant:acme"
      and role is Role.ADMIN)),
)  # fmt: skip
ONCE = pytest.mark.parametrize("admin", ["sqlite"], indirect=True)


@pytest.fixture(scope="module")
async def admin(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    postgresql_server: tuple[Endpoint, str],
) -> AsyncIterator[AdminSite]:
    folder: Path = tmp_path_factory.mktemp("walk")
    if request.param == "sqlite":
        async with admin_at(folder) as opened:
            yield opened
        return
    async with a_postgresql_database(postgresql_server) as url, admin_at(folder, catalog_url=url) as opened:
        yield opened


async def call(client: httpx.AsyncClient, view: str, act: str, key: str) -> httpx.Response:
    base = f"/admin/{view}"
    match act:
        case "list":
            return await client.get(f"{base}/list")
        case "create":
            return await client.get(f"{base}/create")
        case "export":
            return await client.get(f"{base}/export/csv")  # one route for all kinds of files
        case "lookup":
            ask = {"name": LOOKUPS.get(view, "tenant_id"), "term": "o"}
            return await client.get(f"{base}/ajax/lookup", params=ask)
        case "save":
            return await client.post(f"{base}/edit/{key}", data=WRONG.get(view, {}))
        case "remove":
            return await client.post(f"{base}/delete/{key}", data={"confirm": "something else"})
        case _:
            return await client.get(f"{base}/{act}/{key}")


def key_of(admin: AdminSite, view: str, tenant: str) -> str:
    return admin.rows.get((view, tenant)) or admin.rows[view, ""]


def expected(role: Role | None, scope: str, tenant: str, cells: str) -> set[int]:
    if role is None:
        return {303, 401}
    if role in (Role.OPERATOR, Role.VIEWER):
        return {403}
    everything, own, other = cells.split()
    if role is Role.SUPER_ADMIN:
        return STATUS[everything]
    return STATUS[own if scope == f"tenant:{tenant}" else other]


@pytest.mark.parametrize(("admin", "role", "scope"), WALKS, indirect=["admin"])
async def test_every_view_and_act_answers_as_the_matrix_says(
    admin: AdminSite, role: Role | None, scope: str
) -> None:
    wrong: list[str] = []
    before = await _state(admin)
    async with admin.visitor(role, scope) as client:
        for tenant in ("acme", "globex"):
            for view, acts in WALK.items():
                for act in ACTS:
                    answer = await call(client, view, act, key_of(admin, view, tenant))
                    wanted = expected(role, scope, tenant, acts[act])
                    if answer.status_code not in wanted:
                        wrong.append(f"{view} {act} of {tenant}: {answer.status_code}, not {wanted}")
    assert not wrong, "\n".join(wrong)
    assert await _state(admin) == before


async def _state(admin: AdminSite) -> Any:
    nouns = ("providers", "databases", "backups", "tenants")
    return [(await admin.doors.call(f"{noun}.list", limit=500)).items for noun in nouns]


@ONCE
async def test_every_refusal_of_somebody_known_is_noted(admin: AdminSite) -> None:
    for role in (Role.ADMIN, Role.OPERATOR):
        async with admin.visitor(role, "tenant:acme") as client:
            for view, acts in WALK.items():
                for act in ACTS:
                    refused = expected(role, "tenant:acme", "globex", acts[act])
                    known = acts[act].split()[0] != "0"  # what nobody can do is no refusal
                    if not (refused & {403, 404}) or (role is Role.ADMIN and not known) or act == "lookup":
                        continue
                    before = await admin.count(phase="refused", door="admin")
                    answer = await call(client, view, act, key_of(admin, view, "globex"))
                    after = await admin.count(phase="refused", door="admin")
                    assert after > before, f"{role} {view} {act}: {answer.status_code}"


@ONCE
def test_nothing_is_left_out(admin: AdminSite) -> None:
    """A view or a route that the walk does not know fails here."""
    assert {view.identity for view in admin.site.ours} == set(WALK)
    assert len(admin.site.views) == len(WALK)
    assert all(set(acts) == set(ACTS) for acts in WALK.values())
    routes = {
        (r.name, tuple(sorted(r.methods or ())))
        for r in admin.site.admin.router.routes
        if isinstance(r, Route)
    }
    walked = {("list", "GET"), ("details", "GET"), ("create", "GET POST"), ("edit", "GET POST"),
              ("delete", "GET POST"), ("export", "GET"), ("ajax_lookup", "GET"), ("index", "GET")}  # fmt: skip
    assert {(name, " ".join(m for m in methods if m != "HEAD")) for name, methods in routes} == walked
    assert [r.name for r in admin.site.admin.router.routes if not isinstance(r, Route)] == ["statics"]


@ONCE
def test_no_view_has_an_action_or_an_import(admin: AdminSite) -> None:
    for view in admin.site.ours:
        assert not view.can_import
        assert not view._custom_actions_in_list
        assert not view._custom_actions_in_detail
