"""The audit log on both catalogs: whatever is done to it behind the console's back is named."""

import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from storage_core import audit_verify
from storage_core.catalog.catalog import SqlCatalog, open_engine
from storage_core.catalog.migrate import migrate
from storage_core.domain.heads import Head
from storage_core.domain.provider import Endpoint
from tests.contract.audit_log import Copy, Log, campaign
from tests.contract.catalog_contract import Handed, an_entry
from tests.integration.homes import a_postgresql_database

SEED = int(os.environ.get("SEED", "1"))
SIZE = int(os.environ.get("SIZE", "1"))


class AuditContract:
    """Inherit, and give the fixture `url`: the address of an empty database."""

    @pytest.fixture
    async def log(self, url: str, tmp_path: Path) -> AsyncIterator[Log]:
        engine = open_engine(url)
        await migrate(engine)
        catalog = SqlCatalog(engine, Handed(), lambda: datetime.now(UTC), shared=True)  # type: ignore[arg-type]
        yield Log(catalog, tmp_path)
        await catalog.close()

    async def test_random_tampering_is_named_by_its_first_bad_entry(self, log: Log) -> None:
        await log.grow(8)
        assert await campaign(log, SEED, 50) == []

    @pytest.mark.torture
    async def test_two_thousand_times_tampered(self, log: Log) -> None:
        await log.grow(20)
        assert await campaign(log, SEED, 2000 * SIZE) == []

    async def test_heads_exported_now_and_then_bound_what_was_written_anew(self, log: Log) -> None:
        """Between two exported heads a forger's chain is whole: the entry after the last one that fits is named."""
        await log.grow(3)
        await log.grow(3, export_each=False)
        await log.heads.export()
        copy = await Copy.of(log.catalog)
        await log.grow(2, export_each=False)  # nobody was told of these
        assert (await log.verify()).ok
        await copy.restore(log.catalog)
        assert (await log.verify()).ok
        async with log.catalog.engine.begin() as connection:
            await connection.execute(text("delete from audit where chain = 't0' and sequence > 4"))
            head = (
                await connection.execute(text("select hash from audit where chain = 't0' and sequence = 4"))
            ).scalar_one()
            await connection.execute(
                text("update audit_heads set sequence = 4, hash = :head where chain = 't0'").bindparams(
                    head=head
                )
            )
        await log.write(*(an_entry(f"new{n}", "t0") for n in range(5)))
        assert (await log.verify()).first_bad == "t0:4"  # 3 is the last that an export fits

    async def test_a_catalog_that_was_set_back_stays_known_as_such(self, log: Log) -> None:
        """Exporting what is there now makes the place forget nothing."""
        await log.grow(2)
        copy = await Copy.of(log.catalog)
        await log.grow(3)
        await copy.restore(log.catalog)
        again = Log(log.catalog, log.path.parent)
        await again.write(an_entry("else", "t0"))
        await again.grow(6)
        found = await again.verify()
        assert (found.ok, found.first_bad) == (False, "t0:3")

    async def test_what_was_exported_is_remembered_for_each_place(self, log: Log) -> None:
        """Two writers leave the higher head; only a whole line goes back, and keeps since when the place is whole."""
        since = datetime(2026, 11, 1, tzinfo=UTC)

        async def told(*heads: tuple[str, int], **how: Any) -> dict[str, tuple[int, str, datetime | None]]:
            async with log.catalog.write() as uow:
                await uow.audit.remember("p", [Head(c, n, f"h{n}") for c, n in heads], **how)
            async with log.catalog.read() as uow:
                assert await uow.audit.remembered("other") == ()
                found = await uow.audit.remembered("p")
            return {one.head.chain: (one.head.sequence, one.head.hash, one.since) for one in found}

        assert await told(whole=True) == {}
        assert await told(("a", 5), ("b", 1), whole=True) == {"a": (5, "h5", None), "b": (1, "h1", None)}
        assert await told(("a", 4), ("b", 2), whole=False) == {"a": (5, "h5", None), "b": (2, "h2", None)}
        assert (await told(("a", 3), whole=True, since=since))["a"] == (3, "h3", since)
        assert (await told(("a", 4), whole=False))["a"] == (4, "h4", since)

    async def test_an_export_verifies_alone_and_against_the_exported_heads(
        self, log: Log, tmp_path: Path
    ) -> None:
        await log.grow(5)
        file = tmp_path / "audit.jsonl"
        file.write_bytes(await log.exported())
        assert audit_verify.main([str(file)]) == 0
        report = audit_verify.verify(file, log.path, audit_verify.signature_check(str(log.key)))
        assert (report.entries, report.complete, report.signed) == (11, True, True)
        assert report.heads == 11

    async def test_a_tampered_log_is_named_in_its_export_as_well(self, log: Log, tmp_path: Path) -> None:
        await log.grow(5)
        async with log.catalog.engine.begin() as connection:
            await connection.execute(
                text("update audit set changes = '[', actor_name = '' where chain = 't1' and sequence = 3")
            )
        file = tmp_path / "audit.jsonl"
        file.write_bytes(await log.exported())
        with pytest.raises(audit_verify.Bad) as caught:
            audit_verify.verify(file)
        assert caught.value.at == "t1:3"

    async def test_a_filtered_export_is_signed_and_says_that_it_is_a_part(
        self, log: Log, tmp_path: Path
    ) -> None:
        await log.grow(5)
        file = tmp_path / "audit.jsonl"
        file.write_bytes(await log.exported(correlation_id="c1,c3"))
        report = audit_verify.verify(file, log.path, audit_verify.signature_check(str(log.key)))
        assert (report.entries, report.complete, report.chains) == (4, False, {"t0": 4, "t1": 4})

    async def test_entries_of_the_first_form_still_verify(self, log: Log) -> None:
        await log.write(an_entry(1, version=1), an_entry(2), an_entry(3, version=1))
        assert (await log.verify()).ok
        async with log.catalog.engine.begin() as connection:
            await connection.execute(text("update audit set changes = '[]' where sequence = 1"))
        assert (await log.verify()).first_bad == "system:1"


class TestSqliteAudit(AuditContract):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / 'catalog.sqlite3'}"

    async def test_bytes_that_are_no_text_are_named(self, log: Log) -> None:
        await log.grow(4)
        async with log.catalog.engine.begin() as connection:
            await connection.execute(
                text("update audit set detail = cast(x'65ff78' as text) where chain = 't0' and sequence = 3")
            )
        assert (await log.verify()).first_bad == "t0:3"


class TestPostgresqlAudit(AuditContract):
    @pytest.fixture
    async def url(self, postgresql_server: tuple[Endpoint, str]) -> AsyncIterator[str]:
        async with a_postgresql_database(postgresql_server) as url:
            yield url

    async def test_a_time_before_our_era_is_named(self, log: Log) -> None:
        await log.grow(4)
        async with log.catalog.engine.begin() as connection:
            await connection.execute(
                text(
                    "update audit set at = (to_char(at, 'YYYY-MM-DD HH24:MI:SS.US') || '+00 BC')::timestamptz where sequence = 2"
                )
            )
        assert (await log.verify()).first_bad == "t0:2"
