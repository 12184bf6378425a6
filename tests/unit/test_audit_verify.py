"""The stand-alone verifier: it needs nothing of ours, and names what was done to a file."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest

from storage_core import audit_verify
from storage_core.catalog.catalog import SqlCatalog, open_engine
from storage_core.catalog.migrate import migrate
from tests.contract.audit_log import Log
from tests.contract.catalog_contract import Handed

SEED, SIZE = int(os.environ.get("SEED", "1")), int(os.environ.get("SIZE", "1"))


@pytest.fixture(scope="module")
async def log(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Log]:
    folder = tmp_path_factory.mktemp("log")
    engine = open_engine(f"sqlite:///{folder / 'catalog.sqlite3'}")
    await migrate(engine)
    catalog = SqlCatalog(engine, Handed(), lambda: datetime.now(UTC), shared=True)  # type: ignore[arg-type]
    made = Log(catalog, folder)
    await made.grow(8)
    yield made
    await catalog.close()


@pytest.fixture(scope="module")
async def whole(log: Log) -> list[bytes]:
    """An export's lines."""
    return (await log.exported()).splitlines(keepends=True)


def _verdict(folder: Path, lines: list[bytes], log: Log, *more: str) -> tuple[int, str]:
    file = folder / "export.jsonl"
    file.write_bytes(b"".join(lines))
    done = subprocess.run(
        [sys.executable, "-I", audit_verify.__file__, str(file), *more],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_it_runs_from_a_folder_of_its_own_without_anything_installed(
    log: Log, whole: list[bytes], tmp_path: Path
) -> None:
    script = shutil.copy(audit_verify.__file__, tmp_path / "verify.py")
    file = tmp_path / "export.jsonl"
    file.write_bytes(b"".join(whole))
    # -S: not even site-packages; only Python's own library is there
    command = [sys.executable, "-I", "-S", script, file, "--heads", log.path]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done
    assert "17 entries in 3 chains" in done.stdout
    refused = subprocess.run([*command, "--key", log.key], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "cryptography" in refused.stderr


def test_as_a_module_it_checks_signatures(log: Log, whole: list[bytes], tmp_path: Path) -> None:
    file = tmp_path / "export.jsonl"
    file.write_bytes(b"".join(whole))
    command = [sys.executable, "-m", "storage_core.audit_verify", file, "--heads", log.path, "--key", log.key]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    assert "signatures hold" in done.stdout


@pytest.mark.parametrize("words", [[], ["nothing.there"], [__file__]])
def test_what_cannot_be_checked_is_exit_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status: object = audit_verify.main(words)
    except SystemExit as stopped:
        status = stopped.code
    assert status == 2
    assert capsys.readouterr().err


def test_a_strangers_key_does_not_fit(whole: list[bytes], log: Log, tmp_path: Path) -> None:
    status, said = _verdict(tmp_path, whole, log, "--key", "A" * 43 + "=")
    assert status == 1
    assert "signature" in said


def test_an_export_older_than_the_last_head_is_not_called_cut(
    whole: list[bytes], log: Log, tmp_path: Path
) -> None:
    heads = tmp_path / "heads.jsonl"
    line = json.loads(log.path.read_bytes().splitlines()[-1])
    line |= {"at": "2099-01-01T00:00:00.000000Z", "heads": [{"chain": "t0", "sequence": 99, "hash": "x"}]}
    later = json.dumps(line, sort_keys=True, separators=(",", ":")).encode()
    heads.write_bytes(log.path.read_bytes() + later + b"\n")
    assert _verdict(tmp_path, whole, log, "--heads", str(heads))[0] == 0
    early = later.replace(b"2099", b"2020")
    heads.write_bytes(log.path.read_bytes() + early + b"\n")
    status, said = _verdict(tmp_path, whole, log, "--heads", str(heads))
    assert (status, "t0:9" in said) == (1, True)


def test_a_name_that_would_steer_the_terminal_is_spelt_out(
    whole: list[bytes], log: Log, tmp_path: Path
) -> None:
    entry = json.loads(whole[1]) | {"chain": "\x1b[1A\x1b[2KOK: 17 entries\n"}
    forged = json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
    partial = json.loads(whole[0]) | {"complete": False}
    first = json.dumps(partial, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    status, said = _verdict(tmp_path, [first, forged, *whole[2:]], log)
    assert (status, "\x1b" in said, "\nOK" in said) == (1, False, False)


class Mutations:
    """Harms a file at random; each answers the first bad entry, empty where it is not about one."""

    def __init__(self, lines: list[bytes], random: Random) -> None:
        self.lines, self.random = lines, random
        self.places = [f"{v['chain']}:{v['sequence']}" for v in map(json.loads, lines[1:-1])]

    def one(self) -> tuple[list[bytes], str]:
        return self.random.choice(
            (self.edit, self.edit, self.edit, self.remove, self.swap, self.cut, self.repeat)
        )()

    def edit(self) -> tuple[list[bytes], str]:
        n, lines = self.random.randrange(len(self.places)), list(self.lines)
        spot = self.random.randrange(len(lines[n + 1]) - 1)  # a line without its end is another line
        new = self.random.choice([b for b in range(256) if b not in (lines[n + 1][spot], 10)])
        lines[n + 1] = lines[n + 1][:spot] + bytes([new]) + lines[n + 1][spot + 1 :]
        return lines, self.places[n]

    def remove(self) -> tuple[list[bytes], str]:
        n = self.random.randrange(len(self.places))
        return self.lines[: n + 1] + self.lines[n + 2 :], self.places[n]

    def swap(self) -> tuple[list[bytes], str]:
        a, b = sorted(self.random.sample(range(len(self.places)), 2))
        lines = list(self.lines)
        lines[a + 1], lines[b + 1] = lines[b + 1], lines[a + 1]
        return lines, self.places[a]

    def cut(self) -> tuple[list[bytes], str]:
        """From some entry on, with or without the end kept."""
        n = self.random.randrange(len(self.places))
        return self.lines[: n + 1] + self.random.choice(([], self.lines[-1:])), self.places[n]

    def repeat(self) -> tuple[list[bytes], str]:
        n = self.random.randrange(len(self.places) - 1)
        return self.lines[: n + 2] + self.lines[n + 1 :], self.places[n + 1]


def _campaign(whole: list[bytes], folder: Path, seed: int, count: int) -> list[str]:
    mutations, file = Mutations(whole, Random(seed)), folder / "export.jsonl"
    wrong = []
    for number in range(count):
        lines, bad = mutations.one()
        file.write_bytes(b"".join(lines))
        try:
            audit_verify.verify(file)
            wrong.append(f"{seed}/{number}: {bad} passed")
        except audit_verify.Bad as error:
            if error.at != bad:
                wrong.append(f"{seed}/{number}: {bad} is bad, {error.at} was named")
    return wrong


def test_random_harm_to_a_file_is_named_by_its_first_bad_entry(whole: list[bytes], tmp_path: Path) -> None:
    assert _campaign(whole, tmp_path, SEED, 50) == []


@pytest.mark.torture
def test_two_thousand_times_harmed(whole: list[bytes], tmp_path: Path) -> None:
    assert _campaign(whole, tmp_path, SEED, 2000 * SIZE) == []


@pytest.mark.parametrize("end", [0, -1])
def test_every_byte_of_the_first_and_last_line_counts(
    whole: list[bytes], log: Log, tmp_path: Path, end: int
) -> None:
    """With the key: what the signature covers."""
    file, signed, random = tmp_path / "export.jsonl", audit_verify.signature_check(str(log.key)), Random(SEED)
    for _ in range(120):
        lines = list(whole)
        spot = random.randrange(len(lines[end]) - 1)
        lines[end] = lines[end][:spot] + bytes([lines[end][spot] ^ 1]) + lines[end][spot + 1 :]
        file.write_bytes(b"".join(lines))
        with pytest.raises((audit_verify.Bad, audit_verify.Unusable)):
            audit_verify.verify(file, None, signed)


async def test_a_part_of_the_log_is_held_together_by_its_signature(log: Log, tmp_path: Path) -> None:
    lines = (await log.exported(correlation_id="c1,c3,c5")).splitlines(keepends=True)
    file, signed = tmp_path / "part.jsonl", audit_verify.signature_check(str(log.key))

    def check(changed: list[bytes]) -> str:
        file.write_bytes(b"".join(changed))
        try:
            audit_verify.verify(file, None, signed)
        except audit_verify.Bad as error:
            return str(error)
        return "ok"

    assert await asyncio.to_thread(check, lines) == "ok"
    assert "changed" in await asyncio.to_thread(check, lines[:2] + lines[3:])
