"""Provider addresses through the real door: refused with the field and the way out, before anything connects."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from storage_core.cli import build
from storage_core.domain.errors import InvalidRequest
from storage_core.domain.permission import Role
from storage_core.settings import Settings
from tests.integration.doors import Doors, doors_at

REFUSED = (
    *("127.1", "0x7f.1", "2130706433", "0177.0.0.1", "169.254.169.254", "64:ff9b::7f00:1", "2002:7f00:1::"),
    *("::127.0.0.1", "::ffff:127.0.0.1", "::", "0.0.0.0", "fe80::1", "224.0.0.1", "[::1]", "fd00:ec2::254"),
)


@pytest.mark.parametrize("kind", ["postgresql", "mongodb"])
async def test_no_spelling_of_a_forbidden_address_is_a_provider(shared: Doors, kind: str) -> None:
    async with shared.rest(Role.SUPER_ADMIN) as http:
        for host in REFUSED:
            connection = {"host": host, "port": 1, "user": "u", "password": "never sent anywhere"}
            body: dict[str, Any] = {"name": "p", "kind": kind, "connection": connection}
            answer = await http.post("/api/storage/providers/create", json=body)
            told = answer.json()
            assert (answer.status_code, told["code"]) == (422, "address_refused"), host
            assert told["field"] == "connection.host", host
            assert told["hint"], host
            test = await http.post(
                "/api/storage/providers/test", json={"kind": kind, "connection": connection}
            )
            if test.is_success:
                first, *rest = test.json()
                assert (first["name"], first["code"]) == ("name", "address_refused"), host
                assert {step["status"] for step in rest} == {"skipped"}
            else:
                assert test.json()["field"] == "connection.host"
        assert (await http.get("/api/storage/providers/list")).json()["total"] == 0


@pytest.mark.parametrize(
    ("settings", "local"),
    [
        ({}, True),
        ({"host": "localhost"}, True),
        ({"host": "::1"}, True),
        ({"host": "0.0.0.0"}, False),
        ({"host": "10.0.0.5"}, False),
        ({"public_url": "https://console.example"}, False),
        ({"trusted_proxies": "127.0.0.1"}, False),
    ],
)
def test_servers_of_this_machine_are_for_a_console_of_this_machine(
    tmp_path: Path, settings: dict[str, str], local: bool
) -> None:
    assert Settings(home=tmp_path, **settings).is_local == local  # type: ignore[arg-type]


async def test_the_options_say_where_providers_may_be(tmp_path: Path) -> None:
    connection = {"host": "127.0.0.1", "port": 1, "user": "u", "password": "never sent anywhere"}
    lan = {**connection, "host": "10.0.0.7"}
    async with doors_at(tmp_path / "home", public_url="https://console.example") as doors:

        async def code_of(connection: dict[str, Any]) -> str:
            steps = await doors.call("providers.test", kind="postgresql", connection=connection)
            return str(next(step.code for step in steps if step.code))

        async def setting(key: str, value: str) -> None:
            await doors.call("settings.update", key=key, value=value, confirm=key)

        assert await code_of(connection) == "address_refused", (
            "a console of many people does not reach its own machine"
        )
        await setting("outbound_loopback", "true")
        assert await code_of(connection) == "engine_unreachable"
        await setting("outbound_loopback", "false")
        await setting("outbound_networks", "127.0.0.1/32")
        assert await code_of(connection) == "engine_unreachable"
        await setting("outbound_private", "false")
        assert await code_of(lan) == "address_refused"
        await setting("outbound_networks", "0.0.0.0/0, ::/0")
        assert await code_of({**connection, "host": "169.254.169.254"}) == "address_refused"
        for wrong in ("10.0.0.1/8", "everything"):
            with pytest.raises(InvalidRequest):
                await setting("outbound_networks", wrong)


@pytest.mark.parametrize(
    "host", ["127.1", "0x7f.1", "[::1]", "u:hunter2@10.0.0.1", "postgresql://u:hunter2@10.0.0.1/x"]
)
def test_the_command_line_says_so_without_the_text(tmp_path: Path, host: str) -> None:
    given = ["providers", "create", "--name", "p", "--kind", "postgresql", "--connection.host", host]
    result = CliRunner().invoke(
        build(), given, env={"STORAGE_HOME": str(tmp_path)}, prog_name="storage-console"
    )
    assert result.exit_code == 2, result.output
    assert "(--connection.host)" in result.stderr
    assert "hunter2" not in result.output + result.stderr
    assert not (tmp_path / "catalog.sqlite3").exists(), "refused before anything is opened, let alone noted"
