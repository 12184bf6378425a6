"""Verb, path and JSON from a name: the contract's rule, and where secrets may go."""

import pytest
from pydantic import SecretStr

from storage_core.domain.errors import NotFound, StorageError, revive
from storage_core.domain.job import Ticket
from storage_core.services.backups import CreateBackup
from storage_core.services.declared import OPERATIONS
from storage_core.services.providers import Connection, CreateProvider, UpdateProvider
from storage_core.services.tenants import GetTenant
from storage_core.wire import from_json, parts, problem, revealed, route, to_json

BY_NAME = {op.name: op for op in OPERATIONS}


@pytest.mark.parametrize(
    ("name", "method", "path", "status"),
    [
        ("tenants.list", "GET", "/tenants/list", 200),
        ("tenants.create", "POST", "/tenants/create", 200),
        ("tenants.get", "GET", "/tenants/{id}", 200),
        ("tenants.delete", "DELETE", "/tenants/{id}", 200),
        ("tenants.update", "PUT", "/tenants/{id}/update", 200),
        ("tenants.suspend", "POST", "/tenants/{id}/suspend", 200),
        ("tenants.usage", "GET", "/tenants/{id}/usage", 200),
        ("databases.configure", "PUT", "/databases/{id}/configure", 200),
        ("databases.optimize", "POST", "/databases/{id}/optimize", 202),
        ("databases.stats", "GET", "/databases/{id}/stats", 200),
        ("databases.adopt", "POST", "/databases/adopt", 200),
        ("databases.existing", "GET", "/databases/existing", 200),
        ("backups.create", "POST", "/backups/create", 202),
        ("backups.restore", "POST", "/backups/{id}/restore", 202),
        ("backups.verify", "POST", "/backups/{id}/verify", 202),
        ("backups.status", "GET", "/backups/{id}/status", 200),
        ("jobs.retry", "POST", "/jobs/{id}/retry", 202),
        ("providers.test", "POST", "/providers/test", 200),
        ("audit.verify", "GET", "/audit/verify", 200),
        ("tokens.revoke", "POST", "/tokens/{id}/revoke", 200),
    ],
)
def test_verb_and_path_follow_the_contracts_rule(name: str, method: str, path: str, status: int) -> None:
    where = route(BY_NAME[name])
    assert (where.method, where.path, where.status) == (method, "/api/storage" + path, status)


def test_no_two_operations_share_an_address() -> None:
    places = [(route(op).method, route(op).path) for op in OPERATIONS]
    assert len(set(places)) == len(places)


def test_a_path_carries_the_id_and_nothing_else_of_it() -> None:
    path, query, body = parts(BY_NAME["tenants.get"], GetTenant(id="../users/list?limit=1#x"))
    assert path == "/api/storage/tenants/..%2Fusers%2Flist%3Flimit%3D1%23x"
    assert (query, body) == ({}, None)


def test_only_given_fields_travel() -> None:
    assert parts(BY_NAME["backups.create"], CreateBackup(database_id="d")) == (
        "/api/storage/backups/create",
        None,
        {"database_id": "d"},
    )


def test_secrets_travel_to_the_server_and_nowhere_else() -> None:
    connection = Connection(host="db.example", password=SecretStr("hunter2"))
    request = CreateProvider(name="p", kind="postgresql", connection=connection)  # type: ignore[arg-type]
    assert parts(BY_NAME["providers.create"], request)[2] == {
        "name": "p",
        "kind": "postgresql",
        "connection": {"host": "db.example", "password": "hunter2"},
    }
    for shown in (repr(request), str(request), request.model_dump_json(), str(request.model_dump())):
        assert "hunter2" not in shown


def test_a_nested_none_is_kept_where_it_was_given() -> None:
    assert revealed(UpdateProvider(id="x", name=None)) == {"id": "x", "name": None}


def test_long_work_answers_a_ticket_and_reads_it_back() -> None:
    op, ticket = BY_NAME["backups.create"], Ticket("b", "j")
    value = to_json(op, ticket)
    assert value == {"id": "b", "job_id": "j", "status": "queued"}
    assert from_json(op, value) == ticket


def test_a_problem_says_everything_and_revives_to_the_same_error() -> None:
    error = NotFound("There is no tenant 'x'.", field="id")
    told = problem(error, "c-1")
    assert told == {
        "type": "about:blank",
        "code": "not_found",
        "title": "Not found",
        "status": 404,
        "detail": "There is no tenant 'x'.",
        "hint": NotFound.default_hint,
        "field": "id",
        "correlation_id": "c-1",
    }
    assert type(revive(told["code"], told["detail"])) is NotFound


def test_every_code_is_one_kind_of_error() -> None:
    kinds: list[type[StorageError]] = []
    stack: list[type[StorageError]] = [StorageError]
    while stack:
        kind = stack.pop()
        kinds.append(kind)
        stack += kind.__subclasses__()
    ours = [k for k in kinds if k.__module__ == "storage_core.domain.errors"]
    codes = [k.code for k in ours]
    assert len(set(codes)) == len(codes)
    assert all(type(revive(k.code, "x")) is k for k in ours)
