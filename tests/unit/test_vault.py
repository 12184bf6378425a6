"""The vault: what is sealed opens at its place with its master key, and nowhere else."""

import asyncio
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage_core.backing.vault import EnvelopeVault, MasterRing, fingerprint, master_keys, recovery
from storage_core.backing.vault.master import Book, GivenKeys, KeptKeys, read_book
from storage_core.domain.errors import InvalidRequest, WrongKey
from storage_core.domain.secret import (
    MASTER_OWNER,
    SYSTEM_OWNER,
    Binding,
    Key,
    KeyState,
    Sealed,
    associated_data,
    owner_of,
)
from storage_core.ports.vault import MasterKeys

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PLACE = Binding("t1", "providers", "p1", "password")


class Store:
    """Keys in memory, slow enough for others to come in between."""

    def __init__(self) -> None:
        self.rows: dict[str, Key] = {}

    async def primary(self, owner: str) -> Key | None:
        await asyncio.sleep(0)
        rows = (r for r in self.rows.values() if r.owner == owner and r.state is KeyState.PRIMARY)
        return next(rows, None)

    async def by_id(self, key_id: str) -> Key | None:
        return self.rows.get(key_id)

    async def of(self, owner: str) -> tuple[Key, ...]:
        return tuple(r for r in self.rows.values() if r.owner == owner)

    async def add(self, key: Key) -> Key:
        await asyncio.sleep(0)
        existing = await self.primary(key.owner)
        if existing is None:
            self.rows[key.id] = existing = key
        return existing

    async def promote(self, key: Key) -> Key:
        for row in await self.of(key.owner):
            self.rows[row.id] = replace(row, state=KeyState.ENABLED)
        self.rows[key.id] = key
        return key


def a_vault(
    store: Store, master: bytes = b"m" * 32, source: MasterKeys | None = None
) -> tuple[EnvelopeVault, MasterRing]:
    numbers = count(len(store.rows))
    ring = MasterRing(source or GivenKeys(master, None), store, lambda: NOW)
    return EnvelopeVault(ring, store, lambda: NOW, lambda: f"key-{id(numbers)}-{next(numbers)}"), ring


async def opened(store: Store, master: bytes = b"m" * 32) -> EnvelopeVault:
    vault, _ = a_vault(store, master)
    await vault.unlock()
    return vault


async def test_what_is_sealed_opens_again_also_in_another_process() -> None:
    store = Store()
    sealed = await (await opened(store)).seal(b"secret \x00 bytes", PLACE)
    assert await (await opened(store)).open(sealed, PLACE) == b"secret \x00 bytes"
    assert b"secret" not in sealed.encode()


@pytest.mark.parametrize(
    "moved",
    [
        Binding("t2", "providers", "p1", "password"),
        Binding(None, "providers", "p1", "password"),
        Binding("t1", "backups", "p1", "password"),
        Binding("t1", "providers", "p2", "password"),
        Binding("t1", "providers", "p1", "user"),
    ],
)
async def test_a_value_moved_elsewhere_does_not_open(moved: Binding) -> None:
    store = Store()
    vault = await opened(store)
    sealed = await vault.seal(b"secret", PLACE)
    with pytest.raises(WrongKey):
        await vault.open(sealed, moved)


async def test_a_changed_value_does_not_open() -> None:
    vault = await opened(Store())
    sealed = await vault.seal(b"secret", PLACE)
    for at in range(len(sealed)):
        changed = sealed[:at] + ("A" if sealed[at] != "A" else "B") + sealed[at + 1 :]
        if at == len(sealed) - 1:
            continue  # the last letter may hold bits that stand for nothing
        with pytest.raises(WrongKey):
            await vault.open(changed, PLACE)


@pytest.mark.parametrize(
    "nonsense", ["", "v1", "v1.", "v1.key", "v2.key.AAAA", "v1..", "v1.key.!!!", "v1.nobody.AA"]
)
async def test_nonsense_does_not_open(nonsense: str) -> None:
    with pytest.raises(WrongKey):
        await (await opened(Store())).open(nonsense, PLACE)


async def test_another_master_key_is_refused_and_makes_nothing() -> None:
    store = Store()
    vault = await opened(store)
    sealed = await vault.seal(b"secret", PLACE)
    before = dict(store.rows)
    other, _ = a_vault(store, b"x" * 32)
    with pytest.raises(WrongKey):
        await other.unlock()
    with pytest.raises(WrongKey):
        await other.open(sealed, PLACE)
    with pytest.raises(WrongKey):
        await other.seal(b"secret", PLACE)
    assert store.rows == before


async def test_a_wrapped_key_given_to_another_owner_is_refused() -> None:
    store = Store()
    vault = await opened(store)
    sealed = await vault.seal(b"secret", PLACE)
    (row,) = await store.of("t1")
    store.rows[row.id] = replace(row, owner="t2")
    with pytest.raises(WrongKey):
        await (await opened(store)).open(sealed, PLACE)


