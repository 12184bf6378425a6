"""People's data that passes through records is not kept by the audit log."""

from pathlib import Path

from storage_core.domain.page import Query
from storage_core.services.records import InsertRecord, QueryRecords, UpdateRecord
from tests.integration.homes import somebody
from tests.integration.storage_homes import ground_at


async def test_the_audit_log_keeps_hashes_of_records_alone(tmp_path: Path) -> None:
    async with ground_at(tmp_path) as ground:
        row = await ground.database(await ground.tenant())
        at = {"database_id": row.id, "name": "people"}
        made = await ground.core.records.insert(somebody(), InsertRecord(**at, data={"ssn": "756-1234"}))
        assert made.id is not None
        await ground.core.records.update(somebody(), UpdateRecord(**at, id=made.id, data={"ssn": "756-5678"}))
        await ground.core.records.query(somebody(), QueryRecords(**at, where='{"ssn": "756-5678"}'))
        async with ground.core.kernel.catalog.read() as uow:
            entries = (await uow.audit.find(Query(sort="-at", limit=50))).items
        told = [entry for entry in entries if entry.operation.startswith("records.")]
        assert len(told) >= 5 and "756-" not in repr(told) and "people" in repr(told)
