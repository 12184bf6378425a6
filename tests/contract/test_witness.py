"""Places for the audit's heads: a file, an object store, a web hook. What was handed over is there, whatever happens."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from storage_core.backing.outbound import Guard, GuardedWeb
from storage_core.backing.witness import LIST_EVERY, FileWitness, HookWitness, ObjectWitness, witness_from_url
from storage_core.domain.errors import StoreFailure, Unreachable
from storage_core.domain.outbound import Rules
from storage_core.ports.witness import Witness
from storage_core.settings import Settings, SettingsError
from tests.contract.object_server import Store, object_server

PEM = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA92PJqEUcguvDSNAQ1zRKU+yNbukksKWhweb1zItcLh0=\n-----END PUBLIC KEY-----\n"


class Clock:
    """Each look is a minute later than the one before."""

    def __init__(self) -> None:
        self.now = datetime(2026, 10, 31, 23, 50, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(minutes=1)
        return self.now


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    with object_server() as running:
        settings = {"AWS_ENDPOINT_URL": running.url, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "eu-central-1",
                    "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}  # fmt: skip
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        yield running


async def read(witness: Witness) -> list[bytes]:
    return [line.rstrip(b"\n") async for line in witness.lines()]


async def _loopback() -> Rules:
    return Rules(loopback=True)


def hook(store: Store, path: Path, where: str = "/hook?token=t") -> HookWitness:
    return HookWitness(store.url + where, FileWitness(path), GuardedWeb(Guard(_loopback)))


async def test_a_file_keeps_lines_in_order_and_for_its_owner_alone(tmp_path: Path) -> None:
    witness = FileWitness(tmp_path / "a" / "heads.jsonl")
    assert (await read(witness), await witness.keys()) == ([], {})
    for n in range(3):
        await witness.append(b"%d\n" % n, whole=n == 0)
    await witness.publish("k1", PEM)
    await witness.publish("k1", PEM)
    assert await read(witness) == [b"0", b"1", b"2"]
    assert {id: len(key) for id, key in (await witness.keys()).items()} == {"k1": 32}
    modes = {p.name: p.stat().st_mode & 0o777 for p in (tmp_path / "a").iterdir()}
    assert modes == {"heads.jsonl": 0o600, "heads.k1.pem": 0o600}


async def test_a_file_that_lost_what_was_written_is_known(tmp_path: Path) -> None:
    path = tmp_path / "heads.jsonl"
    witness = FileWitness(path)
    assert await witness.kept()
    for harm in (path.unlink, lambda: path.write_bytes(b"1"), lambda: path.rename(tmp_path / "away"),
                 lambda: path.write_bytes(b"of somebody else, and longer\n")):  # fmt: skip
        await witness.append(b"12\n", whole=True)
        assert await witness.kept()
        harm()
        assert not await witness.kept()


async def test_many_writers_of_one_file_lose_nothing(tmp_path: Path) -> None:
    line = json.dumps({"x": "y" * 9000}).encode() + b"\n"
    writers = [FileWitness(tmp_path / "heads.jsonl") for _ in range(8)]
    await asyncio.gather(*(w.append(line, whole=False) for w in writers for _ in range(10)))
    assert await read(writers[0]) == [line.rstrip(b"\n")] * 80


async def test_half_a_line_of_a_full_disk_does_not_spoil_the_next(tmp_path: Path) -> None:
    path = tmp_path / "heads.jsonl"
    path.write_bytes(b'{"at":"2026')
    await FileWitness(path).append(b"{}\n", whole=False)
    assert await read(FileWitness(path)) == [b'{"at":"2026', b"{}"]


async def test_a_file_that_cannot_be_written_is_a_failure_that_says_where(tmp_path: Path) -> None:
    (tmp_path / "heads.jsonl").mkdir()
    witness = FileWitness(tmp_path / "heads.jsonl")
    for work in (witness.append(b"{}\n", whole=True), read(witness)):
        with pytest.raises(StoreFailure, match=r"heads\.jsonl"):
            await work


async def test_an_object_store_answers_what_counts_across_months(store: Store) -> None:
    witness = ObjectWitness("s3://bucket", Clock())
    assert (await read(witness), await witness.keys()) == ([], {})
    for n in range(20):  # over the end of a month
        await witness.append(b"%d" % n, whole=n in (2, 5))
    await witness.publish("k1", PEM)
    assert await read(witness) == [b"%d" % n for n in range(5, 20)]
    assert list(await witness.keys()) == ["k1"]
    assert len({key.split("/")[1] for key in store.objects if key.startswith("heads/")}) == 2
    assert await witness.kept()
    store.objects.clear()
    assert not await witness.kept()
    store.broken = True
    for work in (witness.append(b"x", whole=False), read(witness), witness.keys()):
        with pytest.raises(StoreFailure, match="s3://bucket"):
            await work


async def test_an_object_store_that_lost_an_object_is_known(store: Store) -> None:
    for harm in (lambda key: store.objects.pop(key), lambda key: store.objects.update({key: b"else"})):
        witness = ObjectWitness("s3://bucket", Clock())
        await witness.append(b"1", whole=True)
        assert await witness.kept()
        harm(max(k for k in store.objects if k.startswith("heads/")))
        assert not await witness.kept()
        store.objects.clear()


async def test_an_object_before_the_last_one_is_missed_after_a_while(store: Store) -> None:
    witness = ObjectWitness("s3://bucket", Clock())
    await witness.append(b"1", whole=True)
    await witness.append(b"2", whole=False)
    assert await witness.kept()
    del store.objects[min(k for k in store.objects if k.startswith("heads/"))]
    assert not all([await witness.kept() for _ in range(LIST_EVERY)])


async def test_a_web_hook_is_told_and_what_it_was_told_can_be_read_again(
    store: Store, tmp_path: Path
) -> None:
    witness = hook(store, tmp_path / "heads.jsonl")
    await witness.append(b"{}\n", whole=True)
    assert store.posted == [b"{}\n"]
    assert await read(witness) == [b"{}"]
    assert "token" not in witness.place
    store.broken = True
    with pytest.raises(Unreachable, match="500"):
        await witness.append(b"{}\n", whole=False)


async def test_a_web_hook_is_not_followed_elsewhere(store: Store, tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="307"):
        await hook(store, tmp_path / "heads.jsonl", "/elsewhere").append(b"{}\n", whole=True)
    assert store.posted == []


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("file:///var/lib/heads.jsonl", FileWitness),
        ("s3://bucket/audit", ObjectWitness),
        ("https://hooks.example/x", HookWitness),
        ("http://127.0.0.1:9/x", HookWitness),
        ("http://[::1]:9/x", HookWitness),
    ],
)
def test_the_address_says_what_kind_of_place_it_is(tmp_path: Path, url: str, kind: type) -> None:
    settings = Settings(home=tmp_path, audit_heads_url=url)
    web = GuardedWeb(Guard(_loopback))
    assert isinstance(witness_from_url(settings.audit_heads, tmp_path, Clock(), web), kind)


@pytest.mark.parametrize(
    "url",
    [
        *("heads.jsonl", "ftp://x/y", "s3://", "https://", "file://"),
        *(
            "http://169.254.169.254/x",
            "http://hooks.example/x",
            "http://127.0.0.1.example/x",
            "http://",
            "http://[",
        ),
    ],
)
def test_an_address_that_is_none_stops_the_start(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_HOME", str(tmp_path))
    monkeypatch.setenv("STORAGE_AUDIT_HEADS_URL", url)
    with pytest.raises(SettingsError, match=r"^STORAGE_AUDIT_HEADS_URL: ") as caught:
        Settings.load()
    assert "\n" not in str(caught.value)
