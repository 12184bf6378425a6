"""Users and their grants: who may manage whom, and what that changes at once."""

from dataclasses import replace
from datetime import timedelta

import pytest

from storage_core.domain.context import Actor, ActorKind, Context, Door
from storage_core.domain.errors import (
    Conflict,
    Forbidden,
    InvalidRequest,
    NameTaken,
    NotFound,
    SignInAgain,
    StorageError,
    Unauthenticated,
)
from storage_core.domain.permission import Role
from tests.integration.doors import PASSWORD, Doors

NEW = "another horse battery"


async def signed_in(doors: Doors, name: str, password: str = PASSWORD) -> tuple[str, Context]:
    signed = await doors.core.auth.login(name, password, "127.0.0.1", "test", "test")
    ctx = await doors.core.auth.by_cookie(signed.cookie, Door.CONSOLE, "127.0.0.1", "test")
    assert ctx is not None
    return signed.cookie, ctx


async def alive(doors: Doors, cookie: str) -> bool:
    return await doors.core.auth.by_cookie(cookie, Door.CONSOLE, None, "test") is not None


async def test_a_new_grant_counts_from_the_next_call_on_and_a_revoked_one_does_not(doors: Doors) -> None:
    acme = await doors.tenant("acme")
    id = await doors.user("ann", Role.VIEWER, "tenant:acme")
    made = await doors.call("tokens.create", name="t", user="ann")

    async def rename() -> None:
        ctx = await doors.core.auth.by_token(made.token, None, "test")
        assert ctx is not None
        await doors.call("tenants.update", ctx, id=acme.id, title="New")

    with pytest.raises(Forbidden):
        await rename()
    grant = await doors.call("grants.create", user_id=id, role="Admin", scope="tenant:acme")
    await rename()
    await doors.call("grants.revoke", id=grant.id)
    with pytest.raises(Forbidden):
        await rename()


async def test_the_same_grant_twice_is_a_conflict(doors: Doors) -> None:
    id = await doors.user("ann", Role.VIEWER)
    with pytest.raises(Conflict):
        await doors.call("grants.create", user_id=id, role="Viewer")
    with pytest.raises(InvalidRequest):
        await doors.call("grants.create", user_id=id, role="Viewer", scope="tenant:nowhere")


async def test_a_tenants_admin_manages_the_people_who_are_only_there(doors: Doors) -> None:
    for name in ("acme", "other"):
        await doors.tenant(name)
    admin = await doors.context(Role.ADMIN, "tenant:acme")
    mine = await doors.user("mine", Role.OPERATOR, "tenant:acme")
    both = await doors.user("both", Role.OPERATOR, "tenant:acme")
    await doors.call("grants.create", user_id=both, role="Viewer", scope="tenant:other")
    theirs = await doors.user("theirs", Role.VIEWER, "tenant:other")
    above = await doors.user("above", Role.SUPER_ADMIN, "tenant:acme")
    listed = {u.username for u in (await doors.call("users.list", admin)).items}
    assert {"mine", "both", "above"} <= listed and "theirs" not in listed
    assert {g.user_id for g in (await doors.call("grants.list", admin)).items}.isdisjoint({theirs})
    await doors.call("users.disable", admin, id=mine)
    for id in (both, theirs):  # they are somebody in a scope this admin does not manage
        with pytest.raises(NotFound):
            await doors.call("users.disable", admin, id=id)
    with pytest.raises(Forbidden):
        await doors.call("users.disable", admin, id=above)
    made = await doors.call(
        "users.create", admin, username="fresh", password=PASSWORD, role="Viewer", scope="tenant:acme"
    )
    token = await doors.call("tokens.create", admin, name="x", user="fresh")
    assert token.id in {t.id for t in (await doors.call("tokens.list", admin)).items}
    await doors.call("tokens.revoke", admin, id=token.id)
    with pytest.raises(StorageError):
        await doors.call("grants.create", admin, user_id=made.id, role="Viewer", scope="tenant:other")
    await doors.call("grants.create", admin, user_id=both, role="Viewer", scope="tenant:acme")


