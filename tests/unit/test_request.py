"""What no request takes, whichever operation it is for."""

import pytest
from pydantic import SecretStr, ValidationError

from storage_core.services.databases import ConfigureDatabase
from storage_core.services.declared import OPERATIONS
from storage_core.services.providers import Connection, CreateProvider
from storage_core.services.records import InsertRecord, UpdateRecord
from storage_core.services.request import LINES, Request
from storage_core.services.tenants import CreateTenant, SuspendTenant
from storage_core.services.tokens import CreateToken
from storage_core.services.users import ChangePassword
from storage_core.wire import bare

REQUESTS = sorted({op.request for op in OPERATIONS} | {Connection}, key=lambda made: made.__name__)


def texts(request: type[Request]) -> set[str]:
    """The fields of a request that are plain text."""
    return {name for name, field in request.model_fields.items() if bare(field.annotation) is str}


def refused(request: type[Request], text: str) -> set[str]:
    """The text fields that do not take the text."""
    found = set()
    for name in texts(request):
        with pytest.raises(ValidationError) as caught:
            request.model_validate({name: text, "nothing": "else"})
        found |= {str(e["loc"][0]) for e in caught.value.errors() if e["loc"] == (name,)}
    return found


@pytest.mark.parametrize("request_type", REQUESTS, ids=lambda made: made.__name__)
def test_no_text_field_takes_control_characters(request_type: type[Request]) -> None:
    for character in "\x00\x07\x1b\x7f\x9b":
        assert refused(request_type, f"a{character}b") == texts(request_type)
    of_lines = {name for name, field in request_type.model_fields.items() if LINES in field.metadata}
    for character in "\n\t\r":
        assert refused(request_type, f"a{character}b") >= texts(request_type) - of_lines


def test_the_field_is_named_and_its_value_is_not_told() -> None:
    at = {"host": "db.example", "user": "u", "password": "hush\x00hush"}
    for made, given, place in (
        (CreateTenant, {"name": "acme", "title": "a\x00b"}, "title"),
        (CreateProvider, {"name": "x", "kind": "postgresql", "connection": at}, "connection.password"),
        (ChangePassword, {"password": "hush\x00hush hush hush"}, "password"),
    ):
        with pytest.raises(ValidationError) as caught:
            made.model_validate(given)
        [error] = caught.value.errors(include_input=False)
        assert ".".join(map(str, error["loc"])) == place
        assert "control characters" in error["msg"]
        assert "hush" not in str(caught.value)


def test_texts_inside_a_field_count_as_well() -> None:
    for settings in ({"a\x00": "b"}, {"a": "b\x1b"}):
        with pytest.raises(ValidationError, match="control characters"):
            ConfigureDatabase.model_validate({"id": "d", "settings": settings})
    with pytest.raises(ValidationError, match="control characters"):
        CreateToken.model_validate({"name": "t", "scopes": ["tenant:a\x00b"]})


def test_texts_of_lines_keep_their_lines() -> None:
    reason = "unpaid:\r\n\t- May\n\t- June"
    assert SuspendTenant(id="t", reason=reason).reason == reason
    pem = "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n"
    connection = Connection(host="db.example", user="u", password=SecretStr("a\tb"), tls_ca=pem)
    assert connection.tls_ca == pem


def test_what_people_keep_is_theirs() -> None:
    """A row with a colour code in it can be added, and mended."""
    kept = {"line": "\x1b[31mred\x1b[0m\x7f\x85\r\n", "more": [{"\x07": "\x9b"}]}
    at = {"database_id": "d", "name": "t"}
    assert InsertRecord.model_validate({**at, "data": kept}).data == kept
    assert UpdateRecord.model_validate({**at, "id": "1", "data": kept, "was": kept}).was == kept
    with pytest.raises(ValidationError, match="control characters"):
        InsertRecord.model_validate({**at, "data": {"nul": "a\x00b"}})
