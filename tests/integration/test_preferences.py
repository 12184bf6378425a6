"""Saved filters and preferences: whose they are, who sees them, what a sign-in makes of them."""

import httpx
import pytest

from storage_core.domain.errors import Conflict, InvalidRequest, NotFound, StorageError
from storage_core.domain.permission import Role
from tests.integration.doors import ADDRESS, PASSWORD, Doors

ACME, GLOBEX = "tenant:acme", "tenant:globex"


@pytest.fixture
async def tenants(doors: Doors) -> None:
    for name in ("acme", "globex"):
        await doors.tenant(name)


async def save(doors: Doors, role: Role, scope: str, name: str, *, shared: bool = False) -> str:
    ctx = await doors.context(role, scope)
    made = await doors.call("filters.create", ctx, page="/backups", name=name, query="q=x", shared=shared)
    return str(made.id)


async def seen(doors: Doors, role: Role, scope: str = "global") -> list[str]:
    page = await doors.call("filters.list", await doors.context(role, scope), page="/backups")
    return [row.name for row in page.items]


async def test_a_private_filter_is_its_owners_alone(doors: Doors, tenants: None) -> None:
    id = await save(doors, Role.OPERATOR, ACME, "mine")
    assert await seen(doors, Role.OPERATOR, ACME) == ["mine"]
    for role, scope in ((Role.ADMIN, ACME), (Role.ADMIN, GLOBEX), (Role.SUPER_ADMIN, "global")):
        assert await seen(doors, role, scope) == []
        with pytest.raises(NotFound):
            await doors.call("filters.delete", await doors.context(role, scope), id=id)


async def test_a_shared_filter_stays_within_its_tenant(doors: Doors, tenants: None) -> None:
    await save(doors, Role.OPERATOR, ACME, "ours", shared=True)
    assert await seen(doors, Role.VIEWER, ACME) == ["ours"]
    assert await seen(doors, Role.ADMIN, GLOBEX) == []
    await save(doors, Role.ADMIN, "global", "for administrators", shared=True)
    assert await seen(doors, Role.VIEWER) == ["for administrators"]
    assert await seen(doors, Role.VIEWER, ACME) == ["ours"]


async def test_whoever_administers_a_scope_takes_its_shared_filters_away(doors: Doors, tenants: None) -> None:
    id = await save(doors, Role.OPERATOR, ACME, "ours", shared=True)
    for role, scope in ((Role.VIEWER, ACME), (Role.ADMIN, GLOBEX)):
        with pytest.raises(NotFound):
            await doors.call("filters.delete", await doors.context(role, scope), id=id)
    await doors.call("filters.delete", await doors.context(Role.ADMIN, ACME), id=id)
    assert await seen(doors, Role.OPERATOR, ACME) == []


async def test_a_name_is_taken_once_per_person_and_page(doors: Doors, tenants: None) -> None:
    await save(doors, Role.OPERATOR, ACME, "mine")
    with pytest.raises(Conflict):
        await save(doors, Role.OPERATOR, ACME, "mine")
    await save(doors, Role.VIEWER, ACME, "mine")


async def test_sharing_needs_one_scope(doors: Doors) -> None:
    await doors.call(
        "providers.create",
        name="files",
        kind="sqlite",
        connection={"path": str(doors.core.settings.home / "files")},
    )
    ctx = await doors.context(Role.ADMIN, "provider:files")
    with pytest.raises(InvalidRequest, match="Shared with whom"):
        await doors.call("filters.create", ctx, page="/backups", name="x", shared=True)


async def test_preferences_are_kept_field_by_field_and_per_person(doors: Doors) -> None:
    mine = await doors.context(Role.VIEWER)
    await doors.call("preferences.update", mine, theme="dark", time_zone="Europe/Berlin")
    changed = await doors.call("preferences.update", mine, density="compact", time_zone="")
    assert (changed.theme, changed.density, changed.time_zone) == ("dark", "compact", "")
    assert await doors.call("preferences.show", mine) == changed
    assert (await doors.call("preferences.show", await doors.context(Role.ADMIN))).theme == "system"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("time_zone", "Mars/Olympus"),
        ("language", "Klingon!"),
        ("start_page", "//evil"),
        ("theme", "pink"),
    ],
)
async def test_a_wrong_preference_is_refused(doors: Doors, field: str, value: str) -> None:
    with pytest.raises((StorageError, ValueError), match=field):
        await doors.call("preferences.update", **{field: value})


async def test_a_browsers_sign_in_leads_to_the_start_page(doors: Doors) -> None:
    await doors.user("ann", Role.ADMIN)
    async with httpx.AsyncClient(transport=doors.transport(), base_url=ADDRESS) as http:
        form, same = {"username": "ann", "password": PASSWORD}, {"Origin": ADDRESS}
        first = await http.post("/api/auth/login", data=form, headers=same)
        assert first.headers["location"] == "/"
        changed = await http.put(
            "/api/storage/preferences/update", json={"start_page": "/backups"}, headers=same
        )
        assert changed.status_code == 200, changed.text
        again = await http.post("/api/auth/login", data=form, headers=same)
        assert again.headers["location"] == "/backups"
        asked = await http.post("/api/auth/login?next=/jobs", data=form, headers=same)
        assert asked.headers["location"] == "/jobs"
