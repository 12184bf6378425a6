"""The admin views: our session, our roles, our origin check, our operations; nothing of SQLAdmin's own."""

import csv
import io
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from python_calamine import CalamineWorkbook

from storage_core.admin import views
from storage_core.domain.context import Door
from storage_core.domain.identity import UserGrant
from storage_core.domain.permission import Role, ScopeKind
from storage_core.domain.tenant import Tenant
from tests.integration.admin_site import TENANTS, AdminSite, admin_at, alerts
from tests.integration.doors import PASSWORD

SCOPED = ("database", "backup", "tenant", "audit")


@pytest.fixture(scope="module")
async def admin(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AdminSite]:
    async with admin_at(tmp_path_factory.mktemp("admin")) as opened:
        yield opened


@pytest.fixture
async def fresh(tmp_path: Path) -> AsyncIterator[AdminSite]:
    async with admin_at(tmp_path) as opened:
        yield opened


async def super_admin(admin: AdminSite) -> AsyncIterator[httpx.AsyncClient]:
    async with admin.visitor(Role.SUPER_ADMIN) as client:
        yield client


root = pytest.fixture(super_admin)


async def test_who_is_not_signed_in_is_sent_to_the_sign_in_and_back(admin: AdminSite) -> None:
    async with admin.visitor(None) as nobody:
        answer = await nobody.get("/admin/database/list?search=a%20b")
        assert answer.status_code == 303
        assert answer.headers["location"] == "/login?next=/admin/database/list%3Fsearch%3Da%2520b"
        assert (await nobody.post("/admin/tenant/create", data={"name": "x"})).status_code == 401
        nobody.cookies.set("sc_session", "made-up")
        assert (await nobody.get("/admin/")).status_code == 303
        for path in ("/admin/login", "/admin/logout"):
            assert (await nobody.get(path)).headers["location"].startswith("/login?next=")


async def test_there_is_no_sign_in_of_its_own(root: httpx.AsyncClient) -> None:
    for path in ("/admin/login", "/admin/logout", "/admin/tenant/import"):
        assert (await root.get(path)).status_code == 404
    assert (await root.delete("/admin/tenant/delete?pks=1")).status_code in (404, 405)


async def test_a_token_opens_no_page(admin: AdminSite) -> None:
    token = await admin.doors.token(Role.SUPER_ADMIN)
    async with admin.visitor(None) as client:
        answer = await client.get("/admin/tenant/list", headers={"authorization": f"Bearer {token}"})
    assert answer.status_code == 403
    assert "globex" not in answer.text


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.VIEWER])
async def test_lesser_roles_are_refused_and_that_is_noted(admin: AdminSite, role: Role) -> None:
    async with admin.visitor(role) as client:
        answer = await client.get("/admin/tenant/list")
        assert answer.status_code == 403
        assert "acme" not in answer.text
        noted = (await admin.entries(operation="admin.open", role=str(role)))[0]
        assert (noted.phase, noted.door, noted.result) == ("refused", "admin", "forbidden")
        assert noted.target_name == "/admin/tenant/list"


async def test_a_revoked_session_ends_at_once(admin: AdminSite) -> None:
    async with admin.visitor(Role.ADMIN) as client:
        assert (await client.get("/admin/")).status_code == 200
        await client.post("/api/auth/logout")
        assert (await client.get("/admin/")).status_code == 303
    admin.cookies.pop((Role.ADMIN, "global"))


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_requests_of_other_sites_are_refused(
    admin: AdminSite, root: httpx.AsyncClient, site: str
) -> None:
    before = len(await admin.entries(result="cross_site"))
    for path in ("/admin/", "/admin/tenant/export/csv", "/admin/tenant/create"):
        answer = await root.get(path, headers={"sec-fetch-site": site})
        assert answer.status_code == 403
        assert "acme" not in answer.text
    noted = await admin.entries(result="cross_site")
    assert len(noted) == before + 3
    assert noted[0].actor_name.startswith("visitor-superadmin")


