"""Physical names: valid everywhere, and never the same for two databases."""

import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_core.domain.errors import InvalidRequest
from storage_core.domain.naming import (
    MAX_PHYSICAL,
    artifact_key,
    checked_name,
    file_name,
    physical_name,
    scratch_job,
    scratch_name,
)
from storage_core.domain.provider import EngineKind

names = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,47}", fullmatch=True)
# Ids are made here; names of tenants may change hands, so the ids decide.
ids = st.integers(0, 3).map(lambda n: f"tenant-{n}")
owners = st.none() | st.tuples(ids, names)
places = st.tuples(owners, st.none() | names, names)


def physical(place: tuple[tuple[str, str] | None, str | None, str]) -> str:
    owner, namespace, name = place
    tenant_id, tenant_name = owner or (None, None)
    return physical_name(tenant_id, tenant_name, namespace, name)


@given(places, places)
def test_two_databases_never_have_one_name(one: tuple, other: tuple) -> None:  # type: ignore[type-arg]
    def identity(place: tuple) -> tuple:  # type: ignore[type-arg]
        owner, namespace, name = place
        return (owner[0] if owner else None, namespace, name)

    if identity(one) != identity(other):
        assert physical(one) != physical(other)
        for kind in filter(lambda kind: kind.is_files, EngineKind):
            first, second = (file_name(kind, p[0][0] if p[0] else None, physical(p)) for p in (one, other))
            assert first.lower() != second.lower()


@given(places)
def test_a_name_fits_every_engine(place: tuple) -> None:  # type: ignore[type-arg]
    name = physical(place)
    assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
    assert len(name.encode()) <= MAX_PHYSICAL
    assert physical(place) == name
    assert scratch_job(name) is None


def test_parts_do_not_run_into_each_other() -> None:
    assert physical_name("t", "a_b", None, "c") != physical_name("u", "a", None, "b_c")
    assert physical_name("t", "a", "b", "c") != physical_name("t", "a", None, "b_c")
    assert physical_name("t", "a", None, "b-c") != physical_name("t", "a", None, "b_c")


@given(st.uuids(version=4))
def test_a_throw_away_name_leads_back_to_its_job(job_id: uuid.UUID) -> None:
    name = scratch_name(str(job_id))
    assert len(name) <= MAX_PHYSICAL
    assert scratch_job(name) == str(job_id)
    for kind in filter(lambda kind: kind.is_files, EngineKind):
        assert scratch_job(file_name(kind, None, name)) == str(job_id)


@pytest.mark.parametrize(
    "bad", ["", "A", "-a", "_a", "a b", "a.b", "a/b", "..", "ä", "a" * 49, "a\n", "a\x00", "host=x"]
)
def test_a_name_that_breaks_the_rule_is_refused_naming_the_field(bad: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        checked_name(bad, "name")
    assert caught.value.field == "name" and caught.value.hint


@given(names)
def test_a_name_that_keeps_the_rule_is_taken_as_it_is(name: str) -> None:
    assert checked_name(name, "name") == name


def test_artifacts_lie_below_their_tenant_and_database() -> None:
    assert artifact_key("t1", "d1", "b1") == "artifacts/tenant-t1/d1/b1.scb"
    assert artifact_key(None, "d1", "b1") == "artifacts/system/d1/b1.scb"
