"""The role matrix is complete, and the decision over it keeps its laws."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_core.domain.permission import (
    MATRIX,
    Grant,
    Permission,
    Role,
    Rule,
    Scope,
    ScopeKind,
    Target,
    Verdict,
    covers,
    decide,
    reach,
)

ANYWHERE = Scope()
SCOPES = (ANYWHERE, *(Scope(k, i) for k in (ScopeKind.TENANT, ScopeKind.PROVIDER) for i in ("a", "b")))
TARGETS = [
    Target("x", "1", "n", t, p, o)
    for t, p, o in product((None, "a", "b"), (None, "a", "b"), (None, "me", "you"))
]
grants = st.lists(st.builds(Grant, st.sampled_from(Role), st.sampled_from(SCOPES)), max_size=4).map(tuple)
targets = st.sampled_from(TARGETS)
permissions = st.sampled_from(Permission)
STRENGTH = [
    Verdict.INVISIBLE,
    Verdict.FORBIDDEN,
    Verdict.SECOND,
    Verdict.CONFIRM,
    Verdict.WATCHED,
    Verdict.ALLOWED,
]


def test_every_permission_has_a_row_for_every_role() -> None:
    assert set(MATRIX) == set(Permission)
    assert all(list(row) == list(Role) for row in MATRIX.values())


def test_nobody_reveals_a_secret() -> None:
    assert set(MATRIX[Permission.SECRET_REVEAL].values()) == {Rule.DENY}


@pytest.mark.parametrize("permission", [p for p in Permission if p is not Permission.FAILOVER_FORCE])
def test_a_higher_role_is_never_weaker(permission: Permission) -> None:
    """But for forcing a failover: there the SuperAdmin confirms where an Admin needs a second person."""
    row = [MATRIX[permission][role] > Rule.DENY for role in Role]
    assert row == sorted(row, reverse=True)


def test_ranks_follow_the_order_of_roles() -> None:
    assert [r.rank for r in Role] == [4, 3, 2, 1]


def test_scopes_cover_their_own() -> None:
    assert covers(ANYWHERE, Target("x"))
    assert not covers(Scope(ScopeKind.TENANT, "a"), Target("x"))
    assert not covers(Scope(ScopeKind.TENANT), Target("x"))
    assert covers(Scope(ScopeKind.TENANT, "a"), Target("x", tenant_id="a", provider_id="b"))
    assert not covers(Scope(ScopeKind.PROVIDER, "a"), Target("x", tenant_id="a", provider_id="b"))


@given(permissions, targets, grants)
def test_without_a_covering_grant_nothing_is_seen(p: Permission, t: Target, held: tuple[Grant, ...]) -> None:
    covered = any(covers(g.scope, t) for g in held)
    assert (decide(p, t, held, "me") is Verdict.INVISIBLE) == (not covered)


@given(permissions, targets, grants, st.sampled_from(SCOPES))
def test_one_more_grant_never_takes_away(
    p: Permission, t: Target, held: tuple[Grant, ...], scope: Scope
) -> None:
    before = decide(p, t, held, "me")
    after = decide(p, t, (*held, Grant(Role.SUPER_ADMIN, scope)), "me")
    if p not in (Permission.SECRET_REVEAL,):
        assert STRENGTH.index(after) >= STRENGTH.index(before)


@given(permissions, targets, grants)
def test_the_order_of_grants_does_not_matter(p: Permission, t: Target, held: tuple[Grant, ...]) -> None:
    assert decide(p, t, held, "me") is decide(p, t, held[::-1], "me")


@given(targets, grants)
def test_own_only_means_own(t: Target, held: tuple[Grant, ...]) -> None:
    roles = [g.role for g in held if covers(g.scope, t)]
    if roles and max(roles, key=lambda r: r.rank) is Role.OPERATOR:
        verdict = decide(Permission.JOB_CONTROL, t, held, "me")
        assert verdict is (Verdict.ALLOWED if t.owner_id == "me" else Verdict.FORBIDDEN)


@given(permissions, targets, grants, st.sampled_from((None, "a", "b")))
def test_a_list_shows_what_may_be_seen_one_by_one(
    p: Permission, t: Target, held: tuple[Grant, ...], tenant: str | None
) -> None:
    """A row in reach is one some grant allows; a narrowed reach shows that tenant's rows and no others."""
    seen = reach(p, held, tenant)
    shown = seen.everything or t.tenant_id in seen.tenants or t.provider_id in seen.providers
    able = any(covers(g.scope, t) and MATRIX[p][g.role] > Rule.OWN for g in held)
    if tenant is None:
        assert shown == able
    elif shown:
        assert t.tenant_id == tenant
        assert able


def test_own_things_are_not_a_scopes_things() -> None:
    assert reach(Permission.AUDIT_READ, (Grant(Role.OPERATOR, ANYWHERE),), None).nothing
    assert reach(Permission.AUDIT_READ, (Grant(Role.ADMIN, ANYWHERE),), None).everything