@pytest.mark.parametrize("state", [KeyState.DISABLED, KeyState.DESTROYED])
async def test_a_disabled_or_destroyed_key_opens_nothing(state: KeyState) -> None:
    store = Store()
    sealed = await (await opened(store)).seal(b"secret", PLACE)
    (row,) = await store.of("t1")
    vault = await opened(store)
    assert await vault.open(sealed, PLACE) == b"secret"
    store.rows[row.id] = replace(row, state=state)
    with pytest.raises(WrongKey):
        await vault.open(sealed, PLACE)  # also where it was known before


async def test_first_use_by_many_at_once_makes_one_key() -> None:
    store = Store()
    vaults = [await opened(store) for _ in range(4)]
    sealed = await asyncio.gather(*(v.seal(b"x", PLACE) for v in vaults for _ in range(4)))
    assert len(await store.of("t1")) == 1
    assert len(set(sealed)) == 16
    for envelope in sealed:
        assert await vaults[0].open(envelope, PLACE) == b"x"


async def test_tenants_have_keys_of_their_own() -> None:
    store = Store()
    vault = await opened(store)
    for tenant in ("t1", "t2", None):
        await vault.seal(b"x", Binding(tenant, "a", "b", "c"))
    assert {r.owner for r in store.rows.values()} == {"t1", "t2", SYSTEM_OWNER, MASTER_OWNER}
    assert len({r.wrapped for r in store.rows.values()}) == 4


async def test_a_data_key_is_found_again_and_never_shown() -> None:
    vault = await opened(Store())
    made = await vault.new_data_key(PLACE)
    assert len(made.plain) == 32
    assert await vault.data_key(made.wrapped, PLACE) == made.plain
    assert repr(made.plain)[2:10] not in repr(made)


text = st.text(max_size=8)
bindings = st.builds(Binding, st.none() | text, text, text, text)


@given(bindings, bindings, text, text)
def test_no_two_places_read_the_same(one: Binding, other: Binding, key: str, form: str) -> None:
    def plain(b: Binding) -> tuple[str, str, str, str]:
        return (b.tenant_id or "", b.collection, b.id, b.field)

    same = associated_data(one, key, form) == associated_data(other, key, form)
    assert same == (plain(one) == plain(other))


@given(values=st.lists(st.tuples(bindings, st.binary(max_size=40)), min_size=1, max_size=6))
@settings(max_examples=30, deadline=None)
def test_sealed_anew_under_another_key_is_the_same_at_the_same_place(
    values: list[tuple[Binding, bytes]],
) -> None:
    """For all values, places and generations: what a rotation writes opens to what was there before."""

    async def law() -> None:
        store = Store()
        vault = await opened(store)
        rows = [Sealed("n", str(n), await vault.seal(v, b), b) for n, (b, v) in enumerate(values)]
        for owner in {owner_of(b.tenant_id) for b, _ in values}:
            await store.promote(
                await vault.new_key(owner, f"next-{owner.encode(errors='surrogatepass').hex()}")
            )
        for row, (binding, value) in zip(rows, values, strict=True):
            fresh = await store.primary(owner_of(binding.tenant_id))
            assert fresh is not None
            (moved,) = await vault.resealed([row], fresh.id)
            assert moved != row.envelope and moved.split(".")[1] == fresh.id
            assert await vault.open(moved, binding) == value == await vault.open(row.envelope, binding)
            assert await vault.faults([replace(row, envelope=moved)]) == [None]

    asyncio.run(law())


# the master key


def in_file(home: Path, file: Path | None = None, previous: str | None = None) -> KeptKeys | GivenKeys:
    return master_keys(home, "auto", None, file, previous)


def test_the_key_file_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _: in_file(tmp_path).read(first=True), range(8)))
    assert len(set(keys)) == 1 and len(keys[0][0]) == 32
    assert stat.S_IMODE((tmp_path / "master.key").stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["master.key"]


def test_a_missing_key_file_is_never_made_anew(tmp_path: Path) -> None:
    with pytest.raises(WrongKey, match="missing"):
        in_file(tmp_path).read()
    with pytest.raises(WrongKey):
        in_file(tmp_path, tmp_path / "elsewhere").read(first=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content", ["", "zz" * 32, "ab" * 31, "ab" * 33, "ü" * 64, "ab" * 32 + "\nnext", "ab" * 32 + "\nold x"]
)
def test_a_key_file_without_a_key_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "master.key").write_text(content, "utf-8")
    with pytest.raises(WrongKey):
        in_file(tmp_path).read(first=True)
    assert (tmp_path / "master.key").read_text("utf-8") == content