async def test_whoever_is_elsewhere_reads_as_unknown_to_a_tenants_admin(doors: Doors) -> None:
    for name in ("acme", "other"):
        await doors.tenant(name)
    await doors.user("root", Role.SUPER_ADMIN)
    admin = await doors.context(Role.ADMIN, "tenant:acme")
    theirs = await doors.user("theirs", Role.VIEWER, "tenant:other")
    of_the_system = await doors.user("viewer", Role.VIEWER)
    said = set()
    for id in (theirs, of_the_system, "no-such-user"):
        with pytest.raises(NotFound) as caught:
            await doors.call("grants.create", admin, user_id=id, role="Viewer", scope="tenant:acme")
        said.add(caught.value.detail.replace(id, "ID"))
    assert len(said) == 1
    log = await doors.call("audit.list", admin, operation="grants.create")
    assert "theirs" not in str(log.items), "nor does the log tell a name"
    assert "theirs" not in {u.username for u in (await doors.call("users.list", admin)).items}


async def test_nobody_changes_themselves_and_the_last_super_admin_stays(doors: Doors) -> None:
    ann = await doors.user("ann", Role.SUPER_ADMIN)
    ctx = (await signed_in(doors, "ann"))[1]
    for work in (
        doors.call("users.disable", ctx, id=ann),
        doors.call("users.update", ctx, id=ann, username="anna"),
        doors.call("grants.create", ctx, user_id=ann, role="Admin", scope="global"),
    ):
        with pytest.raises(Forbidden):
            await work
    grant = (await doors.call("grants.list", user_id=ann)).items[0]
    with pytest.raises(Forbidden):
        await doors.call("grants.revoke", ctx, id=grant.id)
    for work in (doors.call("grants.revoke", id=grant.id), doors.call("users.disable", id=ann)):
        with pytest.raises(Conflict):
            await work
    await doors.user("bob", Role.SUPER_ADMIN)
    await doors.call("grants.revoke", id=grant.id)


async def test_a_renamed_user_signs_in_by_the_new_name(doors: Doors) -> None:
    id = await doors.user("ann", Role.VIEWER)
    await doors.user("bob", Role.VIEWER)
    with pytest.raises(NameTaken):
        await doors.call("users.update", id=id, username="bob")
    await doors.call("users.update", id=id, username="anna")
    await signed_in(doors, "anna")
    with pytest.raises(Unauthenticated):
        await signed_in(doors, "ann")


async def test_a_new_password_ends_what_the_old_one_opened(doors: Doors) -> None:
    id = await doors.user("ann", Role.VIEWER)
    before, _ = await signed_in(doors, "ann")
    await doors.call("users.update", id=id, password=NEW)
    assert not await alive(doors, before)
    with pytest.raises(Unauthenticated):
        await signed_in(doors, "ann")
    await signed_in(doors, "ann", NEW)


async def test_ones_own_password_needs_a_recent_sign_in_and_keeps_this_session(doors: Doors) -> None:
    await doors.user("ann", Role.VIEWER)
    (elsewhere, _), (here, ctx) = await signed_in(doors, "ann"), await signed_in(doors, "ann")
    old = replace(ctx, signed_in_at=doors.clock() - timedelta(minutes=5))
    with pytest.raises(SignInAgain):
        await doors.call("users.password", old, password=NEW)
    with pytest.raises(InvalidRequest):
        await doors.call("users.password", ctx, password="short")
    await doors.call("users.password", ctx, password=NEW)
    assert await alive(doors, here) and not await alive(doors, elsewhere)
    await signed_in(doors, "ann", NEW)
    program = replace(ctx, actor=Actor(ctx.actor.id, "t", ActorKind.TOKEN))
    with pytest.raises(Forbidden):
        await doors.call("users.password", program, password=NEW)


async def test_a_disabled_user_may_be_let_in_again(doors: Doors) -> None:
    id = await doors.user("ann", Role.VIEWER)
    await doors.call("users.disable", id=id)
    with pytest.raises(Unauthenticated):
        await signed_in(doors, "ann")
    await doors.call("users.update", id=id, status="active")
    await signed_in(doors, "ann")


