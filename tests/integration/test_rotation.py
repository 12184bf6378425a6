"""Rotations on real catalogs, killed wherever it hurts: at no moment is there a row that no key opens."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storage_core.backing.servers.servers import LocalServers
from storage_core.bootstrap import Core, new_id, open_core, open_worker, utc_now
from storage_core.domain.errors import Conflict, VersionConflict, WrongKey
from storage_core.domain.idempotency import Remembered
from storage_core.domain.secret import (
    MASTER_OWNER,
    SYSTEM_OWNER,
    Binding,
    KeyState,
    Secret,
    WrappedKey,
    data_key_binding,
)
from storage_core.services.kernel import opened as opened_row
from storage_core.services.keys import Keys
from storage_core.services.secrets import RotateMasterKey, RotateSecrets, ValidateSecrets
from storage_core.settings import Settings
from tests.integration.homes import a_postgresql_database, ended, opened, settings_of, somebody

CHILD = Path(__file__).with_name("rotating.py")
Plain = dict[tuple[str, str], bytes]


@pytest.fixture(params=["sqlite", "postgresql"])
async def settings(
    request: pytest.FixtureRequest, tmp_path: Path, local_servers: LocalServers
) -> AsyncIterator[Settings]:
    """A home whose catalog is on either database."""
    home = tmp_path / "home"
    if request.param == "sqlite":
        yield settings_of(home)
        return
    await local_servers.start("postgresql", "postgresql")
    async with a_postgresql_database(await local_servers.endpoint("postgresql")) as url:
        yield settings_of(home, catalog_url=url)


async def fill(core: Core, count: int) -> Plain:
    """Data keys of two tenants and the system, passwords, remembered answers; answers what is inside of each."""
    plain: Plain = {}
    vault, now = core.kernel.vault, utc_now()
    made = [
        (id, tenant, await vault.new_data_key(data_key_binding(tenant, id)))
        for tenant in ("t1", "t2", None)
        for id in (new_id() for _ in range(count))
    ]
    async with core.kernel.catalog.write() as uow:
        for id, tenant, key in made:
            plain["data_keys", id] = key.plain
            await uow.data_keys.add(WrappedKey(id, tenant, key.wrapped, now))
    for n in range(5):
        value, owner = f"password {n}".encode(), new_id()
        place = Binding(None, "providers", owner, "password")
        secret = Secret(f"{owner}/password", None, owner, await vault.seal(value, place), now, now)
        answer = Remembered(f"r{n}", "digest", now, 200)
        body = await vault.seal(value, answer.binding)
        async with core.kernel.catalog.write() as uow:
            await uow.secrets.add(secret)
            await uow.remembered.add(Remembered(f"r{n}", "digest", now, 200, body))
        plain["secrets", secret.id] = plain["remembered", answer.id] = value
    return plain


async def all_open(core: Core, plain: Plain, *, compared: bool = True) -> None:
    """Every row is there and opens; if `compared`, to what was put in."""
    mark = ("", "")
    seen: set[tuple[str, str]] = set()
    while batch := await core.kernel.catalog.envelopes.after(None, mark, 500):
        mark = (batch[-1].noun, batch[-1].id)
        seen |= {(one.noun, one.id) for one in batch}
        assert not any(await core.kernel.rewrapping.faults(batch))
        for one in batch if compared else ():
            assert await core.kernel.vault.open(one.envelope, one.binding) == plain[one.noun, one.id]
    assert seen == plain.keys()


@contextmanager
def children(settings: Settings) -> Iterator[Callable[[int, str], tuple[int, int]]]:
    """Run processes that rotate everything and are killed at a point; answers exit code and number of points."""
    env = {**os.environ, "PYTHONPATH": str(CHILD.parents[2])}
    if settings.catalog_url:
        env["CATALOG"] = settings.catalog_url
    command = [sys.executable, str(CHILD), str(settings.home)]
    with subprocess.Popen(
        command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdin is not None and parent.stdout is not None
        words, answers = parent.stdin, parent.stdout

        def run(point: int, key_id: str) -> tuple[int, int]:
            words.write(f"{point} {key_id}\n")
            words.flush()
            code, points = answers.readline().split()
            return int(code), int(points)

        try:
            yield run
        finally:
            words.close()


async def killed_at_random_points(settings: Settings, count: int, points: int, chance: random.Random) -> None:
    async with opened(settings) as core:
        plain = await fill(core, count)
    with children(settings) as run:
        code, total = await asyncio.to_thread(run, 0, new_id())
        assert code == 0
        key_id = new_id()
        for point in (chance.randint(1, total) for _ in range(points)):
            code, _ = await asyncio.to_thread(run, point, key_id)
            # One that goes on where another was killed may have less to do: then it came to its end.
            assert code in (-signal.SIGKILL, 0)
            if code == 0:
                key_id = new_id()
            async with open_core(settings) as core:
                await all_open(core, plain, compared=False)
        code, _ = await asyncio.to_thread(run, 0, new_id())
        assert code == 0
    async with open_core(settings) as core:
        await all_open(core, plain)
        for owner in ("t1", SYSTEM_OWNER, MASTER_OWNER):
            *former, newest = await core.kernel.catalog.keys.of(owner)
            assert newest.state is KeyState.PRIMARY and former
            assert {k.state for k in former} == {KeyState.DESTROYED}
    # Nothing of a former master key is left where it was kept.
    assert len((settings.home / "master.key").read_text().splitlines()) == 1


async def test_killed_anywhere_every_row_still_opens(settings: Settings) -> None:
    await killed_at_random_points(settings, 40, 5, random.Random(7))


@pytest.mark.torture
async def test_killed_at_fifty_points_every_row_still_opens(settings: Settings) -> None:
    seed, size = int(os.environ.get("SEED", "1")), int(os.environ.get("SIZE", "1"))
    await killed_at_random_points(settings, 1000 * size, 50 * size, random.Random(seed))


async def test_who_writes_while_a_key_is_rotated_loses_nothing(settings: Settings) -> None:
    """Writers in another core, which knows the old keys, go on during four rotations."""
    async with opened(settings) as core, open_core(settings) as other:
        plain = await fill(core, 20)
        over = asyncio.Event()

        async def write() -> None:
            while not over.is_set():
                id = new_id()
                made = await other.kernel.vault.new_data_key(data_key_binding("t1", id))
                try:
                    async with other.kernel.catalog.write() as uow:
                        await uow.data_keys.add(WrappedKey(id, "t1", made.wrapped, utc_now()))
                except VersionConflict:
                    continue  # refused, and nothing written
                plain["data_keys", id] = made.plain

        known = next(id for noun, id in plain if noun == "data_keys")

        async def read() -> None:
            async def row() -> WrappedKey | None:
                async with other.kernel.catalog.read() as uow:
                    return await uow.data_keys.get(known)

            while not over.is_set():
                assert await opened_row(other.kernel.vault, row) == plain["data_keys", known]

        async with asyncio.TaskGroup() as group:
            group.create_task(read())
            for _ in range(3):
                group.create_task(write())
            for _ in range(2):
                await Keys(core.kernel).rotate("t1", new_id(), lambda *_: None)
                await Keys(core.kernel).rotate_master(await core.kernel.masters.successor(), lambda *_: None)
            over.set()
        await all_open(core, plain)
        await all_open(other, plain)


async def test_an_envelope_of_a_retired_key_is_not_written(settings: Settings) -> None:
    async with opened(settings) as core:
        late = await core.kernel.vault.new_data_key(data_key_binding("t1", "late"))
        await Keys(core.kernel).rotate("t1", new_id(), lambda *_: None)
        with pytest.raises(VersionConflict):
            async with core.kernel.catalog.write() as uow:
                await uow.data_keys.add(WrappedKey("late", "t1", late.wrapped, utc_now()))
        async with core.kernel.catalog.read() as uow:
            assert await uow.data_keys.get("late") is None


async def test_a_key_that_a_retired_master_key_wraps_is_not_written(settings: Settings) -> None:
    async with opened(settings) as core:
        late = await core.kernel.rewrapping.new_key("t1", "late")
        await Keys(core.kernel).rotate_master(await core.kernel.masters.successor(), lambda *_: None)
        for write in (core.kernel.catalog.keys.add, core.kernel.catalog.keys.promote):
            with pytest.raises(VersionConflict):
                await write(late)
        assert await core.kernel.catalog.keys.by_id("late") is None


async def test_what_does_not_open_keeps_its_key_and_is_named(settings: Settings) -> None:
    async with opened(settings) as core, open_worker(core):
        plain = await fill(core, 3)
        tenant = await _tenant(core)
        id = new_id()
        made = await core.kernel.vault.new_data_key(data_key_binding(tenant, id))
        async with core.kernel.catalog.write() as uow:
            # It lies at another place than it was sealed for.
            await uow.data_keys.add(WrappedKey("moved", tenant, made.wrapped, utc_now()))
            await uow.data_keys.add(WrappedKey(id, tenant, made.wrapped, utc_now()))
        rotation = await ended(
            core, (await core.secrets.rotate(somebody(), RotateSecrets(tenant_id=tenant))).job_id
        )
        assert rotation.result is not None
        assert rotation.result["rewrapped"] == 1 and rotation.result["destroyed"] == []
        assert "stays enabled" in rotation.result["notes"][0]
        job = await ended(core, (await core.secrets.validate(somebody(), ValidateSecrets())).job_id)
        assert job.result is not None and job.result["ok"] is False and job.result["failed"] == 1
        assert job.result["faults"][0]["id"] == "moved"
        assert job.result["envelopes"] == len(plain) + 2
        assert await core.kernel.vault.data_key(made.wrapped, data_key_binding(tenant, id)) == made.plain


async def test_the_key_of_a_tenant_and_the_master_key_rotate_as_jobs(settings: Settings) -> None:
    async with opened(settings) as core, open_worker(core):
        plain = await fill(core, 3)
        before = await core.kernel.catalog.keys.primary(SYSTEM_OWNER)
        assert before is not None
        job = await ended(core, (await core.secrets.rotate(somebody(), RotateSecrets())).job_id)
        assert job.error is None and job.result is not None
        assert job.result["key_id"] == job.id and job.result["version"] == 2
        assert job.result["rewrapped"] == 13 and job.result["destroyed"] == [before.id]
        asked = RotateMasterKey(confirm="master-key")
        job = await ended(core, (await core.secrets.rotate_master(somebody(), asked)).job_id)
        assert job.error is None and job.result is not None and job.result["version"] == 2
        assert len(job.result["destroyed"]) == 1
        await all_open(core, plain)
        job = await ended(core, (await core.secrets.validate(somebody(), ValidateSecrets())).job_id)
        assert job.result == {
            **(job.result or {}),
            "ok": True,
            "envelopes": len(plain),
            "failed": 0,
            "faults": [],
        }


async def test_a_tenant_is_erased_by_destroying_its_key(settings: Settings) -> None:
    async with opened(settings) as core:
        id = new_id()
        made = await core.kernel.vault.new_data_key(data_key_binding("t1", id))
        (erased,) = await Keys(core.kernel).erase("t1")
        key = await core.kernel.catalog.keys.by_id(erased)
        assert key is not None and (key.state, key.wrapped) == (KeyState.DESTROYED, "")
        with pytest.raises(WrongKey):
            await core.kernel.vault.data_key(made.wrapped, data_key_binding("t1", id))
        assert await Keys(core.kernel).erase("t1") == (erased,)


async def test_a_former_key_is_disabled_and_enabled_a_primary_one_is_not(settings: Settings) -> None:
    async with opened(settings) as core:
        ring, keys = core.kernel.catalog.keys, Keys(core.kernel)
        made = await core.kernel.vault.new_data_key(data_key_binding("t1", "b"))
        (first,) = await ring.of("t1")
        await ring.promote(await core.kernel.rewrapping.new_key("t1", "second"))
        assert (await keys.disable(first.id)).state is KeyState.DISABLED
        with pytest.raises(WrongKey):
            await core.kernel.vault.data_key(made.wrapped, data_key_binding("t1", "b"))
        assert (await keys.enable(first.id)).state is KeyState.ENABLED
        assert await core.kernel.vault.data_key(made.wrapped, data_key_binding("t1", "b")) == made.plain
        with pytest.raises(Conflict):
            await keys.disable("second")


async def test_of_two_successors_at_once_one_is_promoted_after_the_other(settings: Settings) -> None:
    async with opened(settings) as core:
        await core.kernel.vault.new_data_key(data_key_binding("t1", "b"))
        rotations = [Keys(core.kernel).rotate("t1", f"k{n}", lambda *_: None) for n in range(4)]
        done = await asyncio.gather(*rotations)
        assert sorted(r.version for r in done) == [2, 3, 4, 5]
        states = [k.state for k in await core.kernel.catalog.keys.of("t1")]
        assert states == [*[KeyState.DESTROYED] * 4, KeyState.PRIMARY]


async def _tenant(core: Core) -> str:
    from storage_core.services.tenants import CreateTenant

    return (await core.tenants.create(somebody(), CreateTenant(name=f"t-{new_id()[:8]}"))).id
