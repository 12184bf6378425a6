"""The command line: a whole story on a local home, against a server, and how it fails."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from storage_core.cli import build, output
from storage_core.cli.commands import NOUNS
from storage_core.cli.output import columns
from storage_core.cli.progress import bar, size
from storage_core.domain.errors import InvalidRequest
from storage_core.domain.job import Progress
from storage_core.domain.permission import Role
from storage_core.services.declared import OPERATIONS
from tests.integration.doors import PASSWORD, Live

COMMAND = [sys.executable, "-P", "-m", "storage_console.cli"]


def clean(**more: str) -> dict[str, str]:
    """The environment without anything of ours, and `more`."""
    return {**{k: v for k, v in os.environ.items() if not k.startswith("STORAGE_")}, **more}


class Home:
    """A local home and the real command."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def run(self, *arguments: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *arguments],
            input=stdin,
            env=clean(STORAGE_HOME=str(self.path), **env),
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    def json(self, *arguments: str, stdin: str = "") -> Any:
        done = self.run(*arguments, "--json", stdin=stdin)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("cli") / "home")


def rows(path: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(path) as database:
        return list(database.execute("select * from orders order by id"))


@pytest.mark.timeout(300)  # nine processes in a row
def test_from_a_tenant_to_a_restored_backup(home: Home, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    tenant = home.json("tenants", "create", "--name", "acme")
    assert (tenant["name"], tenant["status"]) == ("acme", "active")
    provider = home.json(
        *("providers", "create", "--name", "files", "--kind", "sqlite"),
        *("--connection.path", str(tmp_path / "files")),
    )
    database = home.json(
        *("databases", "create", "--provider-id", provider["id"], "--name", "orders"),
        *("--tenant-id", tenant["id"]),
    )
    with sqlite3.connect(database["location"]) as made:
        made.execute("create table orders(id integer primary key, sku text, qty real)")
        made.executemany("insert into orders values (?, ?, ?)", [(i, f"A{i}", i / 3) for i in range(500)])
    backup = home.json("backups", "create", "--database-id", database["id"], "--note", "the first", "--wait")
    assert backup["status"] == "proven", backup
    assert backup["proof"]["rows"] == 500
    assert backup["proof"]["differences"] == []
    with sqlite3.connect(database["location"]) as made:
        made.execute("delete from orders where id % 2")
    restored = home.json("backups", "restore", "--id", backup["id"], "--name", "again", "--wait")
    assert (restored["name"], restored["status"]) == ("again", "ready")
    assert rows(restored["location"]) == [(i, f"A{i}", i / 3) for i in range(500)]
    assert len(rows(database["location"])) == 250, "the source is as people left it"

    listed = home.run("backups", "list")
    assert listed.returncode == 0
    assert listed.stdout.split()[0] == "id"
    assert "proven" in listed.stdout
    assert listed.stderr == "1 of 1\n"

    ticket = home.json("databases", "optimize", "--id", database["id"])
    assert (ticket["id"], ticket["status"]) == (database["id"], "queued")
    assert home.json("jobs", "get", "--id", ticket["job_id"])["status"] == "queued"
    assert home.json("audit", "verify")["ok"] is True


@pytest.mark.timeout(300)
def test_what_is_wrong_is_said_of_the_option_that_was_given(home: Home, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    provider = home.json(
        *("providers", "create", "--name", "words", "--kind", "sqlite"),
        *("--connection.path", str(tmp_path / "files")),
    )
    database = home.json("databases", "create", "--provider-id", provider["id"], "--name", "words")
    wrong = home.run("databases", "configure", "--id", database["id"], "--settings", '{"work_mem": "7"}')
    assert wrong.returncode == 2
    assert "(--settings work_mem)" in wrong.stderr, wrong.stderr
    hostile = home.run(
        *("databases", "adopt", "--provider-id", provider["id"], "--name", "x"),
        *("--physical-name", "../../../etc/passwd"),
    )
    assert hostile.returncode == 2
    assert "(--physical-name)" in hostile.stderr, hostile.stderr
    named = home.run("tenants", "create", "--name", "it's\\x\u2028")
    assert "'it's\\x\N{REPLACEMENT CHARACTER}'" in named.stderr, named.stderr

    (tmp_path / "files").rename(tmp_path / "moved")
    (tmp_path / "files").touch()
    tested = home.run("providers", "test", "--id", provider["id"], "--json")
    assert json.loads(tested.stdout)[0]["status"] == "failed"
    assert tested.returncode == 1


def test_a_refusal_is_status_1_with_message_and_hint_on_stderr(home: Home) -> None:
    done = home.run("tenants", "get", "--id", "missing")
    assert (done.returncode, done.stdout) == (1, "")
    assert "There is no tenant 'missing'." in done.stderr
    assert "Check the id" in done.stderr
    assert "code: not_found" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("tenants", "create"), "--name: Field required"),
        (("tenants", "create", "--name", "Not A Name"), "(--name)"),
        (("tenants", "create", "--nmae", "x"), "--nmae"),
        (("tenants", "crate"), "crate"),
        (("nouns",), "nouns"),
        (("engines", "start", "oracle"), "oracle"),
    ],
)
def test_bad_usage_is_status_2_and_names_the_option(
    home: Home, arguments: tuple[str, ...], said: str
) -> None:
    done = home.run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_a_wrong_setting_is_one_clear_line(home: Home) -> None:
    for name, value in (("STORAGE_PROT", "1"), ("STORAGE_PORT", "x")):
        done = home.run("tenants", "list", **{name: value})
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert done.stderr.startswith(name)