@pytest.mark.parametrize(
    "headers",
    [{"origin": "https://evil.example"}, {"origin": "null"}, {"origin": "http://127.0.0.1:8081"}, {"origin": ""}],
)  # fmt: skip
async def test_forms_of_other_sites_change_nothing(
    admin: AdminSite, root: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    root.headers.pop("sec-fetch-site")
    answer = await root.post("/admin/tenant/create", data={"name": "forged"}, headers=headers)
    assert answer.status_code == 403
    assert "forged" not in {t.name for t in (await admin.doors.call("tenants.list")).items}


async def test_a_stranger_leaves_no_entry(admin: AdminSite) -> None:
    async with admin.visitor(None) as nobody:
        nobody.cookies.set("sc_session", "made-up")
        before = len(await admin.entries())
        assert (await nobody.get("/admin/", headers={"sec-fetch-site": "cross-site"})).status_code == 403
        assert len(await admin.entries()) == before


@pytest.mark.parametrize("view", SCOPED)
@pytest.mark.parametrize("own", TENANTS)
async def test_an_admin_of_one_tenant_sees_nothing_of_the_other(
    admin: AdminSite, view: str, own: str
) -> None:
    other = next(t for t in TENANTS if t != own)
    async with admin.visitor(Role.ADMIN, f"tenant:{own}") as client:
        listed = await client.get(f"/admin/{view}/list?pageSize=100")
        assert admin.rows[view, own] in listed.text
        searched = await client.get(f"/admin/{view}/list", params={"search": other, "pageSize": "100"})
        by = {"status": "active"} if view == "tenant" else {"tenant_id": admin.rows["tenant", other]}
        filtered = await client.get(f"/admin/{view}/list", params={**by, "pageSize": "100"})
        for page in (listed, searched, filtered):
            assert page.status_code == 200
            assert admin.rows[view, other] not in page.text
        for kind in ("csv", "json", "xlsx"):
            taken = await client.get(f"/admin/{view}/export/{kind}")
            assert taken.status_code == 200
            assert admin.rows["tenant", other].encode() not in taken.content
        assert (await client.get(f"/admin/{view}/details/{admin.rows[view, own]}")).status_code == 200
        there = await client.get(f"/admin/{view}/details/{admin.rows[view, other]}")
        assert there.status_code == 404
        assert other not in there.text.replace(admin.rows[view, other], "")


async def test_only_admin_grants_count_here(fresh: AdminSite) -> None:
    acme, globex = (fresh.rows["tenant", t] for t in TENANTS)
    async with fresh.visitor(Role.ADMIN, f"tenant:{TENANTS[0]}") as client:
        name = f"visitor-admin-tenant-{TENANTS[0]}"
        users = await fresh.doors.call("users.list", q=name)
        async with fresh.doors.core.kernel.catalog.write() as uow:
            now = fresh.doors.clock()
            await uow.grants.add(UserGrant("g", users.items[0].id, Role.VIEWER, ScopeKind.GLOBAL, None, now))
        page = await client.get("/admin/tenant/list")
        assert acme in page.text
        assert globex not in page.text


async def test_lookups_stay_within_reach(admin: AdminSite, root: httpx.AsyncClient) -> None:
    ask = {"name": "tenant_id", "term": "e"}
    everything = (await root.get("/admin/database/ajax/lookup", params=ask)).json()["results"]
    assert {r["text"] for r in everything} >= set(TENANTS)
    async with admin.visitor(Role.ADMIN, "tenant:acme") as client:
        mine = (await client.get("/admin/database/ajax/lookup", params=ask)).json()["results"]
        assert mine == [{"id": admin.rows["tenant", "acme"], "text": "acme"}]
        form = (await client.get("/admin/database/create")).text
        assert admin.rows["tenant", "acme"] in form
        assert admin.rows["tenant", "globex"] not in form
        for name in ("id", "name", "", "secret_id"):
            answer = await client.get("/admin/database/ajax/lookup", params={"name": name, "term": "a"})
            assert answer.status_code == 404


async def test_where_an_engine_is_shows_only_to_who_may_inspect_it(
    admin: AdminSite, root: httpx.AsyncClient
) -> None:
    place = str(admin.files)
    assert place in (await root.get("/admin/provider/list")).text
    async with admin.visitor(Role.ADMIN, "tenant:acme") as client:
        path = f"/admin/provider/details/{admin.rows['provider', '']}"
        for page in (
            "/admin/provider/list",
            path,
            "/admin/provider/export/csv",
            "/admin/provider/export/json",
        ):
            shown = await client.get(page)
            assert shown.status_code == 200
            assert "files" in shown.text
            assert place not in shown.text
        hidden = await client.get("/admin/provider/list", params={"search": admin.files.parent.name})
        assert admin.rows["provider", ""] not in hidden.text


async def test_exports_hold_what_is_listed_and_no_formula(admin: AdminSite, root: httpx.AsyncClient) -> None:
    ask = {"search": "acme", "sortBy": "database_name", "sort": "asc"}
    taken = {k: await root.get(f"/admin/backup/export/{k}", params=ask) for k in ("csv", "json", "xlsx")}
    as_csv = list(csv.reader(io.StringIO(taken["csv"].text, newline="")))
    book = CalamineWorkbook.from_filelike(io.BytesIO(taken["xlsx"].content))
    as_xlsx = book.get_sheet_by_name("Backups").to_python()
    assert [row[0] for row in as_csv] == ["id", admin.rows["backup", "acme"]] == [row[0] for row in as_xlsx]
    note = as_csv[0].index("note")
    assert as_csv[1][note] == "'=note of acme" == as_xlsx[1][note]
    assert json.loads(taken["json"].text)[0]["note"] == "=note of acme"
    assert 'filename="backups-' in taken["xlsx"].headers["content-disposition"]
    noted = await admin.entries(operation="admin.export")
    assert {e.target_name for e in noted[:3]} == {"backups.csv", "backups.json", "backups.xlsx"}
    assert all((e.phase, e.result) == ("read", "ok") for e in noted[:3])


async def test_long_exports_are_whole(fresh: AdminSite) -> None:
    async with fresh.doors.core.kernel.catalog.write() as uow:
        tenant = await uow.tenants.get(fresh.rows["tenant", "acme"])
        assert tenant is not None
        for n in range(1200):
            await uow.tenants.add(_copy(tenant, n))
    async with fresh.visitor(Role.SUPER_ADMIN) as client:
        taken = await client.get("/admin/tenant/export/xlsx?sortBy=title&sort=asc")
        rows = CalamineWorkbook.from_filelike(io.BytesIO(taken.content)).get_sheet_by_index(0).to_python()
        assert len(rows) == 1 + 1202
        assert len({row[0] for row in rows}) == 1 + 1202
        page = await client.get("/admin/tenant/list?page=99999&pageSize=100")
        assert page.status_code == 302
        assert "page=13" in page.headers["location"]


def _copy(tenant: Tenant, n: int) -> Tenant:
    return replace(tenant, id=f"copy-{n}", name=f"copy-{n:04}", title="The same title")


async def test_every_offered_order_and_filter_works(admin: AdminSite, root: httpx.AsyncClient) -> None:
    for view in admin.site.ours:
        for name in view._sort_fields:
            for way in ("asc", "desc"):
                ask = {"sortBy": name, "sort": way}
                assert (await root.get(f"/admin/{view.identity}/list", params=ask)).status_code == 200, ask
            taken = await root.get(f"/admin/{view.identity}/export/json", params=ask)
            listed = await admin.doors.call(f"{view.noun}.list", limit=500)
            assert len(taken.json()) >= min(listed.total, 500), ask
        for given in view.filters:
            for value in given.values or ("x",):
                for lead in ("", "!"):
                    ask = {given.field: lead + value}
                    assert (await root.get(f"/admin/{view.identity}/list", params=ask)).status_code == 200, (
                        ask
                    )


async def test_odd_questions_are_answered_in_words(root: httpx.AsyncClient) -> None:
    for query in ("page=x", "sortBy=endpoint", "pageSize=zero"):
        assert (await root.get(f"/admin/provider/list?{query}")).status_code == 400
    for query in ("page=-3&pageSize=0", "search=%25", "search=" + "x" * 5000, "kind=!sqlite"):
        assert (await root.get(f"/admin/provider/list?{query}")).status_code in (200, 302)
    assert (await root.get("/admin/provider/list?search=%00")).status_code == 422
    for path in (
        "/admin/audit/details/system:x",
        "/admin/audit/details/x",
        "/admin/tenant/details/" + "x" * 99,
    ):
        assert (await root.get(path)).status_code == 404


async def test_creating_goes_through_the_operation(fresh: AdminSite) -> None:
    async with fresh.visitor(Role.SUPER_ADMIN) as client:
        made = await client.post("/admin/tenant/create", data={"name": "initech", "title": "Initech"})
        assert made.status_code == 303
        page = await client.get(made.headers["location"])
        assert "Created." in page.text
        assert "Initech" in page.text
        found = await fresh.entries(operation="tenants.create", door="admin")
        assert [(e.phase, e.result) for e in found] == [("outcome", "ok"), ("intent", "begun")]
        assert found[0].actor_name == "visitor-superadmin-global"
        for name, said in (("initech", "exists"), ("No Such Name!", "name"), ("", "required")):
            again = await client.post("/admin/tenant/create", data={"name": name})
            assert again.status_code in (409, 422)
            assert said in alerts(again)
        provider = {"name": "more", "kind": "sqlite", "connection.path": str(fresh.files), "connection.tls": "disable"}  # fmt: skip
        assert (await client.post("/admin/provider/create", data=provider)).status_code == 303
        wrong = {**provider, "name": "other", "connection.path": "", "connection.host": ""}
        refused = await client.post("/admin/provider/create", data=wrong)
        assert refused.status_code == 422
        assert "give either host" in alerts(refused)


async def test_a_password_is_never_shown_again(fresh: AdminSite) -> None:
    async with fresh.visitor(Role.SUPER_ADMIN) as client:
        typed = {"name": "pg", "kind": "postgresql", "connection.host": "127.0.0.1", "connection.port": "1",
                 "connection.user": "u", "connection.password": "hunter2-canary", "connection.tls": "disable"}  # fmt: skip
        refused = await client.post("/admin/provider/create", data=typed)
        assert refused.status_code in (422, 503)
        assert alerts(refused)
        assert "hunter2-canary" not in refused.text


async def test_editing_goes_through_the_operation(fresh: AdminSite) -> None:
    provider, tenant = fresh.rows["provider", ""], fresh.rows["tenant", "acme"]
    async with fresh.visitor(Role.SUPER_ADMIN) as client:
        form = (await client.get(f"/admin/provider/edit/{provider}")).text
        assert f'value="{fresh.files}"' in form
        untouched = {"connection.path": str(fresh.files), "connection.tls": "disable"}
        saved = await client.post(f"/admin/provider/edit/{provider}", data={"name": "renamed", **untouched})
        assert saved.status_code == 303
        now = await fresh.doors.call("providers.get", id=provider)
        assert (now.name, now.revision) == ("renamed", 1)  # the connection stayed, so it was not tested again
        moved = {**untouched, "connection.path": "not/absolute", "name": "renamed"}
        refused = await client.post(f"/admin/provider/edit/{provider}", data=moved)
        assert refused.status_code >= 400
        assert alerts(refused)
        assert (await fresh.doors.call("providers.get", id=provider)).endpoint.path == str(fresh.files)
        assert (await client.post(f"/admin/tenant/edit/{tenant}", data={"title": "ACME"})).status_code == 303
        assert (await fresh.doors.call("tenants.get", id=tenant)).title == "ACME"
        database = fresh.rows["database", "acme"]
        assert (
            await client.post(f"/admin/database/edit/{database}", data={"default": "true", "settings": ""})
        ).status_code == 303
        assert (await fresh.doors.call("databases.get", id=database)).is_default
        odd = await client.post(f"/admin/database/edit/{database}", data={"settings": "no_such = 1"})
        assert odd.status_code == 422
        assert "no_such" in alerts(odd)


async def test_deleting_asks_for_the_name_and_is_noted(fresh: AdminSite) -> None:
    database = fresh.rows["database", "acme"]
    async with fresh.visitor(Role.SUPER_ADMIN) as client:
        where = f"/admin/database/delete/{database}"
        assert "acme-orders" in (await client.get(where)).text
        assert (await fresh.doors.call("databases.get", id=database)).status == "ready"
        for typed in ("", "acme", "ACME-ORDERS"):
            refused = await client.post(where, data={"confirm": typed})
            assert refused.status_code == 422
            assert "exact name" in alerts(refused)
        gone = await client.post(where, data={"confirm": "acme-orders"})
        assert gone.status_code == 303
        assert gone.headers["location"].endswith("/admin/database/list?done=deleted")
        noted = await fresh.entries(operation="databases.delete", door="admin")
        assert [e.result for e in noted] == ["ok", "begun", *["confirmation_required"] * 3]
        backup = fresh.rows["backup", "acme"]
        busy = await client.post(f"/admin/backup/delete/{backup}", data={"confirm": "acme-orders"})
        assert busy.status_code == 409
        assert "queued" in alerts(busy)
        provider = fresh.rows["provider", ""]
        held = await client.post(f"/admin/provider/delete/{provider}", data={"confirm": "files"})
        assert held.status_code == 409
        assert "still has 1 databases" in alerts(held)


async def test_an_old_sign_in_is_renewed_on_the_spot(fresh: AdminSite) -> None:
    async with fresh.visitor(Role.SUPER_ADMIN) as client:
        fresh.doors.clock.ahead = timedelta(minutes=10)
        where = f"/admin/database/delete/{fresh.rows['database', 'acme']}"
        refused = await client.post(where, data={"confirm": "acme-orders"})
        assert refused.status_code == 403
        assert "/api/auth/renew?next=" in refused.text
        renewed = await client.post(f"/api/auth/renew?next={where}", data={"password": PASSWORD})
        assert renewed.headers["location"] == where
        assert (await client.post(where, data={"confirm": "acme-orders"})).status_code == 303


async def test_the_two_person_rule_holds_here_as_well(fresh: AdminSite) -> None:
    doors = fresh.doors
    await doors.user("bob", Role.SUPER_ADMIN)
    cookie = (await doors.core.auth.login("bob", PASSWORD, "127.0.0.1", "test", "test")).cookie
    bob = await doors.core.auth.by_cookie(cookie, Door.CONSOLE, "127.0.0.1", "test")
    async with fresh.visitor(Role.SUPER_ADMIN) as client:
        await doors.call("settings.update", key="two_person_rule", value="true", confirm="two_person_rule")
        where, typed = f"/admin/tenant/delete/{fresh.rows['tenant', 'acme']}", {"confirm": "acme"}
        refused = await client.post(where, data=typed)
        assert refused.status_code == 403
        assert "second person must approve" in alerts(refused)
        waiting = (await doors.call("approvals.list", status="pending")).items
        assert [w.operation for w in waiting] == ["tenants.delete"]
        await doors.call("approvals.approve", bob, id=waiting[0].id)
        passed = await client.post(where, data=typed)
        assert "still has 1 databases" in alerts(passed)  # now it is the tenant's own state that speaks


async def test_an_admin_changes_only_what_is_theirs(fresh: AdminSite) -> None:
    async with fresh.visitor(Role.ADMIN, "tenant:acme") as client:
        provider, other = fresh.rows["provider", ""], fresh.rows["database", "globex"]
        for path in ("/admin/tenant/create", "/admin/provider/create", f"/admin/provider/edit/{provider}",
                     f"/admin/provider/delete/{provider}", f"/admin/tenant/delete/{fresh.rows['tenant', 'acme']}"):  # fmt: skip
            for answer in (
                await client.get(path),
                await client.post(path, data={"name": "x", "confirm": "files"}),
            ):
                assert answer.status_code == 403, path
        assert len(await fresh.entries(role="Admin", phase="refused", door="admin")) >= 10
        for act in ("edit", "delete"):
            answer = await client.post(f"/admin/database/{act}/{other}", data={"confirm": "globex-orders"})
            assert answer.status_code == 404
        taken = {"provider_id": provider, "name": "sneaky", "tenant_id": fresh.rows["tenant", "globex"]}
        answer = await client.post("/admin/database/create", data=taken)
        assert answer.status_code in (403, 404)
        mine = {**taken, "tenant_id": fresh.rows["tenant", "acme"], "name": "mine"}
        assert (await client.post("/admin/database/create", data=mine)).status_code == 303


async def test_the_audit_is_read_only(root: httpx.AsyncClient) -> None:
    for path in ("/admin/audit/create", "/admin/audit/edit/system:1", "/admin/audit/delete/system:1"):
        assert (await root.get(path)).status_code == 404
        assert (await root.post(path, data={"confirm": "system:1"})).status_code == 404
    page = (await root.get("/admin/audit/details/system:1")).text
    assert "previous" in page
    assert "name: nothing \u2192" in page


async def test_nothing_is_kept_by_the_browser(root: httpx.AsyncClient) -> None:
    for path in ("/admin/", "/admin/tenant/list", "/admin/tenant/export/csv", "/admin/nothing"):
        assert (await root.get(path)).headers["cache-control"] == "no-store"


def test_no_secret_has_a_column() -> None:
    sealed = ("secret", "password", "envelope", "wrapped", "credential", "token", "key")
    for view in views.VIEWS:
        shown = {*view.column_list, *view.column_details_list, *view.column_export_list}
        assert not [n for n in shown if any(word in str(n) for word in sealed)], view
