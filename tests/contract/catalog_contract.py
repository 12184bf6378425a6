"""What every catalog must do, whatever database it lives in."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from storage_core.backing.bus import OutboxBus
from storage_core.catalog.catalog import SqlCatalog, open_engine
from storage_core.catalog.migrate import migrate
from storage_core.catalog.tables import UtcDateTime, metadata
from storage_core.domain.audit import AuditEntry, Phase, first_broken
from storage_core.domain.database import Database, DatabaseStatus
from storage_core.domain.errors import (
    Conflict,
    InUse,
    InvalidRequest,
    NameTaken,
    Unavailable,
    VersionConflict,
)
from storage_core.domain.idempotency import Remembered
from storage_core.domain.job import Job, JobStatus, Progress
from storage_core.domain.page import MAX_LIMIT, Clause, Query, Reach, Test
from storage_core.domain.provider import Endpoint, EngineKind, Provider
from storage_core.domain.secret import MASTER_OWNER, SYSTEM_OWNER, Key
from storage_core.domain.tenant import Tenant
from storage_core.ports.catalog import UnitOfWork

START = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)


class Handed:
    """A queue that remembers what it was handed."""

    def __init__(self) -> None:
        self.inside: list[str] = []
        self.outside: list[str] = []
        self.away = False

    def enqueue_in(self, connection: Any, job_id: str) -> None:
        connection.execute(text("select 1"))
        self.inside.append(job_id)

    async def enqueue(self, job_id: str) -> None:
        if self.away:
            raise Unavailable("the job store is away")
        self.outside.append(job_id)


def a_tenant(n: int | str, **changes: Any) -> Tenant:
    row = Tenant(f"t{n}", f"tenant-{n}", f"Tenant {n}", START, START)
    return replace(row, **changes)


def a_provider(n: int | str, **changes: Any) -> Provider:
    row = Provider(f"p{n}", f"provider-{n}", EngineKind.SQLITE, Endpoint(path="/data"), START, START)
    return replace(row, **changes)


def a_database(n: int | str, provider: str = "p1", **changes: Any) -> Database:
    row = Database(f"d{n}", provider, f"database-{n}", f"sc_{n}", START, START)
    return replace(row, **changes)


def a_job(n: int | str, **changes: Any) -> Job:
    return replace(Job(f"j{n}", "backups.create", START, START, "u1", "anna"), **changes)


def an_entry(n: int | str, chain: str = "system", **changes: Any) -> AuditEntry:
    row = AuditEntry(
        chain, 0, START, Phase.INTENT, "backups.create", "u1", "anna", "Admin", "cli", f"c{n}", "begun"
    )
    return replace(row, **changes)


async def entries(uow: UnitOfWork, chain: str = "system") -> tuple[AuditEntry, ...]:
    """A chain, first entry first."""
    only = Query((Clause("chain", Test.ANY_OF, (chain,)),), sort="sequence", limit=MAX_LIMIT)
    return (await uow.audit.find(only)).items


async def gathered(*work: Any) -> list[Any]:
    return await asyncio.gather(*work, return_exceptions=True)


class CatalogContract:
    """Inherit, and give the fixture `url`: the address of an empty database."""

    @pytest.fixture
    def queue(self) -> Handed:
        return Handed()

    @pytest.fixture
    async def catalog(self, url: str, queue: Handed) -> AsyncIterator[SqlCatalog]:
        engine = open_engine(url)
        await migrate(engine)
        catalog = SqlCatalog(engine, queue, lambda: datetime.now(UTC), shared=True)  # type: ignore[arg-type]
        yield catalog
        await catalog.close()

    @pytest.fixture
    async def with_provider(self, catalog: SqlCatalog) -> SqlCatalog:
        async with catalog.write() as uow:
            await uow.providers.add(a_provider(1))
            await uow.tenants.add(a_tenant(1))
        return catalog

    # migrations

    async def test_migrations_run_twice_and_by_several_processes_at_once(self, url: str) -> None:
        engines = [open_engine(url) for _ in range(4)]
        try:
            await asyncio.gather(*(migrate(e) for e in engines))
            await migrate(engines[0])
            async with engines[0].connect() as connection:
                stamped = (await connection.execute(text("select version_num from catalog_version"))).all()
            assert len(stamped) == 1
        finally:
            for engine in engines:
                await engine.dispose()

    @pytest.mark.filterwarnings("ignore:.*expression-based index")
    async def test_tables_and_migrations_agree(self, catalog: SqlCatalog) -> None:
        def difference(connection: Any) -> list[Any]:
            def ours(_object: Any, name: str | None, kind: str, reflected: bool, _other: Any) -> bool:
                return not (kind == "table" and reflected and name not in metadata.tables)

            options = {"compare_type": _same_type, "include_object": ours, "version_table": "catalog_version"}
            context = MigrationContext.configure(connection, opts=options)
            return compare_metadata(context, metadata)

        async with catalog.engine.connect() as connection:
            assert await connection.run_sync(difference) == []

    async def test_a_database_name_is_unique_within_tenant_and_namespace_also_where_they_are_none(
        self, with_provider: SqlCatalog
    ) -> None:
        async with with_provider.write() as uow:
            await uow.databases.add(a_database(1))
            for clash in (a_database(2, name="database-1"), a_database(3, physical_name="sc_1")):
                with pytest.raises(NameTaken):
                    await uow.databases.add(clash)
            await uow.databases.add(a_database(4, name="database-1", tenant_id="t1"))
            await uow.databases.add(a_database(5, name="database-1", tenant_id="t1", namespace="eu"))
            with pytest.raises(NameTaken):
                clash = a_database(6, name="database-1", tenant_id="t1", namespace="eu")
                await uow.databases.add(clash)

    # repositories

    async def test_a_row_comes_back_as_it_went_in(self, catalog: SqlCatalog) -> None:
        job = a_job(
            1,
            status=JobStatus.RUNNING,
            progress=Progress("dump", 12.5, 2**40, 2**41, "ünïcode 💾"),
            started_at=START + timedelta(microseconds=1),
            result={"a": [1, None, "x"]},
        )
        async with catalog.write() as uow:
            await uow.jobs.add(job)
        async with catalog.read() as uow:
            assert await uow.jobs.get("j1") == job
            assert await uow.jobs.get("j2") is None
            assert await uow.jobs.one(operation="backups.create", tenant_id=None) == job

    async def test_a_taken_name_and_a_dangling_reference_are_refused_and_the_unit_goes_on(
        self, catalog: SqlCatalog
    ) -> None:
        async with catalog.write() as uow:
            await uow.tenants.add(a_tenant(1))
            with pytest.raises(NameTaken):
                await uow.tenants.add(a_tenant(2, name="tenant-1"))
            with pytest.raises(Conflict, match="refers to"):
                await uow.databases.add(a_database(1, provider="nowhere"))
            await uow.tenants.add(a_tenant(3))
            with pytest.raises(NameTaken):
                await uow.tenants.save(a_tenant(3, name="tenant-1"))
        async with catalog.read() as uow:
            assert {t.id for t in (await uow.tenants.find(Query())).items} == {"t1", "t3"}

    async def test_saving_what_is_gone_is_a_version_conflict(self, catalog: SqlCatalog) -> None:
        with pytest.raises(VersionConflict):
            async with catalog.write() as uow:
                await uow.tenants.save(a_tenant(1))

    async def test_two_units_that_read_the_same_row_never_both_win_by_overwriting(
        self, catalog: SqlCatalog
    ) -> None:
        async with catalog.write() as uow:
            await uow.jobs.add(a_job(1))

        async def count_up() -> None:
            async with catalog.write() as uow:
                job = await uow.jobs.get("j1")
                assert job is not None
                await uow.jobs.save(replace(job, attempts=job.attempts + 1))

        outcomes = await gathered(*(count_up() for _ in range(12)))
        assert all(o is None or isinstance(o, VersionConflict) for o in outcomes), outcomes
        async with catalog.read() as uow:
            job = await uow.jobs.get("j1")
        assert job is not None and job.attempts == outcomes.count(None) >= 1

    async def test_remove_is_idempotent_and_refuses_what_others_refer_to(
        self, with_provider: SqlCatalog
    ) -> None:
        async with with_provider.write() as uow:
            await uow.databases.add(a_database(1))
            with pytest.raises(InUse):
                await uow.providers.remove("p1")
            await uow.databases.remove("d1")
            await uow.databases.remove("d1")
            await uow.providers.remove("p1")
        async with with_provider.read() as uow:
            assert await uow.providers.get("p1") is None

    async def test_a_value_the_catalog_cannot_keep_is_an_invalid_request_or_kept(
        self, catalog: SqlCatalog
    ) -> None:
        try:
            async with catalog.write() as uow:
                await uow.tenants.add(a_tenant(1, title="nul \x00 inside"))
        except InvalidRequest:
            return
        async with catalog.read() as uow:
            kept = await uow.tenants.get("t1")
        assert kept is not None and kept.title == "nul \x00 inside"

    # lists

    async def _jobs(self, catalog: SqlCatalog) -> None:
        async with catalog.write() as uow:
            for n in range(12):
                await uow.jobs.add(
                    a_job(
                        f"{n:02}",
                        created_at=START + timedelta(seconds=n // 2),
                        status=list(JobStatus)[n % 5],
                        tenant_id=None if n % 3 == 0 else f"t{n % 3}",
                        provider_id=f"p{n % 2}",
                        target_name=f"100%_{n}",
                        started_at=None if n % 4 else START + timedelta(minutes=n),
                    )
                )

    @pytest.mark.parametrize(
        ("clause", "expected"),
        [
            (Clause("status", Test.ANY_OF, ("queued", "failed")), {0, 3, 5, 8, 10}),
            (Clause("status", Test.NONE_OF, ("queued", "failed")), {1, 2, 4, 6, 7, 9, 11}),
            (Clause("tenant_id", Test.ANY_OF, (None,)), {0, 3, 6, 9}),
            (Clause("tenant_id", Test.ANY_OF, (None, "t1")), {0, 1, 3, 4, 6, 7, 9, 10}),
            (Clause("tenant_id", Test.NONE_OF, ("t1",)), {0, 2, 3, 5, 6, 8, 9, 11}),
            (Clause("tenant_id", Test.NONE_OF, (None,)), {1, 2, 4, 5, 7, 8, 10, 11}),
            (Clause("tenant_id", Test.NONE_OF, (None, "t1")), {2, 5, 8, 11}),
            (Clause("created_at", Test.BEFORE, ((START + timedelta(seconds=1)).isoformat(),)), {0, 1}),
            (Clause("created_at", Test.FROM, ((START + timedelta(seconds=5)).isoformat(),)), {10, 11}),
            (Clause("cancel_requested", Test.ANY_OF, ("true",)), set()),
            (Clause("attempts", Test.ANY_OF, ("0",)), set(range(12))),
        ],
    )
    async def test_filters(self, catalog: SqlCatalog, clause: Clause, expected: set[int]) -> None:
        await self._jobs(catalog)
        async with catalog.read() as uow:
            page = await uow.jobs.find(Query((clause,)))
        assert {int(j.id[1:]) for j in page.items} == expected
        assert page.total == len(expected)

    async def test_text_search_takes_wildcards_literally(self, catalog: SqlCatalog) -> None:
        await self._jobs(catalog)
        async with catalog.read() as uow:
            assert (await uow.jobs.find(Query(text="100%_1"))).total == 3
            assert (await uow.jobs.find(Query(text="1%1"))).total == 0
            assert (await uow.jobs.find(Query(text="BACKUPS.CREATE"))).total == 12

    @pytest.mark.parametrize(
        ("reach", "expected"),
        [
            (Reach(everything=True), 12),
            (Reach(), 0),
            (Reach(tenants=frozenset({"t1"})), 4),
            (Reach(providers=frozenset({"p0"})), 6),
            (Reach(tenants=frozenset({"t1"}), providers=frozenset({"p0"})), 8),
            (Reach(tenants=frozenset({"nobody"})), 0),
        ],
    )
    async def test_reach_narrows_rows_and_count(
        self, catalog: SqlCatalog, reach: Reach, expected: int
    ) -> None:
        await self._jobs(catalog)
        async with catalog.read() as uow:
            page = await uow.jobs.find(Query(reach=reach))
        assert (len(page.items), page.total) == (expected, expected)

    @pytest.mark.parametrize("sort", ["created_at", "-created_at", "-started_at", "started_at", "tenant_id"])
    async def test_pages_show_every_row_once_while_rows_come_and_go(
        self, catalog: SqlCatalog, sort: str
    ) -> None:
        await self._jobs(catalog)
        seen: list[str] = []
        cursor, n = None, 0
        while True:
            async with catalog.read() as uow:
                page = await uow.jobs.find(Query(sort=sort, limit=5, cursor=cursor))
            seen += [j.id for j in page.items if not j.id.startswith("jx")]
            async with catalog.write() as uow:
                for side in (-1, 1):
                    at = START + timedelta(days=side * (n + 1))
                    await uow.jobs.add(a_job(f"x{n}{side}", created_at=at, started_at=at, tenant_id=f"t{n}"))
            cursor, n = page.next, n + 1
            if cursor is None or n > 50:
                break
        assert sorted(seen) == [f"j{i:02}" for i in range(12)]

    @pytest.mark.parametrize(
        "query",
        [
            Query(sort="no_such_field"),
            Query(sort="log"),
            Query(limit=0),
            Query(limit=501),
            Query(cursor="garbage"),
            Query((Clause("progress", Test.ANY_OF, ("x",)),)),
            Query((Clause("created_at", Test.FROM, ("yesterday",)),)),
            Query((Clause("attempts", Test.ANY_OF, ("1e9",)),)),
            Query((Clause("attempts", Test.ANY_OF, (str(2**70),)),)),
            Query((Clause("status", Test.ANY_OF, ("a\x00b",)),)),
            Query(text="a\x00b"),
        ],
    )
    async def test_nonsense_is_refused_in_words(self, catalog: SqlCatalog, query: Query) -> None:
        with pytest.raises(InvalidRequest):
            async with catalog.read() as uow:
                await uow.jobs.find(query)

    async def test_a_forged_cursor_is_refused(self, catalog: SqlCatalog) -> None:
        import base64
        import json

        await self._jobs(catalog)
        for value in ([1], {"a": 1}, None, 2**80, True, "x\x00"):
            for forged in (
                ["attempts", value, "j01"],
                ["status", "queued", value],
                ["created_at", value, "j"],
            ):
                cursor = base64.urlsafe_b64encode(json.dumps(forged).encode()).decode().rstrip("=")
                with pytest.raises(InvalidRequest):
                    async with catalog.read() as uow:
                        await uow.jobs.find(Query(sort=forged[0], cursor=cursor))

    # units of work

    async def test_a_unit_commits_whole_or_not_at_all(self, catalog: SqlCatalog, queue: Handed) -> None:
        with pytest.raises(ZeroDivisionError):
            async with catalog.write() as uow:
                await uow.tenants.add(a_tenant(1))
                await uow.jobs.add(a_job(1))
                await uow.enqueue(a_job(1))
                await uow.audit.append(an_entry(1))
                raise ZeroDivisionError
        async with catalog.read() as uow:
            assert (await uow.tenants.find(Query())).total == 0
            assert await uow.audit.chains() == ()
        assert await catalog.last_event() == 0
        assert queue.inside == ["j1"] and queue.outside == []

    async def test_a_cancelled_unit_leaves_nothing(self, catalog: SqlCatalog) -> None:
        inside = asyncio.Event()

        async def work() -> None:
            async with catalog.write() as uow:
                await uow.tenants.add(a_tenant(1))
                inside.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await inside.wait()
        task.cancel()
        await gathered(task)
        async with catalog.write() as uow:
            assert await uow.tenants.get("t1") is None
            await uow.tenants.add(a_tenant(1))

    async def test_a_reading_unit_sees_one_moment_and_changes_nothing(self, catalog: SqlCatalog) -> None:
        async with catalog.read() as reading:
            assert (await reading.tenants.find(Query())).total == 0
            async with catalog.write() as uow:
                await uow.tenants.add(a_tenant(1))
            assert (await reading.tenants.find(Query())).total == 0
        async with catalog.read() as uow:
            assert (await uow.tenants.find(Query())).total == 1

    async def test_a_separate_job_store_is_handed_the_job_after_the_commit(self, url: str) -> None:
        queue, engine = Handed(), open_engine(url)
        await migrate(engine)
        catalog = SqlCatalog(engine, queue, lambda: START, shared=False)  # type: ignore[arg-type]
        try:
            async with catalog.write() as uow:
                await uow.jobs.add(a_job(1))
                await uow.enqueue(a_job(1))
                assert queue.outside == []
            assert queue.outside == ["j1"] and queue.inside == []
            queue.away = True
            async with catalog.write() as uow:
                await uow.jobs.add(a_job(2))
                await uow.enqueue(a_job(2))
            async with catalog.read() as uow:
                assert await uow.jobs.get("j2") is not None, "accepted; the reconciler hands it over"
        finally:
            await catalog.close()

    # outbox and bus

    async def test_events_come_in_commit_order_and_none_is_lost(self, catalog: SqlCatalog) -> None:
        read: list[int] = []
        done = asyncio.Event()

        async def tail() -> None:
            at = 0
            while True:
                over = done.is_set()
                events = await catalog.events(at, 7)
                read.extend(e.sequence for e in events)
                at = events[-1].sequence if events else at
                if over and not events:
                    return
                await asyncio.sleep(0)

        async def write(n: int) -> None:
            for i in range(5):
                async with catalog.write() as uow:
                    await uow.tenants.add(a_tenant(f"{n}-{i}"))
                    await asyncio.sleep(0.001 * (n % 3))

        tailing = asyncio.create_task(tail())
        await asyncio.gather(*(write(n) for n in range(6)))
        done.set()
        await tailing
        everything = [e.sequence for e in await catalog.events(0, 500)]
        assert len(everything) == 30
        assert read == everything == sorted(everything)

    async def test_old_events_go_and_numbers_never_start_again(self, url: str) -> None:
        now = [START]
        engine = open_engine(url)
        await migrate(engine)
        catalog = SqlCatalog(engine, Handed(), lambda: now[0], shared=True)  # type: ignore[arg-type]
        try:
            for n in range(3):
                async with catalog.write() as uow:
                    await uow.tenants.add(a_tenant(n))
            last = await catalog.last_event()
            now[0] += timedelta(days=2)
            await catalog.forget_events()
            assert [e.sequence for e in await catalog.events(0, 10)] == [last]
            async with catalog.write() as uow:
                await uow.tenants.add(a_tenant("new"))
            assert await catalog.last_event() > last
        finally:
            await catalog.close()

    def bus(self, catalog: SqlCatalog) -> OutboxBus:
        return OutboxBus(catalog.events, catalog.last_event, 0.02)

    async def test_the_bus_wakes_who_waits_and_tells_subscribers_from_the_call_on(
        self, catalog: SqlCatalog
    ) -> None:
        bus = self.bus(catalog)
        await bus.start()
        try:
            async with aclosing(bus.subscribe()) as events:
                before = await catalog.last_event()
                async with catalog.write() as uow:
                    await uow.tenants.add(a_tenant(1))
                reached = await asyncio.wait_for(bus.wait_beyond(before), 10)
                event = await asyncio.wait_for(anext(events), 10)
            assert (event.topic, event.verb, event.id, event.sequence) == ("tenants", "added", "t1", reached)
        finally:
            await bus.close()

    async def test_a_slow_listener_sees_a_gap_and_the_newest(
        self, catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("storage_core.backing.bus.QUEUE", 4)
        bus = self.bus(catalog)
        await bus.start()
        try:
            async with aclosing(bus.subscribe()) as events:
                for n in range(10):
                    async with catalog.write() as uow:
                        await uow.tenants.add(a_tenant(n))
                newest = await catalog.last_event()
                while await asyncio.wait_for(bus.wait_beyond(newest - 1), 10) < newest:
                    pass
                kept = [(await anext(events)).id for _ in range(4)]
            assert kept == ["t6", "t7", "t8", "t9"]
        finally:
            await bus.close()

    # audit

    async def test_the_chain_is_whole_under_concurrent_appends(self, catalog: SqlCatalog) -> None:
        async def append(n: int) -> None:
            async with catalog.write() as uow:
                await uow.audit.append(an_entry(n, chain=f"c{n % 2}"))

        await asyncio.gather(*(append(n) for n in range(24)))
        async with catalog.read() as uow:
            assert await uow.audit.chains() == ("c0", "c1")
            for chain in ("c0", "c1"):
                run = await entries(uow, chain)
                assert [e.sequence for e in run] == list(range(1, 13))
                assert first_broken(run, chain) is None
                assert await uow.audit.head(chain) == (12, run[-1].hash)

    async def test_an_entry_reads_back_with_its_hash(self, catalog: SqlCatalog) -> None:
        entry = an_entry(1, detail='ü 💾 \\ " / \u2028', target_name="x", address="::1", reason=None)
        async with catalog.write() as uow:
            written = await uow.audit.append(entry)
        async with catalog.read() as uow:
            assert await entries(uow) == (written,)
            assert (await uow.audit.find(Query(sort="-at"))).items == (written,)

    @pytest.mark.parametrize(
        ("harm", "bad"),
        [
            ("update audit set actor_name = 'eve' where sequence = 4", "system:4"),
            ("update audit set detail = detail || ' ' where sequence = 1", "system:1"),
            ("delete from audit where sequence = 4", "system:4"),
            ("delete from audit where sequence = 1", "system:1"),
            ("update audit set sequence = 100 where sequence = 4", "system:4"),
            (
                (
                    "update audit set sequence = 100 where sequence = 4;"
                    "update audit set sequence = 4 where sequence = 5;"
                    "update audit set sequence = 5 where sequence = 100"
                ),
                "system:4",
            ),
            ("delete from audit where sequence > 6", "system:7"),
            ("delete from audit", "system:1"),
            ("delete from audit_heads", "system:9"),
            ("update audit_heads set hash = 'x'", "system:9"),
        ],
    )
    async def test_tampering_is_found_at_the_first_bad_entry(
        self, catalog: SqlCatalog, verify: Callable[[SqlCatalog], Any], harm: str, bad: str
    ) -> None:
        for n in range(8):
            async with catalog.write() as uow:
                await uow.audit.append(an_entry(n))
        assert (await verify(catalog)).ok
        async with catalog.engine.begin() as connection:
            for statement in harm.split(";"):
                await connection.execute(text(statement))
        found = await verify(catalog)
        assert (found.ok, found.first_bad) == (False, bad)

    async def test_verification_holds_while_entries_are_written(
        self, catalog: SqlCatalog, verify: Callable[[SqlCatalog], Any]
    ) -> None:
        async def write() -> None:
            for n in range(30):
                async with catalog.write() as uow:
                    await uow.audit.append(an_entry(n))

        writing = asyncio.create_task(write())
        while not writing.done():
            assert (await verify(catalog)).ok
        await writing

    async def test_open_intents(self, catalog: SqlCatalog) -> None:
        late = START + timedelta(hours=1)
        async with catalog.write() as uow:
            await uow.audit.append(an_entry("done"))
            await uow.audit.append(an_entry("done", phase=Phase.OUTCOME))
            await uow.audit.append(an_entry("open"))
            await uow.audit.append(an_entry("other", target_id="a"))
            await uow.audit.append(an_entry("other", target_id="b", phase=Phase.OUTCOME))
            await uow.audit.append(an_entry("late", at=late))
        async with catalog.read() as uow:
            found = await uow.audit.open_intents(None, late)
            assert [e.correlation_id for e in found] == ["copen", "cother"]
            assert await uow.audit.open_intents(START + timedelta(seconds=1), late) == ()

    # the rest

    async def test_the_first_key_of_an_owner_wins(self, catalog: SqlCatalog) -> None:
        await catalog.keys.add(Key("m", MASTER_OWNER, "", START, START))
        made = [Key(f"k{n}", "t1", f"m.w{n}", START, START) for n in range(6)]
        answers = await asyncio.gather(*(catalog.keys.add(k) for k in made))
        assert len({a.id for a in answers}) == 1
        assert await catalog.keys.primary("t1") == answers[0]
        assert await catalog.keys.by_id(answers[0].id) == answers[0]
        assert await catalog.keys.primary(SYSTEM_OWNER) is None
        system = await catalog.keys.add(Key("ks", SYSTEM_OWNER, "m.w", START, START))
        assert await catalog.keys.primary(SYSTEM_OWNER) == system

    async def test_one_of_two_equal_requests_is_remembered(self, catalog: SqlCatalog) -> None:
        async def remember() -> None:
            async with catalog.write() as uow:
                await uow.remembered.add(Remembered("key", "digest", START))

        outcomes = await gathered(*(remember() for _ in range(5)))
        assert outcomes.count(None) == 1
        assert sum(isinstance(o, NameTaken) for o in outcomes) == 4

    async def test_statuses_and_sums(self, with_provider: SqlCatalog) -> None:
        async with with_provider.write() as uow:
            await uow.databases.add(a_database(1, status=DatabaseStatus.READY))
            assert await uow.sum("jobs", "attempts", tenant_id=None) == 0
            await uow.jobs.add(a_job(1, attempts=3))
            await uow.jobs.add(a_job(2, attempts=4, tenant_id="t1"))
            assert await uow.sum("jobs", "attempts") == 7
            assert await uow.sum("jobs", "attempts", tenant_id=None) == 3


def _same_type(_context: Any, _inspected: Any, _column: Any, there: Any, here: Any) -> bool | None:
    """Whether a column's type differs; ours is a wrapper that compares by what it wraps."""
    if isinstance(here, UtcDateTime):
        return type(there)._type_affinity is not type(here.impl)._type_affinity
    return None
