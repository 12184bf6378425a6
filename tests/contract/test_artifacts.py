"""The stores we have, against the contract; what only a disk can do wrong."""

import asyncio
import errno
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from storage_core.backing.artifacts import LocalArtifacts, store_from_url
from storage_core.domain.errors import InvalidRequest, NotFound, StorageFull, StoreFailure
from storage_core.ports.artifacts import Artifacts
from tests.contract.artifacts_contract import MIB, ArtifactsContract, parts, whole
from tests.contract.object_server import Store, object_server


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir())


class TestLocalArtifacts(ArtifactsContract):
    @pytest.fixture
    def store(self, root: Path) -> Artifacts:
        return LocalArtifacts(root)

    async def test_only_the_owner_may_look(self, store: Artifacts, root: Path) -> None:
        await store.put("a/b/c", parts(b"x"))
        assert (root / "a/b/c").stat().st_mode & 0o777 == 0o600
        assert {f.stat().st_mode & 0o777 for f in (root, root / "a", root / "a/b")} == {0o700}
        assert store.location("a/b/c") == str(root / "a/b/c")

    async def test_links_do_not_lead_out(self, store: Artifacts, root: Path, tmp_path: Path) -> None:
        await store.put("a/b", parts(b"x"))
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "secret").write_text("secret")
        (root / "link").symlink_to(outside)
        (root / "a/file").symlink_to(outside / "secret")
        for key in ("link/secret", "a/file"):
            with pytest.raises(StoreFailure):
                await whole(store, key)
            with pytest.raises(StoreFailure):
                await store.put(key, parts(b"overwritten"))
            with pytest.raises(StoreFailure):
                await store.delete(key)
        with pytest.raises(StoreFailure):
            await store.put("link/new", parts(b"x"))
        assert [s.key for s in await store.list("")] == ["a/b"]
        assert files(outside) == ["secret"] and (outside / "secret").read_text() == "secret"

    async def test_only_plain_files_are_objects(self, store: Artifacts, root: Path) -> None:
        await store.put("a/b", parts(b"x"))
        os.mkfifo(root / "a/pipe")
        with pytest.raises(NotFound):
            await asyncio.wait_for(whole(store, "a/pipe"), 5)
        for key in ("a", "a/b/c"):
            with pytest.raises(StoreFailure):
                await store.put(key, parts(b"x"))
        assert files(root) == ["a/b", "a/pipe"]

    async def test_leftovers_are_not_listed_and_reaped(self, store: Artifacts, root: Path) -> None:
        await store.put("a/b", parts(b"x"))
        old, young = root / "a/.fresh-00", root / "a/.fresh-11"
        for leftover, age in ((old, 3600), (young, 0)):
            leftover.write_bytes(b"half")
            os.utime(leftover, (time.time() - age,) * 2)
        assert [s.key for s in await store.list("")] == ["a/b"]
        with pytest.raises(InvalidRequest):
            await store.stat("a/.fresh-00")
        assert await store.reap(datetime.now(UTC) - timedelta(minutes=10)) == 1
        assert files(root) == ["a/.fresh-11", "a/b"]

    async def test_a_killed_writer_leaves_no_object(self, root: Path) -> None:
        script = (
            "import asyncio, os, pathlib, sys\n"
            "from storage_core.backing.artifacts import LocalArtifacts\n"
            "async def data():\n"
            "    yield bytes(5 << 20)\n"
            "    os.kill(os.getpid(), 9)\n"
            "asyncio.run(LocalArtifacts(pathlib.Path(sys.argv[1])).put('a/b', data()))\n"
        )
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", script, str(root))
        assert await child.wait() == -9
        store = LocalArtifacts(root)
        assert await store.list("") == () and len(files(root)) == 1
        assert await store.reap(datetime.now(UTC) + timedelta(seconds=1)) == 1
        assert files(root) == []

    async def test_a_writer_that_was_reaped_fails(self, store: Artifacts) -> None:
        async def stalled() -> AsyncIterator[bytes]:
            yield b"x"
            assert await store.reap(datetime.now(UTC) + timedelta(seconds=1)) == 1
            yield b"y"

        with pytest.raises(StoreFailure):
            await store.put("k", stalled())
        assert await store.list("") == ()

    @pytest.mark.parametrize(
        ("number", "error"),
        [
            (errno.ENOSPC, StorageFull),
            (errno.EDQUOT, StorageFull),
            (errno.EIO, StoreFailure),
            (errno.EACCES, StoreFailure),
            (errno.EROFS, StoreFailure),
        ],
    )
    @pytest.mark.parametrize("call", ["write", "fsync"])
    async def test_what_the_disk_says_is_translated(
        self,
        store: Artifacts,
        root: Path,
        monkeypatch: pytest.MonkeyPatch,
        call: str,
        number: int,
        error: type,
    ) -> None:
        def fail(*_: object) -> int:
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            patch.setattr(f"storage_core.backing.artifacts.local.os.{call}", fail)
            with pytest.raises(error):
                await store.put("k", parts(b"x"))
        assert files(root) == []

    async def test_a_failing_put_closes_its_source(
        self, store: Artifacts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        closed: list[bool] = []

        class Source:
            """Iterable, but no iterator: a running seal is such a one."""

            async def __aiter__(self) -> AsyncIterator[bytes]:
                try:
                    for _ in range(9):
                        yield bytes(3 * MIB)
                finally:
                    closed.append(True)

        def fail(*_: object) -> int:
            raise OSError(errno.ENOSPC, "full")

        source = Source()
        monkeypatch.setattr("storage_core.backing.artifacts.local.os.write", fail)
        with pytest.raises(StorageFull):
            await store.put("k", source)
        assert closed == [True]

    async def no_leftovers(self, store: Artifacts) -> None:
        await super().no_leftovers(store)
        assert isinstance(store, LocalArtifacts)
        assert not [name for name in files(store._root) if ".fresh-" in name]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


async def test_a_full_disk_is_named_and_keeps_what_it_had(small_disk: Path) -> None:
    store = LocalArtifacts(small_disk / "store")
    await store.put("kept", parts(b"old"))

    async def too_much() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield os.urandom(MIB)

    for key in ("new", "kept"):
        with pytest.raises(StorageFull) as full:
            await store.put(key, too_much())
        assert key in full.value.detail and full.value.hint
    assert files(small_disk) == ["store/kept"] and await whole(store, "kept") == b"old"
    await store.put("new", parts(bytes(5 * MIB)))


def test_a_store_is_chosen_by_its_address(tmp_path: Path) -> None:
    assert store_from_url(f"file://{tmp_path}/a%20b").location("k") == f"{tmp_path}/a b/k"
    assert store_from_url(f"file://localhost{tmp_path}").location("k") == f"{tmp_path}/k"
    for url in (
        "s3://",
        "s3:///folder",
        "s3://key:secret@bucket/folder",
        "s3://bucket/folder?endpoint=x",
        "http://host/x",
        "relative/path",
        "",
        "file://host/x",
        "file://",
        "file:x",
        "file:///x?y",
    ):
        with pytest.raises(InvalidRequest) as refused:
            store_from_url(url)
        assert "file://" in refused.value.hint


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    with object_server() as server:
        for name, value in {
            "AWS_ENDPOINT_URL": server.url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "eu-central-1",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
        }.items():
            monkeypatch.setenv(name, value)
        yield server


class TestObjectArtifacts(ArtifactsContract):
    @pytest.fixture
    def store(self, bucket: Store) -> Artifacts:
        self.bucket = bucket
        return store_from_url("s3://bucket/console")

    async def no_leftovers(self, store: Artifacts) -> None:
        assert self.bucket.uploads == {}

    async def test_objects_lie_below_their_folder(self, store: Artifacts, bucket: Store) -> None:
        await store.put("artifacts/k", parts(b"x"))
        assert store.location("artifacts/k") == "s3://bucket/console/artifacts/k"
        assert list(bucket.objects) == ["console/artifacts/k"]

    async def test_a_refusal_says_what_to_check(self, store: Artifacts, bucket: Store) -> None:
        bucket.broken = True
        with pytest.raises(StoreFailure) as refused:
            await store.put("k", parts(b"x"))
        assert "STORAGE_ARTIFACTS_URL" in refused.value.hint
        assert "refuses the access key" in refused.value.detail
