"""Where a stored password may go: to the place it was given for, as well guarded as then."""

from dataclasses import replace

import pytest
from pydantic import ValidationError

from storage_core.domain.provider import Endpoint, EngineKind, TlsMode, exposes
from storage_core.services.providers import TestProvider

PG, MONGO = EngineKind.POSTGRESQL, EngineKind.MONGODB
KNOWN = Endpoint("db.example", 5432, "console", "admin", TlsMode.VERIFY_CA, "PEM")


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (PG, {"host": "db.example.evil"}),
        (PG, {"port": 5433}),
        (PG, {"port": None, "host": "other"}),
        (PG, {"tls": TlsMode.REQUIRE}),
        (PG, {"tls": TlsMode.DISABLE}),
        (PG, {"tls_ca": "PEM of mine"}),
        (PG, {"tls_ca": None}),
        (PG, {"pooler_host": "pgbouncer.evil"}),
        (PG, {"pooler_host": "db.example", "pooler_port": 7}),
        (MONGO, {"replica_set": "mine"}),
        (MONGO, {"database": "mine"}),
        (MONGO, {"port": None}),
    ],
)
def test_another_place_or_less_guard_asks_for_the_password(
    kind: EngineKind, change: dict[str, object]
) -> None:
    assert exposes(kind, KNOWN, replace(KNOWN, **change))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (PG, {}),
        (PG, {"host": "DB.example", "port": None}),
        (PG, {"tls": TlsMode.VERIFY_FULL}),
        (PG, {"database": "other"}),
        (PG, {"user": "somebody"}),
    ],
)
def test_the_same_place_does_not(kind: EngineKind, change: dict[str, object]) -> None:
    assert not exposes(kind, KNOWN, replace(KNOWN, **change))  # type: ignore[arg-type]


def test_what_was_known_of_a_pooler_and_a_replica_set_may_go() -> None:
    known = replace(KNOWN, pooler_host="pgbouncer.example")
    assert not exposes(PG, known, replace(known, pooler_port=6432))
    assert not exposes(PG, known, KNOWN)
    assert not exposes(MONGO, replace(KNOWN, replica_set="rs0"), KNOWN)
    assert not exposes(PG, replace(KNOWN, tls=TlsMode.REQUIRE, tls_ca=None), KNOWN)


@pytest.mark.parametrize("more", [{}, {"kind": "postgresql"}])
def test_a_stored_provider_and_an_unsaved_connection_are_not_tested_together(more: dict[str, str]) -> None:
    """The one's password never meets the other's address."""
    asked = {"id": "x", "connection": {"host": "evil.example"}, **more}
    with pytest.raises(ValidationError, match="either id, or kind and connection"):
        TestProvider.model_validate(asked)
