"""The two-person rule: bound to exactly what was asked, once, by somebody else, in time."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from storage_core.domain.approval import ALONE_DELAY, APPROVAL_LIFE, ApprovalStatus
from storage_core.domain.audit import Phase
from storage_core.domain.context import Actor, ActorKind, Context
from storage_core.domain.errors import (
    ApprovalRequired,
    ConfirmationRequired,
    Conflict,
    Forbidden,
    NotFound,
    SignInAgain,
)
from storage_core.domain.page import Query
from storage_core.domain.permission import Role
from tests.integration.doors import Doors

RULE = "two_person_rule"


@pytest.fixture
async def two(doors: Doors) -> AsyncIterator[Doors]:
    """A core with the rule switched on, two SuperAdmins, `ann` and `bob`, and Admins of several scopes."""
    for name in ("ann", "bob"):
        await doors.user(name, Role.SUPER_ADMIN)
    for name in ("acme", "other"):
        await doors.tenant(name)
    for name, scope in (("adam", "global"), ("olga", "tenant:acme"), ("zoe", "tenant:other")):
        await doors.user(name, Role.ADMIN, scope)
    await doors.call("settings.update", key=RULE, value="true", confirm=RULE)
    yield doors


async def somebody(doors: Doors, name: str, *, minutes_ago: float = 0) -> Context:
    """A person signed in to the console, who proved it so many minutes ago."""
    made = await doors.call("tokens.create", name="x", user=name)
    ctx = await doors.core.auth.by_token(made.token, "127.0.0.1", "test")
    assert ctx is not None
    at = doors.clock() - timedelta(minutes=minutes_ago)
    person = Actor(ctx.actor.id, name, ActorKind.USER)
    return replace(ctx, actor=person, signed_in_at=at, token_id=None, maker_id=None)


async def waiting(doors: Doors) -> Any:
    return (await doors.call("approvals.list", status="pending")).items[0]


async def asked(doors: Doors, ctx: Context, tenant: Any, **more: Any) -> None:
    await doors.call("tenants.suspend", ctx, id=tenant.id, confirm=tenant.name, **more)


async def test_without_the_rule_the_typed_name_is_enough(doors: Doors) -> None:
    acme = await doors.tenant("acme")
    await doors.user("ann", Role.SUPER_ADMIN)
    await asked(doors, await somebody(doors, "ann"), acme)


async def test_a_second_person_lets_it_pass_once(two: Doors) -> None:
    acme = await two.tenant("acme")
    ann, bob = await somebody(two, "ann"), await somebody(two, "bob")
    with pytest.raises(ApprovalRequired):
        await asked(two, ann, acme)
    row = await waiting(two)
    assert (row.operation, row.requester_name, row.target_name) == ("tenants.suspend", "ann", "acme")
    with pytest.raises(ApprovalRequired):  # asking again makes no second note
        await asked(two, ann, acme)
    assert (await two.call("approvals.list")).total == 1
    await two.call("approvals.approve", bob, id=row.id)
    await asked(two, ann, acme)
    await two.call("tenants.resume", id=acme.id)
    with pytest.raises(ApprovalRequired):  # used up
        await asked(two, ann, acme)


@pytest.mark.parametrize("how", ["disabled", "lowered", "renamed", "taken back"])
async def test_an_approval_ends_with_the_right_to_give_it(two: Doors, how: str) -> None:
    acme = await two.tenant("acme")
    ann, bob = await somebody(two, "ann"), await somebody(two, "bob")
    with pytest.raises(ApprovalRequired):
        await asked(two, ann, acme)
    row = await waiting(two)
    await two.call("approvals.approve", bob, id=row.id)
    if how == "disabled":
        await two.call("users.disable", id=bob.actor.id)
    elif how == "lowered":
        [grant] = (await two.call("grants.list", user_id=bob.actor.id)).items
        await two.call("grants.revoke", id=grant.id)
    elif how == "renamed":
        await two.call("users.update", id=bob.actor.id, username="rob")
    else:
        await two.call("approvals.refuse", bob, id=row.id)
    with pytest.raises(ApprovalRequired):
        await asked(two, ann, acme)
    assert (await waiting(two)).id != row.id, "it waits for somebody anew"


async def test_one_approval_lets_one_of_many_calls_at_once_pass(two: Doors) -> None:
    acme = await two.tenant("acme")
    ann = await somebody(two, "ann")
    with pytest.raises(ApprovalRequired):
        await asked(two, ann, acme)
    await two.call("approvals.approve", await somebody(two, "bob"), id=(await waiting(two)).id)
    done = await asyncio.gather(*(asked(two, ann, acme) for _ in range(5)), return_exceptions=True)
    assert sum(one is None for one in done) == 1
    assert {type(one) for one in done} <= {type(None), ApprovalRequired, Conflict}


async def test_the_audit_log_says_who_seconded(two: Doors) -> None:
    acme = await two.tenant("acme")
    ann, bob = await somebody(two, "ann"), await somebody(two, "bob")
    with pytest.raises(ApprovalRequired):
        await asked(two, ann, acme)
    await two.call("approvals.approve", bob, id=(await waiting(two)).id)
    await asked(two, ann, acme)
    async with two.core.kernel.catalog.read() as uow:
        entries = (await uow.audit.find(Query(sort="-at", limit=50))).items
    mine = [e for e in entries if e.operation == "tenants.suspend"]
    assert [e.result for e in mine if e.phase is Phase.REFUSED] == ["approval_required"]
    assert [e.detail for e in mine if e.phase is Phase.INTENT and "by bob" in e.detail]


async def test_nobody_approves_their_own_request_nor_the_command_line(two: Doors) -> None:
    acme = await two.tenant("acme")
    ann = await somebody(two, "ann")
    with pytest.raises(ApprovalRequired):
        await asked(two, ann, acme)
    row = await waiting(two)
    with pytest.raises(Forbidden):
        await two.call("approvals.approve", ann, id=row.id)
    with pytest.raises(Forbidden):
        await two.call("approvals.approve", id=row.id)
    assert (await waiting(two)).status is ApprovalStatus.PENDING


async def test_it_is_bound_to_the_arguments_the_target_and_the_caller(two: Doors) -> None:
    acme, other = await two.tenant("acme"), await two.tenant("other")
    ann, bob = await somebody(two, "ann"), await somebody(two, "bob")
    with pytest.raises(ApprovalRequired):
        await asked(two, ann, acme)
    await two.call("approvals.approve", bob, id=(await waiting(two)).id)
    with pytest.raises(ApprovalRequired):  # another target
        await asked(two, ann, other)
    with pytest.raises(ApprovalRequired):  # another operation
        await two.call("tenants.delete", ann, id=acme.id, confirm="acme")
    with pytest.raises(ApprovalRequired):  # another caller
        await asked(two, bob, acme)
    await two.call("tenants.update", id=acme.id, title="Changed")
    with pytest.raises(ApprovalRequired):  # another version of the target than the one that was looked at
        await asked(two, ann, acme)


async def test_it_ends_after_half_an_hour(two: Doors) -> None:
    acme = await two.tenant("acme")
    ann = await somebody(two, "ann")
    with pytest.raises(ApprovalRequired):
        await asked(two, ann, acme)
    row = await waiting(two)
    two.clock.ahead = APPROVAL_LIFE
    with pytest.raises(Conflict):
        await two.call("approvals.approve", await somebody(two, "bob"), id=row.id)
    ann = await somebody(two, "ann")
    with pytest.raises(ApprovalRequired):
        await asked(two, ann, acme)
    fresh = next(a for a in (await two.call("approvals.list")).items if a.status is ApprovalStatus.PENDING)
    await two.call("approvals.approve", await somebody(two, "bob"), id=fresh.id)
    two.clock.ahead += APPROVAL_LIFE
    with pytest.raises(ApprovalRequired):
        await asked(two, await somebody(two, "ann"), acme)


async def test_a_refused_or_withdrawn_request_is_over(two: Doors) -> None:
    acme = await two.tenant("acme")
    ann, bob = await somebody(two, "ann"), await somebody(two, "bob")
    for by in (bob, ann):
        with pytest.raises(ApprovalRequired):
            await asked(two, ann, acme)
        row = await waiting(two)
        await two.call("approvals.refuse", by, id=row.id)
        with pytest.raises(Conflict):
            await two.call("approvals.approve", bob, id=row.id)


async def test_where_nobody_else_could_approve_time_and_an_alert_stand_for_them(doors: Doors) -> None:
    acme = await doors.tenant("acme")
    await doors.user("ann", Role.SUPER_ADMIN)
    await doors.user("eve", Role.SUPER_ADMIN, "tenant:acme")  # reaches the tenant, and is disabled below
    eve = next(u for u in (await doors.call("users.list")).items if u.username == "eve")
    await doors.call("users.disable", id=eve.id)
    await doors.call("settings.update", key=RULE, value="true", confirm=RULE)
    news = doors.core.bus.subscribe()
    with pytest.raises(ApprovalRequired, match="nobody else"):
        await asked(doors, await somebody(doors, "ann"), acme)
    async for event in news:
        if event.topic == "alerts":
            assert event.verb == "approval_alone"
            break
    await news.aclose()
    doors.clock.ahead = ALONE_DELAY - timedelta(minutes=1)
    with pytest.raises(ApprovalRequired):
        await asked(doors, await somebody(doors, "ann"), acme)
    doors.clock.ahead = ALONE_DELAY
    await asked(doors, await somebody(doors, "ann"), acme)


async def test_a_second_person_needs_the_right_itself_on_the_target(two: Doors) -> None:
    acme = await two.tenant("acme")
    ann = await somebody(two, "ann")
    with pytest.raises(ApprovalRequired):
        await asked(two, ann, acme)
    row = await waiting(two)
    for name in ("adam", "olga"):  # tenants.suspend is for SuperAdmins alone
        with pytest.raises(Forbidden):
            await two.call("approvals.approve", await somebody(two, name), id=row.id)
    with pytest.raises(NotFound):
        await two.call("approvals.approve", await somebody(two, "zoe"), id=row.id)
    assert (await two.call("approvals.list", await somebody(two, "zoe"))).total == 0


async def test_danger_wants_a_recent_sign_in_from_people_and_the_name_from_everybody(doors: Doors) -> None:
    acme = await doors.tenant("acme")
    await doors.user("ann", Role.SUPER_ADMIN)
    with pytest.raises(ConfirmationRequired):
        await doors.call("tenants.suspend", await somebody(doors, "ann"), id=acme.id, confirm="Acme")
    with pytest.raises(SignInAgain):
        await asked(doors, await somebody(doors, "ann", minutes_ago=5), acme)
    await asked(doors, await somebody(doors, "ann", minutes_ago=4.9), acme)
    await doors.call("tenants.resume", id=acme.id)
    token = await doors.context(Role.SUPER_ADMIN)
    assert token is not None and token.signed_in_at is None
    await asked(doors, token, acme)


async def test_making_a_super_admin_is_such_an_operation(two: Doors) -> None:
    ann = await somebody(two, "ann")
    user = {"username": "carl", "password": "correct horse battery", "role": "SuperAdmin"}
    with pytest.raises(ConfirmationRequired):
        await two.call("users.create", ann, **user)
    with pytest.raises(ApprovalRequired):
        await two.call("users.create", ann, **user, confirm="carl")
    id = await two.user("dora", Role.OPERATOR)
    with pytest.raises(ApprovalRequired):
        await two.call("grants.create", ann, user_id=id, role="SuperAdmin", confirm="dora")
    await two.call("approvals.approve", await somebody(two, "bob"), id=(await waiting(two)).id)
    await two.call("grants.create", ann, user_id=id, role="SuperAdmin", confirm="dora")


async def test_an_approval_covers_the_secret_that_was_asked_for(two: Doors) -> None:
    ann = await somebody(two, "ann")
    user = {"username": "carl", "role": "SuperAdmin", "confirm": "carl"}
    with pytest.raises(ApprovalRequired):
        await two.call("users.create", ann, **user, password="correct horse battery")
    await two.call("approvals.approve", await somebody(two, "bob"), id=(await waiting(two)).id)
    with pytest.raises(ApprovalRequired):
        await two.call("users.create", ann, **user, password="another horse battery")
    await two.call("users.create", ann, **user, password="correct horse battery")


async def test_the_rule_is_not_switched_off_by_one(two: Doors) -> None:
    off = {"key": RULE, "value": "false", "confirm": RULE}
    with pytest.raises(ConfirmationRequired):
        await two.call("settings.update", await somebody(two, "ann"), key=RULE, value="false")
    with pytest.raises(Forbidden):
        await two.call("settings.update", await somebody(two, "adam"), **off)
    ann = await somebody(two, "ann")
    with pytest.raises(ApprovalRequired):
        await two.call("settings.update", ann, **off)
    await two.call("approvals.approve", await somebody(two, "bob"), id=(await waiting(two)).id)
    await two.call("settings.update", ann, **off)


async def test_nobody_makes_their_own_second_person(two: Doors) -> None:
    acme = await two.tenant("acme")
    ann, bob = await somebody(two, "ann"), await somebody(two, "bob")
    bobs = next(u for u in (await two.call("users.list")).items if u.username == "bob").id
    for work in (
        two.call("users.update", ann, id=bobs, password="another horse battery"),
        two.call("users.create", ann, username="puppet", password="another horse battery", role="Admin"),
    ):
        with pytest.raises(ApprovalRequired):
            await work
    made = await two.call("tokens.create", ann, name="puppet", user="bob")
    puppet = await two.core.auth.by_token(made.token, None, "test")
    assert puppet is not None and puppet.maker_id == ann.actor.id
    with pytest.raises(ApprovalRequired):
        await asked(two, ann, acme)
    row = next(a for a in (await two.call("approvals.list")).items if a.operation == "tenants.suspend")
    with pytest.raises(Forbidden):  # a token is nobody who looks
        await two.call("approvals.approve", puppet, id=row.id)
    await two.call("approvals.refuse", bob, id=row.id)
    with pytest.raises(ApprovalRequired):  # the puppet asks ...
        await asked(two, puppet, acme)
    asks = [a for a in (await two.call("approvals.list")).items if a.maker_id == ann.actor.id]
    for person in (ann, bob):  # ... and neither its maker nor its owner approves
        with pytest.raises(Forbidden):
            await two.call("approvals.approve", person, id=asks[0].id)
