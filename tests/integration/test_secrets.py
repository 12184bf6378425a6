"""Secrets at the doors: listed as metadata, recovered by a passphrase, kept in a keyring, locked by a wrong key."""

import asyncio
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from storage_core.backing.vault import recovery
from storage_core.bootstrap import Core, new_id, open_core, utc_now
from storage_core.catalog import tables
from storage_core.catalog.envelopes import PLACES
from storage_core.cli import build
from storage_core.domain.audit import Phase
from storage_core.domain.errors import WrongKey
from storage_core.domain.page import Query
from storage_core.domain.permission import Role
from storage_core.domain.secret import (
    MASTER_OWNER,
    KeyState,
    SecretKind,
    WrappedKey,
    data_key_binding,
)
from storage_core.services.keys import Keys
from storage_core.services.secrets import ExportRecoveryKey, ListSecrets
from storage_core.settings import Settings
from tests.integration.doors import Doors
from tests.integration.homes import opened, settings_of, somebody

COMMAND = Path(sys.executable).parent / "storage-console"
PASSPHRASE = "correct horse battery staple"
#: Told to the keyring library: a real backend that keeps its entries in a file, and one that stands for none at all.
PLAINTEXT, NOTHING = "keyrings.alt.file.PlaintextKeyring", "keyring.backends.fail.Keyring"


