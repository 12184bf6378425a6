"""The vault: what is sealed opens at its place with its master key, and nowhere else."""

import asyncio
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_core.backing.vault import EnvelopeVault, read_master_key
from storage_core.domain.errors import WrongKey
from storage_core.domain.secret import Binding, KeyState, TenantKey, associated_data

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PLACE = Binding("t1", "providers", "p1", "password")


class Store:
    """Keys in memory, slow enough for others to come in between."""

    def __init__(self) -> None:
        self.rows: dict[str, TenantKey] = {}

    async def primary(self, tenant_id: str | None) -> TenantKey | None:
        await asyncio.sleep(0)
        rows = (r for r in self.rows.values() if r.tenant_id == tenant_id and r.state is KeyState.PRIMARY)
        return next(rows, None)

    async def by_id(self, key_id: str) -> TenantKey | None:
        return self.rows.get(key_id)

    async def add(self, key: TenantKey) -> TenantKey:
        await asyncio.sleep(0)
        existing = await self.primary(key.tenant_id)
        if existing is None:
            self.rows[key.id] = existing = key
        return existing


def a_vault(store: Store, master: bytes = b"m" * 32) -> EnvelopeVault:
    numbers = count(len(store.rows))
    return EnvelopeVault(master, store, lambda: NOW, lambda: f"key-{id(numbers)}-{next(numbers)}")


async def test_what_is_sealed_opens_again_also_in_another_process() -> None:
    store = Store()
    sealed = await a_vault(store).seal(b"secret \x00 bytes", PLACE)
    assert await a_vault(store).open(sealed, PLACE) == b"secret \x00 bytes"
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
    vault = a_vault(store)
    sealed = await vault.seal(b"secret", PLACE)
    with pytest.raises(WrongKey):
        await vault.open(sealed, moved)


async def test_a_changed_value_does_not_open() -> None:
    vault = a_vault(Store())
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
        await a_vault(Store()).open(nonsense, PLACE)


async def test_another_master_key_is_refused_and_makes_nothing() -> None:
    store = Store()
    vault = a_vault(store)
    await vault.unlock()
    sealed = await vault.seal(b"secret", PLACE)
    before = dict(store.rows)
    other = a_vault(store, b"x" * 32)
    with pytest.raises(WrongKey):
        await other.unlock()
    with pytest.raises(WrongKey):
        await other.open(sealed, PLACE)
    with pytest.raises(WrongKey):
        await other.seal(b"secret", PLACE)
    assert store.rows == before


async def test_a_wrapped_key_given_to_another_owner_is_refused() -> None:
    store = Store()
    vault = a_vault(store)
    sealed = await vault.seal(b"secret", PLACE)
    (row,) = store.rows.values()
    store.rows[row.id] = replace(row, tenant_id="t2")
    with pytest.raises(WrongKey):
        await a_vault(store).open(sealed, PLACE)


@pytest.mark.parametrize("state", [KeyState.DISABLED, KeyState.DESTROYED])
async def test_a_disabled_or_destroyed_key_opens_nothing(state: KeyState) -> None:
    store = Store()
    sealed = await a_vault(store).seal(b"secret", PLACE)
    store.rows = {id: replace(row, state=state) for id, row in store.rows.items()}
    with pytest.raises(WrongKey):
        await a_vault(store).open(sealed, PLACE)


async def test_first_use_by_many_at_once_makes_one_key() -> None:
    store = Store()
    vaults = [a_vault(store) for _ in range(4)]
    sealed = await asyncio.gather(*(v.seal(b"x", PLACE) for v in vaults for _ in range(4)))
    assert len(store.rows) == 1
    assert len(set(sealed)) == 16
    for envelope in sealed:
        assert await vaults[0].open(envelope, PLACE) == b"x"


async def test_tenants_have_keys_of_their_own() -> None:
    store = Store()
    vault = a_vault(store)
    for tenant in ("t1", "t2", None):
        await vault.seal(b"x", Binding(tenant, "a", "b", "c"))
    assert len({r.wrapped for r in store.rows.values()}) == 3


async def test_a_data_key_is_found_again_and_never_shown() -> None:
    vault = a_vault(Store())
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


# the master key


def test_the_key_file_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _: read_master_key(None, None, tmp_path, first=True), range(8)))
    assert len(set(keys)) == 1 and len(keys[0]) == 32
    assert stat.S_IMODE((tmp_path / "master.key").stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["master.key"]


def test_a_missing_key_file_is_never_made_anew(tmp_path: Path) -> None:
    with pytest.raises(WrongKey, match="missing"):
        read_master_key(None, None, tmp_path, first=False)
    with pytest.raises(WrongKey):
        read_master_key(None, tmp_path / "elsewhere", tmp_path, first=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "zz" * 32, "ab" * 31, "ab" * 33, "ü" * 64])
def test_a_key_file_without_a_key_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "master.key").write_text(content, "utf-8")
    with pytest.raises(WrongKey):
        read_master_key(None, None, tmp_path, first=True)
    assert (tmp_path / "master.key").read_text("utf-8") == content


def test_a_given_key_needs_no_file(tmp_path: Path) -> None:
    assert read_master_key("ab" * 32, None, tmp_path, first=False) == b"\xab" * 32
    assert list(tmp_path.iterdir()) == []
