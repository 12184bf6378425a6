"""A secret goes in through every door of the running console, and comes to rest nowhere but sealed.

Where it must have arrived is asserted as well: nothing is proven about a secret that never got in.
"""

import asyncio
import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import httpx
import pytest

from e2e.console import COMMAND, PASSWORD, Console, Rest, running
from storage_core.backing.servers.servers import LocalServers
from tests.integration.canary import MARK, Programs, Watch, secret, spellings
from tests.integration.test_console_surface import ROOT, events, handler, socket

pytestmark = [pytest.mark.timeout(300), pytest.mark.servers]


class Doors:
    """The console's doors, and whatever came back through them."""

    def __init__(self, console: Console, rest: Rest) -> None:
        self.console, self.rest, self.answers = console, rest, list[str]()

    async def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        answer = await self.rest.http.request(method, path, **more)
        self.answers.append(
            f"{method} {path.partition('?')[0]}: {answer.status_code} {answer.headers} {answer.text}"
        )
        return answer

    async def stranger(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Without our cookie, as somebody who signs in another way or not at all."""
        async with httpx.AsyncClient(base_url=self.console.url, timeout=60) as http:
            answer = await http.request(method, path, **more)
        shown = {k: v for k, v in answer.headers.items() if k != "set-cookie"}
        self.answers.append(f"{method} {path.partition('?')[0]}: {answer.status_code} {shown} {answer.text}")
        return answer

    async def cli(self, *words: str, stdin: str) -> int:
        process = await asyncio.create_subprocess_exec(
            COMMAND,
            *words,
            env=self.console.env,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await process.communicate(stdin.encode())
        self.answers.append(out.decode())
        assert process.returncode is not None
        return process.returncode


async def a_server(console: Console) -> dict[str, Any]:
    """A private PostgreSQL of the console's, with a user for each door's password; how to reach it."""
    await console.cli("engines", "start", "postgresql")
    servers = LocalServers(console.home)
    [server] = await servers.list()
    endpoint, password = await servers.endpoint(server.name)
    admin = await asyncpg.connect(
        host=endpoint.host,
        port=endpoint.port,
        user=endpoint.user,
        password=password,
        database="postgres",
        ssl=False,
    )
    for user in ("rest", "cli", "page", "changed", "set"):
        quoted = secret(user).replace("'", "''")
        await admin.execute(f"create role {user} login superuser password '{quoted}'")
    await admin.close()
    return {"host": endpoint.host, "port": endpoint.port}


async def through_rest(doors: Doors, at: dict[str, Any]) -> None:
    create, test = "/api/storage/providers/create", "/api/storage/providers/test"
    good = {**at, "user": "rest", "password": secret("rest")}
    made = await doors.ask(
        "POST",
        create,
        json={"name": "rest", "kind": "postgresql", "connection": good},
        headers={"Idempotency-Key": "again"},
    )
    assert made.status_code == 200, made.text
    again = await doors.ask(
        "POST",
        create,
        json={"name": "rest", "kind": "postgresql", "connection": good},
        headers={"Idempotency-Key": "again"},
    )
    assert again.json()["id"] == made.json()["id"]
    id = made.json()["id"]
    changed = {"connection": {**at, "user": "changed", "password": secret("changed")}}
    assert (await doors.ask("PUT", f"/api/storage/providers/{id}/update", json=changed)).status_code == 200

    credentials = f"/api/storage/secrets/{id}/credentials"
    for given, status in (("wrong", 503), ("set", 200)):
        answer = await doors.ask("PUT", credentials, json={"user": "set", "password": secret(given)})
        assert answer.status_code == status, answer.text
    for body in ({"password": [secret("list")]}, {"password": secret("both"), "generate": True}):
        assert (await doors.ask("PUT", credentials, json=body)).status_code == 422

    # what fails, at each step a connection can fail at
    wrong = {**at, "user": "rest", "password": secret("wrong")}
    for connection in (
        wrong,
        {**wrong, "port": 1},
        {**wrong, "host": "nowhere.invalid"},
        {**wrong, "host": "127.1"},
        {**wrong, "tls": "verify-full"},
        {**wrong, "tls": "verify-full", "tls_ca": "no certificate"},
        {**wrong, "user": "postgres", "database": "none"},
        {**wrong, "host": f"postgresql://u:{secret('dsn')}@127.0.0.1"},
        {**wrong, "host": f"u:{MARK}@10.0.0.1"},
        {**wrong, "host": f"{MARK}:1.1"},
        {**wrong, "password": secret("nul") + "\x00\n"},
    ):
        for kind in ("postgresql", "mongodb") if connection is wrong else ("postgresql",):
            body = {"name": "x", "kind": kind, "connection": connection}
            assert (await doors.ask("POST", create, json=body)).is_error, connection
            await doors.ask("POST", test, json={"kind": kind, "connection": connection})

    # what is not even a request
    as_json = {"content-type": "application/json"}
    whole = json.dumps(
        {"name": "x", "kind": "postgresql", "connection": {**wrong, "password": secret("junk")}}
    )
    for content in (whole[:-1], whole + "]", whole.replace(":", ";", 1), f'"{MARK}"', f"[{MARK}]", MARK):
        assert (await doors.ask("POST", create, content=content, headers=as_json)).status_code in (400, 422)
    for body in (
        {"name": "x", "kind": "postgresql", "connection": {**wrong, "passwrd": secret("typo")}},
        {"name": "x", "kind": "postgresql", "connection": {**wrong, "password": [secret("list")]}},
        {"name": "x", "kind": "postgresql", "connection": {**wrong, "port": secret("port")}},
        {"name": "x", "kind": secret("kind"), "connection": wrong},
        {"name": "x", "kind": "postgresql", "connection": secret("connection")},
        {"name": "x", "kind": "postgresql", "connection": {"path": "/x", "password": secret("path")}},
        {"name": secret("name"), "password": secret("extra")},
        [secret("array")],
    ):
        assert (await doors.ask("POST", create, json=body)).status_code == 422
    assert (
        await doors.ask("POST", "/api/storage/tenants/create", json={"password": secret("extra")})
    ).status_code == 422


async def through_sign_in(doors: Doors) -> None:
    people = {"username": "canary", "password": secret("user"), "role": "Viewer"}
    assert (await doors.ask("POST", "/api/storage/users/create", json=people)).status_code == 200
    assert (await doors.ask("POST", "/api/storage/users/create", json=people)).status_code == 409
    bad = {**people, "username": "other", "role": secret("role")}
    assert (await doors.ask("POST", "/api/storage/users/create", json=bad)).status_code == 422
    right = {"username": "canary", "password": secret("user")}
    assert (await doors.stranger("POST", "/api/auth/login", json=right)).status_code == 200
    form = await doors.stranger("POST", "/api/auth/login", data=right, headers={"Origin": doors.console.url})
    assert form.status_code == 303
    for name in ("canary", "nobody"):
        said = {"username": name, "password": secret("guess")}
        assert (await doors.stranger("POST", "/api/auth/login", json=said)).status_code == 401
        await doors.stranger("POST", "/api/auth/login", data=said, headers={"Origin": doors.console.url})
    # people type it into the wrong field, links carry it, proxies repeat it
    setup = {"token": secret("setup"), "username": "x", "password": secret("setup")}
    assert (await doors.stranger("POST", "/api/auth/setup", json=setup)).status_code == 410
    me = "/api/auth/me"
    for headers in (
        {"Authorization": f"Bearer {MARK}"},
        {"Authorization": f"Bearer sct_{MARK}"},
        {"Authorization": f"Bearer {MARK}.{MARK}.{MARK}"},
        {"Authorization": f"Basic {base64.b64encode(f'u:{MARK}'.encode()).decode()}"},
        {"Cookie": f"sc_session={MARK}"},
        {"Cookie": f"__Host-sc_session={MARK}"},
    ):
        assert (await doors.stranger("GET", me, headers=headers)).status_code == 401
    for path in (f"/setup?token={MARK}", f"/login?password={MARK}", f"/nowhere?token={MARK}"):
        async with httpx.AsyncClient(base_url=doors.console.url) as http:
            await http.get(path)
    await doors.stranger("GET", f"/api/storage/providers/list?password={quote(secret('query'))}")


async def through_the_command_line(doors: Doors, at: dict[str, Any]) -> None:
    reach = ("--connection.host", at["host"], "--connection.port", str(at["port"]), "--kind", "postgresql")
    create = ("providers", "create", *reach, "--connection.password", "@-")
    assert (
        await doors.cli(*create, "--name", "cli", "--connection.user", "cli", stdin=secret("cli") + "\n") == 0
    )
    assert await doors.cli(*create, "--name", "no", "--connection.user", "cli", stdin=secret("wrong")) == 1
    assert await doors.cli(*create, "--name", "cli", "--connection.user", "cli", stdin=secret("cli")) == 1
    made = (await doors.rest.get("providers/list", q="cli"))["items"][0]["id"]
    change = ("secrets", "credentials", "--id", made, "--password", "@-")
    assert await doors.cli(*change, stdin=secret("wrong")) == 1
    assert await doors.cli(*change, "--user", "set", stdin=secret("set")) == 0
    user = ("users", "create", "--username", "by-cli", "--role", "Viewer", "--password", "@-")
    assert await doors.cli(*user, stdin=secret("cli-user")) == 0


async def through_a_page(doors: Doors, at: dict[str, Any]) -> list[str]:
    """The provider form by websocket; answers every frame that came back."""
    fields = {
        "name": "page",
        "host": at["host"],
        "port": str(at["port"]),
        "user": "page",
        "password": secret("page"),
    }
    async with socket(doors.console, doors.rest.cookie) as one:
        await one.ask(f"{ROOT}.hydrate")
        await one.ask(handler("provider_form.begin"), {"kind": "postgresql"})
        for what, changes in (
            ("test", {}),
            ("test", {"password": secret("wrong")}),
            ("save", {"password": secret("wrong")}),
            ("save", {"port": secret("port")}),
            ("save", {"host": f"postgresql://u:{secret('dsn')}@h"}),
            ("save", {"tls": secret("tls")}),
        ):
            await one.ask(handler("provider_form.intend"), {"what": what})
            await one.ask(handler("provider_form.submit"), {"data": {**fields, **changes}})
        await one.ask(handler("provider_form.intend"), {"what": "save"})
        saved = await one.ask(handler("provider_form.submit"), {"data": fields})
        assert ("_sc_toast", "page is registered") in events(saved), saved
        # handlers nobody knows, and wrong ones: Reflex logs whole events, headers included
        for name in ("no.such.handler", handler("tenants.search"), handler("provider_form.submit")):
            for payload in (
                {"password": MARK},
                {"data": {"password": MARK}},
                {"data": [MARK]},
                {"text": {"x": 1}},
            ):
                await one.ask(name, payload)
        await one.send("no.such.handler", {"password": MARK}, headers={"cookie": f"sc_session={MARK}"})
        await one.answers()
        await one.ask(f"{ROOT}.hydrate")
        heard = one.heard
    async with socket(doors.console, MARK) as stranger:  # as a cookie
        await stranger.ask(f"{ROOT}.hydrate")
        await stranger.ask("no.such.handler", {"x": 1})
        return [*heard, *stranger.heard]


async def through_the_admin(doors: Doors, at: dict[str, Any]) -> None:
    form = {
        "name": "admin",
        "kind": "postgresql",
        "connection.host": at["host"],
        "connection.port": str(at["port"]),
        "connection.user": "rest",
        "connection.password": secret("rest"),
        "connection.tls": "disable",
    }
    headers = {"Origin": doors.console.url, "Sec-Fetch-Site": "same-origin"}
    for changes in ({"connection.password": secret("wrong")}, {"connection.port": "no number"}, {}):
        answer = await doors.ask("POST", "/admin/provider/create", data={**form, **changes}, headers=headers)
    assert answer.status_code in (302, 303), answer.text
    for path in (
        "/admin/provider/list",
        "/admin/audit/list",
        "/admin/provider/export/csv",
        "/admin/provider/export/json",
    ):
        assert (await doors.ask("GET", path)).status_code == 200


async def work_with_it(doors: Doors) -> None:
    """A backup and its proof through the provider whose password is the secret: programs run with it."""
    found = (await doors.rest.get("providers/list", q="rest"))["items"]
    [provider] = [p for p in found if p["name"] == "rest"]
    database = await doors.rest.post("databases/create", provider_id=provider["id"], name="orders")
    words = ("backups", "create", "--database-id", database["id"], "--wait")
    assert (await doors.console.cli(*words))["status"] == "proven"


def leaks_below(folder: Path) -> list[str]:
    wanted = spellings()
    found = []
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            for spelling in wanted:
                if (at := content.find(spelling)) >= 0:
                    found.append(f"{path.relative_to(folder)}: {content[max(0, at - 200) : at + 80]!r}")
    return found


async def test_a_secret_comes_to_rest_nowhere(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    programs = Programs.wrapped(tmp_path_factory.mktemp("programs"))
    settings = {
        "STORAGE_PG_BIN": str(programs.bin),
        "STORAGE_ADMIN_PASSWORD": PASSWORD,
        "STORAGE_LOG_LEVEL": "DEBUG",
        "STORAGE_DIAGNOSTICS": "true",
        "TMPDIR": str(temporary),
    }
    with Watch().running() as watch:
        async with running(tmp_path, **settings) as console, console.signed_in() as rest:
            doors = Doors(console, rest)
            at = await a_server(console)
            await through_rest(doors, at)
            await through_sign_in(doors)
            await through_the_command_line(doors, at)
            frames = await through_a_page(doors, at)
            await through_the_admin(doors, at)
            await work_with_it(doors)
            sealed = {p["name"] for p in (await rest.get("providers/list", limit=100))["items"]}
            assert sealed >= {"rest", "cli", "page", "admin"}, "it got in through every door"
            for noun in ("providers", "users", "audit", "jobs", "secrets", "backups"):
                await doors.ask("GET", f"/api/storage/{noun}/list?limit=500")
            live = leaks_below(tmp_path)
        after = leaks_below(tmp_path)
    logs = "".join(p.read_text("utf-8") for p in (tmp_path / "home" / "logs").glob("*.log"))
    assert "providers.create" in logs, "there is a log to look into"
    for name in programs.NAMES:
        assert programs.said(name), f"{name} ran"
    assert any(b"PGPASSFILE=" in start for start in programs.said("pg_dump")), "with a password"
    assert programs.leaks() == []
    assert "postgres" in watch.seen, "processes were seen"
    assert watch.looks > 50
    assert not live, "\n".join(live)
    assert not after, "\n".join(after)
    assert watch.leaks == set()
    shown = {"answers": doors.answers, "frames": frames, "console": console.said}
    for where, texts in shown.items():
        assert len(texts) > 0
        for text in texts:
            for spelling in spellings():
                assert spelling.decode() not in text, f"{where}: {text[:2000]}"


async def test_whoever_is_told_a_secret_is_caught(tmp_path: Path) -> None:
    programs = Programs.wrapped(tmp_path / "programs")
    for environment, words in (({}, (MARK,)), ({"PGPASSWORD": secret("own")}, ())):
        for path in programs.starts.iterdir():
            path.unlink()
        ended = await asyncio.create_subprocess_exec(
            programs.bin / "pg_restore",
            "--version",
            *words,
            env=environment,
            stdout=asyncio.subprocess.DEVNULL,
        )
        assert await ended.wait() == 0
        assert len(programs.leaks()) == 1
    with Watch().running() as watch:
        told = await asyncio.create_subprocess_exec("sleep", "infinity", env={"PASSWORD": MARK})
        try:
            assert await asyncio.to_thread(watch.caught.wait, 30)
        finally:
            told.kill()
            await told.wait()
    assert leaks_below(programs.folder), "files too"