def test_secrets_come_from_standard_input_and_files(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\n")
    create = ("users", "create", "--role", "Viewer", "--username")
    home.json(*create, "ann", "--password", "@-", stdin=PASSWORD + "\n")
    home.json(*create, "bob", "--password", f"@{file}")
    short = home.run(*create, "carl", "--password", "@-", stdin="short\n")
    assert short.returncode == 2
    assert "12 characters" in short.stderr
    assert "(--password)" in short.stderr


def test_the_openapi_document_needs_no_home_and_no_server(tmp_path: Path, live: Live) -> None:
    done = subprocess.run(
        [*COMMAND, "openapi"], env=clean(STORAGE_HOME=str(tmp_path / "none")), capture_output=True, check=True
    )
    assert json.loads(done.stdout) == live.doors.app.openapi()
    assert not (tmp_path / "none").exists()


@pytest.mark.timeout(300)
def test_ctrl_c_leaves_the_job_and_says_so(home: Home, tmp_path: Path) -> None:
    """The worker lock is held by us, so nobody executes: the command follows until it is interrupted."""
    from storage_core.bootstrap import WorkerLock

    (tmp_path / "files").mkdir()
    provider = home.json(
        *("providers", "create", "--name", "more", "--kind", "sqlite"),
        *("--connection.path", str(tmp_path / "files")),
    )
    database = home.json("databases", "create", "--provider-id", provider["id"], "--name", "other")
    lock = WorkerLock(home.path)
    assert lock.acquire()
    try:
        follower = subprocess.Popen(
            [*COMMAND, "databases", "optimize", "--id", database["id"], "--wait"],
            env=clean(STORAGE_HOME=str(home.path)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while not (jobs := home.json("jobs", "list", "--target-id", database["id"])["items"]):
            assert follower.poll() is None, follower.stderr
        follower.send_signal(signal.SIGINT)
        out, err = follower.communicate(timeout=60)
    finally:
        lock.release()
    assert (follower.returncode, out) == (1, "")
    assert f"The job {jobs[0]['id']} is not cancelled." in err
    assert f"jobs cancel --id {jobs[0]['id']}" in err
    assert "Traceback" not in err
    assert home.json("jobs", "get", "--id", jobs[0]["id"])["status"] == "queued"


# against a server


def remote(live: Live, role: Role, *arguments: str) -> Result:
    token = live.do(live.doors.token(role))
    env = {"STORAGE_URL": live.url, "STORAGE_TOKEN": token, "STORAGE_HOME": "/nowhere"}
    return CliRunner().invoke(build(), arguments, env=env)


def test_against_a_server_the_same_commands_work(live: Live) -> None:
    made = remote(live, Role.SUPER_ADMIN, "tenants", "create", "--name", "acme", "--json")
    assert made.exit_code == 0, made.output
    table = remote(live, Role.VIEWER, "tenants", "list")
    assert table.exit_code == 0
    assert "acme" in table.stdout
    refused = remote(live, Role.VIEWER, "tenants", "create", "--name", "other")
    assert refused.exit_code == 1
    assert "code: forbidden" in refused.stderr


def test_the_real_command_reaches_a_server(live: Live, tmp_path: Path) -> None:
    env = clean(
        STORAGE_URL=live.url,
        STORAGE_TOKEN=live.do(live.doors.token(Role.VIEWER)),
        STORAGE_HOME=str(tmp_path / "unused"),
    )
    done = subprocess.run([*COMMAND, "jobs", "list", "--json"], env=env, capture_output=True, check=True)
    assert json.loads(done.stdout) == {"items": [], "next": None, "total": 0}
    assert not (tmp_path / "unused").exists()


def test_a_server_needs_a_token_and_must_be_there() -> None:
    env = {"STORAGE_URL": "http://127.0.0.1:1", "STORAGE_TOKEN": ""}
    without = CliRunner().invoke(build(), ["tenants", "list"], env=env)
    assert without.exit_code == 1
    assert "STORAGE_TOKEN" in without.stderr
    away = CliRunner().invoke(build(), ["tenants", "list"], env={**env, "STORAGE_TOKEN": "sct_x"})
    assert away.exit_code == 1
    assert "STORAGE_URL" in away.stderr


# what people see


def test_every_noun_has_a_line_of_help() -> None:
    assert set(NOUNS) == {op.noun for op in OPERATIONS}


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from storage_core.cli import build\n"
        "try: build()(sys.argv[1:])\n"
        "finally: print(*sorted(sys.modules))"
    )

    def loaded(*arguments: str) -> set[str]:
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], env=clean(), capture_output=True, text=True, check=True
        )
        return set(done.stdout.splitlines()[-1].split())

    heavy = {
        "sqlalchemy",
        "dbos",
        "pymongo",
        "alembic",
        "fastapi",
        "asyncpg",
        "cryptography",
        "httpx",
        "rich",
        "structlog",
    }
    assert not loaded("--help") & {*heavy, "pydantic", "storage_core.services.operation"}
    assert not loaded("backups", "create", "--help") & heavy