def test_a_given_key_needs_no_file(tmp_path: Path) -> None:
    assert master_keys(tmp_path, "auto", "ab" * 32, None, None).read() == (b"\xab" * 32,)
    assert list(tmp_path.iterdir()) == []


keys = st.binary(min_size=32, max_size=32)


@given(keys, st.none() | keys, st.lists(keys, max_size=3))
def test_a_book_reads_as_it_was_written(current: bytes, waiting: bytes | None, former: list[bytes]) -> None:
    book = Book(current, waiting, tuple(former))
    assert read_book(book.text, "here") == book


@given(st.lists(st.sampled_from(["successor", "promote", "discard", "again"]), max_size=20))
@settings(max_examples=50, deadline=None)
def test_no_order_of_steps_loses_the_key_in_use(steps: list[str]) -> None:
    """Whatever is done, and done twice, the key that the catalog calls present can be read."""
    with TemporaryDirectory() as folder:
        home = Path(folder)
        present = in_file(home).read(first=True)[0]
        waiting: bytes | None = None
        for step in steps:
            source = in_file(home)  # each time another process
            if step == "successor":
                waiting = source.successor(present)
                assert waiting != present and source.successor(present) == waiting
            elif step == "again" and waiting is not None:
                present, waiting = waiting, None  # promoted in the catalog, and then the process was killed
            elif step == "promote":
                source.promote(present)
            elif step == "discard":
                for key in source.read():
                    if key not in (present, waiting):
                        source.discard(key)
            known = in_file(home).read()
            assert present in known and (waiting is None or waiting in known)
        assert stat.S_IMODE((home / "master.key").stat().st_mode) == 0o600
        assert [p.name for p in home.iterdir()] == ["master.key"]


def test_a_key_from_the_environment_is_followed_by_another_one_given(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="environment") as caught:
        master_keys(tmp_path, "auto", "ab" * 32, None, None).successor(b"\xab" * 32)
    assert "STORAGE_MASTER_KEY_PREVIOUS" in caught.value.hint
    both = master_keys(tmp_path, "auto", "cd" * 32, None, "ab" * 32)
    assert both.read() == (b"\xcd" * 32, b"\xab" * 32)
    assert both.successor(b"\xab" * 32) == b"\xcd" * 32
    assert "STORAGE_MASTER_KEY_PREVIOUS" in (both.promote(b"\xcd" * 32) or "")


def test_a_new_key_put_into_a_file_from_outside_is_the_successor(tmp_path: Path) -> None:
    file = tmp_path / "mounted"
    file.write_text("cd" * 32)
    source = in_file(tmp_path, file, "ab" * 32)
    assert source.read() == (b"\xcd" * 32, b"\xab" * 32)
    assert source.successor(b"\xab" * 32) == b"\xcd" * 32
    assert file.read_text() == "cd" * 32


async def test_a_vault_finds_a_master_key_that_another_process_rotated_in(tmp_path: Path) -> None:
    store = Store()
    vault, _ = a_vault(store, source=in_file(tmp_path))
    await vault.unlock()
    sealed = await vault.seal(b"secret", PLACE)

    other, ring = a_vault(store, source=in_file(tmp_path))
    await other.unlock()
    fresh = await ring.successor()
    await store.promote(Key(fresh, MASTER_OWNER, "", NOW, NOW))
    for key in [k for k in store.rows.values() if k.wrapped]:
        (wrapped,) = await other.rewrapped([key], fresh)
        store.rows[key.id] = replace(key, wrapped=wrapped)
    assert await vault.open(sealed, PLACE) == b"secret"
    assert (await vault.new_key("t9", "k9")).master_id == fresh


async def test_a_recovery_key_opens_with_its_passphrase_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Store()
    vault, ring = a_vault(store)
    await vault.unlock()
    id, text = await ring.recovery("correct horse battery")
    assert id == fingerprint(b"m" * 32) and id in text and (b"m" * 32).hex() not in text
    assert "argon2id m=262144 t=4 p=1" in text, "half a second for each guess"
    assert recovery.read(text, "correct horse battery") == b"m" * 32
    monkeypatch.setattr(recovery, "_COST", (8192, 1, 1))
    _, text = await ring.recovery("correct horse battery")
    assert recovery.read("some words\n" + text.replace("\n", "\r\n"), "correct horse battery") == b"m" * 32
    with pytest.raises(WrongKey):
        recovery.read(text, "correct horse batterz")
    with pytest.raises(WrongKey):
        recovery.read(text.replace("Made: 2026", "Made: 2027"), "correct horse battery")
    with pytest.raises(InvalidRequest):
        recovery.read(text.replace("m=8192", "m=99999999"), "correct horse battery")
    with pytest.raises(InvalidRequest):
        recovery.read("no recovery key", "correct horse battery")