async def test_what_would_outlive_an_old_sign_in_asks_for_a_recent_one(doors: Doors) -> None:
    await doors.user("ann", Role.SUPER_ADMIN)
    bob = await doors.user("bob", Role.VIEWER)
    old = replace((await signed_in(doors, "ann"))[1], signed_in_at=doors.clock() - timedelta(minutes=5))
    for work in (
        doors.call("tokens.create", old, name="for later"),
        doors.call("users.update", old, id=bob, password=NEW),
        doors.call("users.create", old, username="carl", password=PASSWORD, role="Viewer"),
        doors.call("grants.create", old, user_id=bob, role="Operator"),
    ):
        with pytest.raises(SignInAgain):
            await work


async def test_a_foreign_tenant_reads_like_one_that_does_not_exist(doors: Doors) -> None:
    for name in ("acme", "other"):
        await doors.tenant(name)
    admin = await doors.context(Role.ADMIN, "tenant:acme")
    told = set()
    for scope in ("tenant:other", "tenant:nowhere", "provider:nowhere"):
        with pytest.raises(Forbidden) as caught:
            await doors.call(
                "users.create", admin, username="x", password=PASSWORD, role="Viewer", scope=scope
            )
        told.add((caught.value.detail, caught.value.field))
    assert len(told) == 1


async def test_a_narrowed_token_ends_itself_and_what_it_made_and_takes_that_along(doors: Doors) -> None:
    await doors.user("ann", Role.ADMIN)
    cookie, ctx = await signed_in(doors, "ann")
    full = await doors.call("tokens.create", ctx, name="full")
    leaked = await doors.call("tokens.create", ctx, name="leaked", scopes=("role:Viewer",))
    thief = await doors.core.auth.by_token(leaked.token, None, "test")
    child = await doors.call("tokens.create", thief, name="child")
    for work in (
        doors.call("tokens.revoke", thief, id=full.id),
        doors.call("sessions.revoke", thief, id=ctx.session_id),
    ):
        with pytest.raises(Forbidden):
            await work
    assert await alive(doors, cookie)
    await doors.call("tokens.revoke", ctx, id=leaked.id)
    assert await doors.core.auth.by_token(child.token, None, "test") is None
    assert await doors.core.auth.by_token(full.token, None, "test") is not None


async def test_a_listed_token_says_what_it_can_do_now(doors: Doors) -> None:
    await doors.tenant("acme")
    ann = await doors.user("ann", Role.ADMIN, "tenant:acme")
    for name, scopes in (("bare", ()), ("capped", ("role:Operator",))):
        await doors.call("tokens.create", name=name, user="ann", scopes=scopes)

    async def said() -> dict[str, Role | None]:
        return {t.name: t.acts_as for t in (await doors.call("tokens.list", user_id=ann)).items}

    assert await said() == {"bare": Role.ADMIN, "capped": Role.OPERATOR}
    [grant] = (await doors.call("grants.list", user_id=ann)).items
    await doors.call("grants.create", user_id=ann, role="Viewer", scope="tenant:acme")
    await doors.call("grants.revoke", id=grant.id)
    assert await said() == {"bare": Role.VIEWER, "capped": Role.VIEWER}
    await doors.call("users.disable", id=ann)
    assert await said() == {"bare": None, "capped": None}


async def test_a_taken_name_reads_the_same_whoever_has_it(doors: Doors) -> None:
    """Names to sign in with are unique everywhere: that one is taken can be learnt, whose and where cannot."""
    for name in ("acme", "globex"):
        await doors.tenant(name)
    admin = await doors.context(Role.ADMIN, "tenant:acme")
    await doors.user("here", Role.VIEWER, "tenant:acme")
    await doors.user("elsewhere", Role.ADMIN, "tenant:globex")
    await doors.call("users.disable", id=await doors.user("gone", Role.VIEWER))
    said = set()
    for name in ("here", "elsewhere", "gone"):
        with pytest.raises(NameTaken) as caught:
            await doors.call(
                "users.create", admin, username=name, password=PASSWORD, role="Viewer", scope="tenant:acme"
            )
        error = caught.value
        said.add((error.code, error.detail.replace(name, "…"), error.hint, error.field))
    assert len(said) == 1