def command(home: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A command of its own process, as people run it."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("STORAGE_")}
    return subprocess.run(
        [COMMAND, *words],
        env={**clean, "STORAGE_HOME": str(home), **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def cli(home: Path, *words: str) -> Result:
    return CliRunner().invoke(build(), words, env={"STORAGE_HOME": str(home)}, prog_name="storage-console")


async def a_data_key(core: Core, tenant_id: str | None) -> tuple[str, bytes]:
    id = new_id()
    made = await core.kernel.vault.new_data_key(data_key_binding(tenant_id, id))
    async with core.kernel.catalog.write() as uow:
        await uow.data_keys.add(WrappedKey(id, tenant_id, made.wrapped, utc_now()))
    return id, made.plain


# what there is


async def test_the_list_says_whose_a_secret_is_and_never_what(doors: Doors) -> None:
    tenant = await doors.tenant("acme")
    id, _ = await a_data_key(doors.core, tenant.id)
    await a_data_key(doors.core, None)
    page = await doors.core.secrets.list(somebody(), ListSecrets(limit=500))
    kinds = {one.kind for one in page.items}
    assert kinds >= {SecretKind.MASTER, SecretKind.KEY, SecretKind.DATA_KEY}
    (mine,) = (one for one in page.items if one.id == id)
    key = await doors.core.kernel.catalog.keys.primary(tenant.id)
    assert key is not None
    assert (mine.key_id, mine.key_version, mine.state) == (key.id, 1, KeyState.PRIMARY)
    (shown,) = (one for one in page.items if one.id == key.id)
    assert (shown.owner_name, shown.tenant_id, shown.used_by) == ("acme", tenant.id, 1)
    (master,) = (one for one in page.items if one.kind is SecretKind.MASTER)
    assert (master.id, master.used_by) == (key.master_id, 2)
    async with doors.core.kernel.catalog.read() as uow:
        wrapped = await uow.data_keys.get(id)
    assert wrapped is not None and wrapped.wrapped not in repr(page) and key.wrapped not in repr(page)


async def test_the_list_is_narrowed_filtered_and_turned_page_by_page(doors: Doors) -> None:
    one, other = await doors.tenant("acme"), await doors.tenant("other")
    for tenant in (one, other):
        for _ in range(3):
            await a_data_key(doors.core, tenant.id)
    async with doors.rest(Role.ADMIN, f"tenant:{one.id}") as http:
        answer = (await http.get("/api/storage/secrets/list", params={"limit": 2, "sort": "what"})).json()
        seen = list(answer["items"])
        while answer["next"]:
            asked = {"limit": 2, "sort": "what", "cursor": answer["next"]}
            answer = (await http.get("/api/storage/secrets/list", params=asked)).json()
            seen += answer["items"]
        assert len(seen) == len({row["id"] for row in seen}) == answer["total"] == 4
        assert {row["tenant_id"] for row in seen} == {one.id}
        keys = (await http.get("/api/storage/secrets/list", params={"kind": "key"})).json()
        assert [row["owner_name"] for row in keys["items"]] == ["acme"]
        assert (await http.get("/api/storage/secrets/list", params={"q": "other"})).json()["total"] == 0
    async with doors.core.kernel.catalog.read() as uow:
        audited = await uow.audit.find(Query(sort="-at", limit=20))
    assert any(e.operation == "secrets.list" and e.phase is Phase.READ for e in audited.items)


async def test_every_table_with_an_envelope_is_known_to_the_rotation(doors: Doors) -> None:
    """A column named for what a key sealed stands in the list of places that are sealed anew."""
    named = {t.name for t in tables.metadata.tables.values() if "key_id" in t.c}
    assert named == set(PLACES)


async def test_no_text_of_the_catalog_is_an_envelope_that_the_rotation_does_not_know(doors: Doors) -> None:
    from sqlalchemy import select

    core = doors.core
    await a_data_key(core, None)
    await core.kernel.notary.sign(b"data")  # makes the audit's keys
    connection: Any
    async with core.kernel.catalog._begin(readonly=True) as connection:  # type: ignore[attr-defined]
        for table in tables.metadata.tables.values():
            for row in (await connection.execute(select(table))).mappings():
                for column, value in row.items():
                    if isinstance(value, str) and value.startswith("v1.") and value.count(".") == 2:
                        assert PLACES[table.name].column == column


# the recovery key


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passphrases cost little here; what they cost otherwise is the vault's own test's to see."""
    monkeypatch.setattr(recovery, "_COST", (8192, 1, 1))


@pytest.mark.usefixtures("cheap")
async def test_a_recovery_key_unlocks_a_home_that_lost_its_key(tmp_path: Path) -> None:
    home = tmp_path / "home"
    async with opened(settings_of(home)) as core:
        id, plain = await a_data_key(core, None)
        asked = ExportRecoveryKey.model_validate({"passphrase": PASSPHRASE, "confirm": "master-key"})
        exported = await core.secrets.export_recovery(somebody(), asked)
    (tmp_path / "recovery.txt").write_text(exported.text)
    key = (home / "master.key").read_text()
    assert key.strip() not in exported.text
    unlock = ("unlock", "--recovery", f"@{tmp_path / 'recovery.txt'}", "--passphrase")

    (home / "master.key").unlink()
    assert await asyncio.to_thread(cli_status, home, "secrets", "list") == 1
    wrong = await asyncio.to_thread(cli, home, *unlock, "not the passphrase")
    assert wrong.exit_code == 1 and "passphrase does not open" in wrong.stderr
    assert not (home / "master.key").exists()

    # As the command prints it, labelled and as JSON: what one command wrote, the next one reads.
    for shown in (f"key_id: k\ntext: {exported.text}", json.dumps({"key_id": "k", "text": exported.text})):
        (tmp_path / "recovery.txt").write_text(shown)
        done = await asyncio.to_thread(cli, home, *unlock, PASSPHRASE)
        assert done.exit_code == 0, done.stderr
        (home / "master.key").unlink()

    done = await asyncio.to_thread(cli, home, *unlock, PASSPHRASE)
    assert done.exit_code == 0, done.stderr
    assert (home / "master.key").read_text() == key
    assert stat.S_IMODE((home / "master.key").stat().st_mode) == 0o600

    (home / "master.key").write_text("ab" * 32)  # a wrong one is kept beside, never thrown away
    assert (await asyncio.to_thread(cli, home, *unlock, PASSPHRASE)).exit_code == 0
    assert (home / "master.key").read_text() == key + "former " + "ab" * 32 + "\n"
    async with open_core(settings_of(home)) as core:
        async with core.kernel.catalog.read() as uow:
            wrapped = await uow.data_keys.get(id)
        assert wrapped is not None
        assert await core.kernel.vault.data_key(wrapped.wrapped, wrapped.binding) == plain


def cli_status(home: Path, *words: str) -> int:
    return cli(home, *words).exit_code


@pytest.mark.usefixtures("cheap")
async def test_a_recovery_key_of_another_catalog_changes_nothing(tmp_path: Path) -> None:
    async with opened(settings_of(tmp_path / "one")) as core:
        _, text = await core.kernel.masters.recovery(PASSPHRASE)
    async with opened(settings_of(tmp_path / "other")):
        pass
    (tmp_path / "recovery.txt").write_text(text)
    before = (tmp_path / "other" / "master.key").read_text()
    answer = await asyncio.to_thread(
        cli, tmp_path / "other", "unlock", "--recovery", f"@{tmp_path / 'recovery.txt'}",
        "--passphrase", PASSPHRASE,
    )  # fmt: skip
    assert answer.exit_code == 1 and "not of the master key" in answer.stderr
    assert (tmp_path / "other" / "master.key").read_text() == before


# a wrong key


@pytest.mark.parametrize("words", [("up",), ("web",), ("worker",), ("secrets", "list")])
async def test_a_wrong_key_locks_every_command_with_one_clear_line(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    home = tmp_path / "home"
    async with opened(settings_of(home)):
        pass
    (home / "master.key").write_text("ab" * 32)
    before = (home / "catalog.sqlite3").read_bytes()
    done = await asyncio.to_thread(command, home, *words, STORAGE_PORT=str(_free_port()))
    assert done.returncode == 1, done.stdout
    assert "The master key is not the one this catalog was made with." in done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) <= 3, done.stderr
    assert (home / "master.key").read_text() == "ab" * 32
    assert (home / "catalog.sqlite3").read_bytes() == before


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_a_running_console_whose_key_was_taken_answers_locked(doors: Doors) -> None:
    """The master key is rotated by somebody else and the new one is not here: 423 and the code say so."""
    core = doors.core
    await doors.token(Role.SUPER_ADMIN)
    fresh = await core.kernel.masters.successor()
    await Keys(core.kernel).rotate_master(fresh, lambda *_: None)
    (core.settings.home / "master.key").write_text("ab" * 32)
    object.__setattr__(core.kernel.masters, "_keys", {})
    object.__setattr__(core.kernel.vault, "_unwrapped", {})
    body = {"passphrase": PASSPHRASE, "confirm": "master-key"}
    async with doors.rest(Role.SUPER_ADMIN) as http:
        answer = await http.post("/api/storage/secrets/export_recovery", json=body)
    assert (answer.status_code, answer.json()["code"]) == (423, "wrong_key")
    assert [k.id for k in await core.kernel.catalog.keys.of(MASTER_OWNER)][-1] == fresh


# the system keyring


@pytest.fixture
def keyring_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home beside a keyring that keeps its entries in a file below the test's folder."""
    import keyring.core

    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", PLAINTEXT)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr(keyring.core, "_keyring_backend", None)
    keyring.core.init_backend()
    return tmp_path / "home"


async def test_the_master_key_is_kept_and_rotated_in_the_system_keyring(keyring_home: Path) -> None:
    settings = Settings(home=keyring_home, master_key_source="keyring")
    async with opened(settings) as core:
        id, plain = await a_data_key(core, "t1")
        first = await core.kernel.masters.present()
    assert not (keyring_home / "master.key").exists()
    async with open_core(settings) as core:
        assert await core.kernel.masters.present() == first
        done = await Keys(core.kernel).rotate_master(await core.kernel.masters.successor(), lambda *_: None)
        assert done.destroyed == (first,)
    async with open_core(settings) as core:
        assert await core.kernel.masters.present() == done.key_id
        async with core.kernel.catalog.read() as uow:
            wrapped = await uow.data_keys.get(id)
        assert wrapped is not None
        assert await core.kernel.vault.data_key(wrapped.wrapped, wrapped.binding) == plain
    async with opened(Settings(home=keyring_home.with_name("other"), master_key_source="keyring")) as core:
        assert await core.kernel.masters.present() not in (first, done.key_id)


async def test_an_emptied_keyring_is_locked_and_nothing_is_made_anew(keyring_home: Path) -> None:
    import keyring

    from storage_core.backing.vault.master import SERVICE

    settings = Settings(home=keyring_home, master_key_source="keyring")
    async with opened(settings):
        pass
    keyring.delete_password(SERVICE, str(keyring_home))
    with pytest.raises(WrongKey, match="missing"):
        async with open_core(settings):
            pass
    assert keyring.get_password(SERVICE, str(keyring_home)) is None


async def test_a_machine_without_keyring_says_so_in_one_line(tmp_path: Path) -> None:
    done = await asyncio.to_thread(
        command, tmp_path / "home", "secrets", "list",
        STORAGE_MASTER_KEY_SOURCE="keyring", PYTHON_KEYRING_BACKEND=NOTHING,
    )  # fmt: skip
    assert done.returncode == 1
    assert "this machine has no system keyring" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "home" / "master.key").exists()


async def test_settings_that_contradict_each_other_stop_the_start(tmp_path: Path) -> None:
    done = await asyncio.to_thread(
        command, tmp_path / "home", "secrets", "list",
        STORAGE_MASTER_KEY_SOURCE="keyring", STORAGE_MASTER_KEY="ab" * 32,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.strip() == "STORAGE_MASTER_KEY is set, and STORAGE_MASTER_KEY_SOURCE is keyring."