def test_a_local_read_loads_neither_the_job_store_nor_drivers_nor_migrations(home: Home) -> None:
    home.json("tenants", "list")  # brings the home to this version
    code = "import sys; sys.argv[0] = 'x'; from storage_core.cli import build\ntry: build()()\nfinally: print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, "tenants", "list"],
        env=clean(STORAGE_HOME=str(home.path)), capture_output=True, text=True, check=True,
    )  # fmt: skip
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "sqlalchemy" in loaded
    assert not loaded & {"dbos", "pymongo", "alembic", "asyncpg", "fastapi", "httpx", "structlog", "psycopg"}


def test_tables_show_what_people_look_for_first() -> None:
    row = {
        "provider_id": "p",
        "created_at": "t",
        "size_stored": 3,
        "manifest": {"objects": []},
        "note": None,
        "status": "proven",
        "database_name": "orders",
        "id": "b",
        "tenant_id": "t",
        "job_id": "j",
        "x": 1,
        "y": 2,
    }
    assert columns([row]) == [
        *("id", "database_name", "status", "tenant_id", "provider_id", "size_stored", "created_at", "job_id")
    ]


def test_a_bar_on_a_terminal_and_nothing_elsewhere(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    with bar(quiet=True) as show:
        show(Progress("dump", 10.0, 5_000_000))
    assert capsys.readouterr() == ("", "")
    with bar(quiet=False) as show:
        show(Progress("dump", 10.0, 5_000_000))
    out, err = capsys.readouterr()
    assert out == ""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", err)
    assert re.search(r"dump .* 10\.0 % 5\.0 MB", plain)


def test_what_is_named_to_steer_a_terminal_is_spelt_out(capsys: pytest.CaptureFixture[str]) -> None:
    name = "\x1b[2Kok \u202e\x9b1A\x00\ud800"
    row = {"id": "1", "name": name, "tags": [name], name: name}
    for value in (
        row,
        {"items": [row], "next": None, "total": 1},
        [row],
        {name: [row], f"x{name}": row},
        name,
    ):
        output.show(value, as_json=False)
        output.show(value, as_json=True)
    output.fail(InvalidRequest(name, field="name", hint=name))
    shown = "".join(capsys.readouterr())
    assert not set(name) - set("[2Kok 1A") & set(shown)
    output.show(row, as_json=True)
    assert json.loads(capsys.readouterr().out) == row


def test_sizes_as_people_read_them() -> None:
    assert [size(n) for n in (0, 1, 999, 1500, 2_000_000, 5 * 10**15)] == [
        *("", "1 bytes", "999 bytes", "1.5 kB", "2.0 MB", "5000.0 TB")
    ]


def test_verifying_is_no_success_while_the_signed_heads_are_lost(home: Home) -> None:
    home.json("tenants", "create", "--name", "heads")
    (home.path / "audit" / "heads.jsonl").unlink()
    done = home.run("audit", "verify", "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["ok"], found["lost"]) == (1, True, True)
    assert done.stderr.startswith("What is there fits together; that nothing was cut is not proven. "), (
        done.stderr
    )
    home.json("tenants", "create", "--name", "more-heads")  # whoever writes exports when it ends
    again = home.json("audit", "verify")
    assert (again["ok"], again["lost"]) == (True, False)
    assert "guard the log since" in again["problem"]
