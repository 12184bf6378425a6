"""Encrypted collections in tenants' real databases: nothing in the clear on disk, and copies that open."""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from storage_core.bootstrap import open_worker
from storage_core.domain.database import Database
from storage_core.domain.errors import Conflict, NameTaken, PolicyRefused, Unsupported
from storage_core.domain.job import JobStatus
from storage_core.services.backups import CreateBackup, RestoreBackup
from storage_core.services.databases import GetDatabase
from storage_core.services.keys import Keys
from storage_core.services.records import GetRecord, QueryRecords
from storage_core.services.tenants import TenantPolicies
from storage_core.storage import Storage
from tests.integration.homes import job_of, somebody, until
from tests.integration.storage_homes import Ground, ground_at

KINDS = ["sqlite", "tinydb"]


@pytest.fixture
async def ground(tmp_path: Path) -> AsyncIterator[Ground]:
    async with ground_at(tmp_path) as made:
        yield made


async def storage_of(ground: Ground, kind: str) -> Storage:
    tenant = await ground.tenant()
    await ground.database(tenant, kind=kind)
    return await ground.factory.get_storage(tenant_id=tenant.id)


def on_disk(ground: Ground) -> bytes:
    return b"".join(path.read_bytes() for path in ground.root.rglob("*") if path.is_file())


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_sealed_is_nowhere_in_the_clear(ground: Ground, kind: str) -> None:
    storage = await storage_of(ground, kind)
    mark, other = secrets.token_hex(8), secrets.token_hex(8)
    await storage.encrypt("people", fields=["ssn", "address.street"], searchable=["ssn"])
    await storage.encrypt("letters")
    people, letters = storage.collection("people"), storage.collection("letters")
    await people.create_index("ssn", unique=True)
    person = await people.insert({"ssn": mark, "address": {"street": mark, "city": "Bern"}})
    await letters.insert({"text": other, "to": person.id}, id="l-1")
    with pytest.raises(NameTaken):
        await people.insert({"ssn": mark})
    assert [p.id async for p in people.query({"ssn": mark})] == [person.id]
    assert [p.data["ssn"] async for p in people.query({"address.city": "Bern"}, sort="-created_at")] == [mark]
    changed = await people.update(person.id, {"address.street": "Main Street"}, version=1)
    assert changed.data == {"ssn": mark, "address": {"street": "Main Street", "city": "Bern"}}
    with pytest.raises(Unsupported):
        await people.query({"ssn": {"$gt": "a"}}).all()
    with pytest.raises(Unsupported):
        await letters.query({"text": other}).all()
    letter = await letters.get("l-1")
    assert letter is not None and letter.data["text"] == other
    held = on_disk(ground)
    assert mark.encode() not in held and other.encode() not in held and b"Main Street" not in held
    assert b"Bern" in held
    with pytest.raises(Conflict):
        await storage.encrypt("people")
    await storage.collection("plain").insert({})
    with pytest.raises(Conflict):
        await storage.encrypt("plain")


async def test_people_with_the_right_read_them_in_the_console(ground: Ground) -> None:
    storage = await storage_of(ground, "sqlite")
    await storage.encrypt("people", fields=["ssn"])
    await storage.collection("people").insert({"ssn": "756", "n": 1}, id="a")
    asked = GetRecord(database_id=storage.database.id, name="people", id="a")
    assert (await ground.core.records.get(somebody(), asked)).data == {"ssn": "756", "n": 1}
    query = QueryRecords(database_id=storage.database.id, name="people", where='{"n": 1}')
    page = await ground.core.records.query(somebody(), query)
    assert [record.data["ssn"] for record in page.items] == ["756"]


async def test_a_rotated_key_still_opens(ground: Ground) -> None:
    storage = await storage_of(ground, "sqlite")
    await storage.encrypt("people")
    await storage.collection("people").insert({"ssn": "756"}, id="a")
    done = await Keys(ground.core.kernel).rotate(
        storage.tenant.id, ground.core.kernel.new_id(), lambda *_: None
    )
    assert done.rewrapped >= 1
    again = await ground.factory.get_storage(tenant_id=storage.tenant.id)
    person = await again.collection("people").get("a")
    assert person is not None and person.data == {"ssn": "756"}


async def test_a_policy_keeps_everything_encrypted(ground: Ground) -> None:
    storage = await storage_of(ground, "sqlite")
    await storage.encrypt("people")
    await storage.collection("open").insert({})
    policy = TenantPolicies(id=storage.tenant.id, encryption=True)
    await ground.core.tenants.policies(somebody(), policy)
    storage = await fresh(ground, storage)
    await storage.collection("people").insert({"a": 1})
    for refused in (storage.collection("open").insert({}), storage.collection("open").count()):
        with pytest.raises(PolicyRefused):
            await refused
    with pytest.raises(PolicyRefused):
        async with storage.session():
            raise AssertionError("entered")


async def test_a_quota_of_the_policy_holds(ground: Ground) -> None:
    from storage_core.domain.errors import QuotaExceeded

    storage = await storage_of(ground, "sqlite")
    await ground.core.tenants.policies(somebody(), TenantPolicies(id=storage.tenant.id, documents=2))
    storage = await fresh(ground, storage)
    orders = storage.collection("orders")
    await orders.insert({})
    second = await orders.insert({})
    with pytest.raises(QuotaExceeded):
        await orders.insert({})
    await orders.delete(second.id)
    await orders.insert({})


async def fresh(ground: Ground, storage: Storage) -> Storage:
    """The storage once what happened in the catalog has reached it."""
    await until(ground.core, lambda: _has_heard(ground, storage))
    return storage


async def _has_heard(ground: Ground, storage: Storage) -> bool:
    standing = await storage.link.current()
    async with ground.core.kernel.catalog.read() as uow:
        tenant = await uow.tenants.get(storage.tenant.id)
    return tenant is not None and standing.tenant.policy == tenant.policy


async def test_a_restored_copy_opens_with_the_same_keys(ground: Ground) -> None:
    storage = await storage_of(ground, "sqlite")
    await storage.encrypt("people", fields=["ssn"], searchable=["ssn"])
    await storage.collection("people").insert({"ssn": "756"}, id="a")
    core = ground.core
    async with open_worker(core):
        ticket = await core.backups.create(somebody(), CreateBackup(database_id=storage.database.id))
        await ended(ground, ticket)
        restore = RestoreBackup(id=ticket.id, name="copy")
        ticket = await core.backups.restore(somebody(), restore)
        await ended(ground, ticket)
    copy: Database = await core.databases.get(somebody(), GetDatabase(id=ticket.id))
    assert copy.name == "copy"
    other = await ground.factory.get_storage("copy", tenant_id=storage.tenant.id)
    people = other.collection("people")
    assert [person.data async for person in people.query({"ssn": "756"})] == [{"ssn": "756"}]
    await people.insert({"ssn": "757"})
    assert b"757" not in on_disk(ground)


async def ended(ground: Ground, ticket: Any) -> None:
    async def done() -> bool:
        return (await job_of(ground.core, ticket.job_id)).status is JobStatus.SUCCEEDED

    await until(ground.core, done)
