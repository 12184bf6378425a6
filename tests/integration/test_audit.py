"""The audit log through the doors: what entries say, who reads which, how it leaves the house, and no log no deed."""

import csv
import io
import json
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from storage_core import audit_verify
from storage_core.backing.witness import FileWitness
from storage_core.bootstrap import open_core
from storage_core.domain.audit import AuditEntry, Phase
from storage_core.domain.errors import AuditUnavailable, Forbidden, NotFound
from storage_core.domain.permission import Role
from storage_core.services.heads import HeadExport, exported
from storage_core.settings import Settings
from tests.integration.doors import PASSWORD, Doors, doors_at
from tests.integration.homes import prepare

CANARY = "canary-5f1d0c"


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process may grow: what a full disk does, without filling one."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def entries(doors: Doors, **wanted: Any) -> list[AuditEntry]:
    return list((await doors.call("audit.list", limit=500, sort="at", **wanted)).items)


def fields(entry: AuditEntry) -> dict[str, tuple[str | None, str | None]]:
    return {c.field: (c.before, c.after) for c in entry.changes}


# what entries say


async def test_an_intent_says_what_was_asked_and_an_outcome_what_changed(doors: Doors) -> None:
    tenant = await doors.tenant("acme")
    await doors.call("tenants.update", id=tenant.id, title="Acme & Söhne")
    intent, outcome = await entries(doors, operation="tenants.update")
    assert fields(intent) == {"id": (None, tenant.id), "title": (None, "Acme & Söhne")}
    assert fields(outcome) == {"tenants.title": ("acme", "Acme & Söhne")}
    assert (await doors.call("audit.verify")).ok


async def test_what_was_refused_says_what_was_asked(doors: Doors) -> None:
    viewer = await doors.context(Role.VIEWER)
    with pytest.raises(Forbidden):
        await doors.call("tenants.create", viewer, name="mine")
    [refused] = await entries(doors, phase="refused")
    assert fields(refused) == {"name": (None, "mine")}


async def test_who_has_no_rights_in_a_tenant_writes_nothing_into_its_chain(doors: Doors) -> None:
    """What they asked for is in their own chain, and reads the same whether it is there or not."""
    mine, other = await doors.tenant("acme"), await doors.tenant("globex")
    admin = await doors.context(Role.ADMIN, f"tenant:{mine.id}")
    viewer = await doors.context(Role.VIEWER)
    assert admin is not None and viewer is not None
    narrowed = replace(admin, tenant_id=mine.id)
    left = replace(admin, tenant_id=other.id, grants=())
    made = {"provider_id": "p", "name": "orders"}
    for ctx in (admin, narrowed, viewer):
        for tenant_id in (other.id, "no-such-tenant") if ctx is not viewer else ("no-such-tenant",):
            with pytest.raises((Forbidden, NotFound)):
                await doors.call("databases.create", ctx, tenant_id=tenant_id, **made)
    for id in (other.id, "no-such-tenant"):
        with pytest.raises(NotFound):
            await doors.call("tenants.update", narrowed, id=id, title="Mine")
    with pytest.raises(Forbidden):
        await doors.call("databases.list", left)
    refused = await entries(doors, phase="refused")
    assert {e.chain for e in refused} == {"system", mine.id}
    foreign, missing = (e for e in refused if e.operation == "tenants.update")
    assert (foreign.chain, missing.chain) == (mine.id, mine.id)
    assert (foreign.target_id, missing.target_id) == (other.id, "no-such-tenant"), "what was asked is named"
    told = [(e.target_kind, e.target_name, e.result, e.role) for e in (foreign, missing)]
    assert told[0] == told[1]
    assert not any(e.target_name == "globex" for e in refused)
    with pytest.raises(Forbidden):
        await doors.call("tenants.update", viewer, id=other.id, title="Mine")
    [known] = await entries(doors, phase="refused", chain=other.id)
    assert (known.target_name, known.actor_name) == ("globex", viewer.actor.name), (
        "who may be there is named there"
    )


async def test_a_secret_is_a_keyed_hash_and_nowhere_else(doors: Doors) -> None:
    for n in range(2):
        await doors.call("users.create", username=f"ann-{n}", password=CANARY + PASSWORD, role="Viewer")
    await doors.call("users.create", username="bob", password=PASSWORD + CANARY, role="Viewer")
    intents = await entries(doors, operation="users.create", phase="intent")
    shown = [fields(e)["password"][1] or "" for e in intents]
    assert all(text.startswith("hmac:") and len(text) == 69 for text in shown)
    assert (
        shown[0] == shown[1] != shown[2]
    )  # equal for equal secrets, and keyed: no hash of the bare password
    home = doors.core.settings.home
    held = [p.name for p in home.rglob("*") if p.is_file() and CANARY.encode() in p.read_bytes()]
    assert held == []


async def test_two_homes_hash_the_same_secret_differently(doors: Doors, tmp_path: Path) -> None:
    value = b"1234"
    async with doors_at(tmp_path / "other") as other:
        here = await doors.core.kernel.notary.fingerprint(value)
        assert here != await other.core.kernel.notary.fingerprint(value)


async def test_awkward_values_are_kept_as_well_as_can_be(doors: Doors) -> None:
    title = 'ü \u2028 💾 " \\'
    await doors.call("tenants.create", name="acme", title=title)
    await doors.call("providers.test", kind="sqlite", connection={"path": "/" + "x" * 3000})
    [intent, _] = await entries(doors, operation="tenants.create")
    assert fields(intent)["title"] == (None, title)
    [long, *_] = await entries(doors, operation="providers.test")
    assert len(fields(long)["connection.path"][1] or "") == 400
    assert (await doors.call("audit.verify")).ok


# no log, no deed


async def test_an_operation_is_refused_while_the_log_cannot_be_written(doors: Doors) -> None:
    await doors.tenant("acme")
    with full_disk(), pytest.raises(AuditUnavailable):
        await doors.call("tenants.create", name="globex")
    assert [t.name for t in (await doors.call("tenants.list")).items] == ["acme"]
    await doors.tenant("globex")  # and as soon as there is room again, it works
    assert (await doors.call("audit.verify")).ok


# filters


async def test_every_filter_narrows_and_can_be_turned_around(doors: Doors) -> None:
    tenant = await doors.tenant("acme")
    async with doors.rest(Role.ADMIN) as http:
        await http.put(f"/api/storage/tenants/{tenant.id}/update", json={"title": "New"})
    everything = await entries(doors)
    [some] = [e for e in everything if e.operation == "tenants.update" and e.phase is Phase.OUTCOME]
    for name in ("operation", "actor_id", "actor_name", "role", "target_kind", "target_id", "target_name",
                 "tenant_id", "result", "address", "correlation_id", "door", "phase", "chain"):  # fmt: skip
        value = getattr(some, name)
        fitting = {e.id for e in await entries(doors, **{name: value})}
        assert fitting == {e.id for e in everything if getattr(e, name) == value}, name
        others = {e.id for e in await entries(doors, **{name: f"!{value}"})}
        assert others == {e.id for e in everything} - fitting, name


async def test_a_time_range_has_its_first_moment_and_not_its_last(doors: Doors) -> None:
    for name in ("a", "b", "c"):
        await doors.tenant(name)
    all_of_them = await entries(doors)
    first, last = all_of_them[1].at, all_of_them[4].at
    found = await entries(doors, since=first.isoformat(), until=last.isoformat())
    assert [e.id for e in found] == [e.id for e in all_of_them[1:4]]
    naive = (first + timedelta()).replace(tzinfo=None).isoformat()
    assert (await entries(doors, since=naive))[0].id == all_of_them[1].id


async def test_an_entry_has_an_address_of_its_own(doors: Doors) -> None:
    tenant = await doors.tenant("acme")
    await doors.call("tenants.update", id=tenant.id, title="New")
    [_, outcome] = await entries(doors, operation="tenants.update")
    async with doors.rest() as http:
        answer = (await http.get(f"/api/storage/audit/{tenant.id}:{outcome.sequence}")).json()
    assert answer["hash"] == outcome.hash
    for wrong in (
        "system:0",
        "system:99999",
        "nobody:1",
        "system:x",
        "system:" + "9" * 30,
        "::1",
    ):
        with pytest.raises(NotFound):
            await doors.call("audit.get", id=wrong)


# who reads which


async def test_an_admin_of_one_tenant_reads_exports_and_verifies_that_tenants_log(doors: Doors) -> None:
    mine, other = await doors.tenant("acme"), await doors.tenant("globex")
    for tenant in (mine, other):
        await doors.call("tenants.update", id=tenant.id, title="New")
    admin = await doors.context(Role.ADMIN, f"tenant:{mine.id}")
    seen = (await doors.call("audit.list", admin)).items
    assert {e.tenant_id for e in seen} == {mine.id}
    checked = await doors.call("audit.verify", admin)
    assert (checked.ok, checked.entries) == (True, len(seen))
    text = await _text(await doors.call("audit.export", admin))
    assert other.id not in text
    assert len(text.splitlines()) == len(seen) + 2
    with pytest.raises(NotFound):
        await doors.call("audit.get", admin, id=f"{other.id}:1")
    assert (await doors.call("audit.get", admin, id=f"{mine.id}:1")).chain == mine.id


async def test_an_operator_reads_and_exports_what_they_did_themselves(doors: Doors) -> None:
    await doors.tenant("acme")
    operator = await doors.context(Role.OPERATOR)
    assert operator is not None
    with pytest.raises(Forbidden):
        await doors.call("tenants.create", operator, name="mine")
    seen = (await doors.call("audit.list", operator)).items
    assert [e.actor_id for e in seen] == [operator.actor.id]
    assert (await doors.call("audit.get", operator, id=seen[0].id)).id == seen[0].id
    with pytest.raises(Forbidden):
        await doors.call("audit.get", operator, id="system:1")
    lines = (await _text(await doors.call("audit.export", operator))).splitlines()
    assert [json.loads(line)["actor_id"] for line in lines[1:-1]] == [operator.actor.id] * 2
    assert json.loads(lines[0])["heads"] == []
    with pytest.raises(Forbidden):
        await doors.call("audit.list", await doors.context(Role.VIEWER))


async def _text(file: Any) -> str:
    return b"".join([piece async for piece in file.pieces]).decode()


# out of the house


async def test_rest_streams_the_export_which_verifies(doors: Doors, tmp_path: Path) -> None:
    for n in range(4):
        await doors.tenant(f"t{n}")
    await doors.core.heads.export()
    async with doors.rest() as http:
        answer = await http.get("/api/storage/audit/export")
    assert answer.headers["content-disposition"] == 'attachment; filename="audit.jsonl"'
    file = tmp_path / "audit.jsonl"
    file.write_bytes(answer.content)
    folder = doors.core.settings.home / "audit"
    key = (await doors.call("audit.heads")).public_key
    pem = tmp_path / "key.pem"
    pem.write_text(key)
    report = audit_verify.verify(file, folder / "heads.jsonl", audit_verify.signature_check(str(pem)))
    assert (report.complete, report.signed) == (True, True)
    assert report.heads > 0


async def test_the_table_holds_no_formula(doors: Doors) -> None:
    await doors.call("tenants.create", name="acme", title="=1+1")
    await doors.call("tenants.create", name="globex", title="x")
    file = await doors.call("audit.export", format="csv", target_kind="tenant")
    rows = list(csv.DictReader(io.StringIO(await _text(file))))
    assert [row["operation"] for row in rows] == ["tenants.create"] * 4
    assert all(not cell.startswith(("=", "+", "@")) for row in rows for cell in row.values())


async def test_an_export_is_an_entry_itself(doors: Doors) -> None:
    await _text(await doors.call("audit.export"))
    [entry] = await entries(doors, operation="audit.export")
    assert entry.phase is Phase.READ


# heads


@asynccontextmanager
async def closing(home: Path, **more: Any) -> AsyncIterator[Any]:
    settings = Settings(home=home, **more)
    await prepare(settings)
    async with open_core(settings) as core:
        yield core


async def test_a_process_without_a_worker_exports_what_it_wrote_when_it_ends(tmp_path: Path) -> None:
    home = tmp_path / "home"
    heads = home / "audit" / "heads.jsonl"
    async with doors_at(home) as doors:
        await doors.tenant("acme")
        assert not heads.exists()
    first, noted = map(json.loads, heads.read_text().splitlines())
    assert [line["heads"][0]["sequence"] for line in (first, noted)] == [2, 3]
    async with doors_at(home) as doors:
        await doors.call("tenants.list")
        found = await doors.call("audit.verify")
    assert (found.anchors, found.problem) == (2, "")
    assert len(heads.read_text().splitlines()) == 2  # nothing new, nothing said


async def test_a_lost_place_is_an_alert_and_the_log_goes_on(
    doors: Doors, caplog: pytest.LogCaptureFixture
) -> None:
    place = doors.core.settings.home / "audit"
    await doors.tenant("acme")
    await doors.core.heads.export()
    assert (await doors.call("audit.heads")).problem == ""
    (place / "heads.jsonl").rename(place / "gone")
    (place / "heads.jsonl").mkdir()
    before = await doors.core.kernel.catalog.last_event()
    await doors.tenant("globex")
    await doors.core.heads.export()
    assert "heads" in caplog.text
    events = await doors.core.kernel.catalog.events(before, 100)
    assert [e.verb for e in events if e.topic == "audit"] == ["lost", "unexported"]
    assert "cannot be used" in (await doors.call("audit.heads")).problem
    found = await doors.call("audit.verify")
    assert (found.ok, found.lost, found.anchors) == (True, True, 0), "nothing could be compared"
    assert "cannot be used" in found.problem
    (place / "heads.jsonl").rmdir()
    (place / "gone").rename(place / "heads.jsonl")
    await doors.core.heads.export()
    assert (await doors.call("audit.heads")).problem == ""
    events = await doors.core.kernel.catalog.events(before, 100)
    assert [e.verb for e in events if e.topic == "audit"] == ["lost", "unexported", "exported"]


async def test_heads_that_are_gone_are_noticed_and_all_exported_again(
    doors: Doors, caplog: pytest.LogCaptureFixture
) -> None:
    """Also those of chains where nothing happens any more."""
    quiet, path = await doors.tenant("quiet"), doors.core.settings.home / "audit" / "heads.jsonl"
    await doors.call("tenants.update", id=quiet.id, title="Quiet")
    await doors.core.heads.export()
    before = await doors.core.kernel.catalog.last_event()
    path.unlink()
    await doors.core.heads.export()
    events = await doors.core.kernel.catalog.events(before, 100)
    assert [e.verb for e in events if e.topic == "audit"] == ["lost"]
    assert caplog.text.count("lost what was written to it") == 1
    line = json.loads(path.read_bytes())
    assert line["whole"] is True and quiet.id in {head["chain"] for head in line["heads"]}


async def cut_the_last(doors: Doors, chain: str) -> int:
    """Takes a chain's last entry away and sets its head back, as if it had never been; answers its number."""
    engine: Any = doors.core.kernel.catalog
    async with engine.engine.begin() as connection:
        named = {"chain": chain}
        last = (
            await connection.execute(text("select max(sequence) from audit where chain = :chain"), named)
        ).scalar_one()
        await connection.execute(
            text("delete from audit where chain = :chain and sequence = :last"), {**named, "last": last}
        )
        await connection.execute(
            text(
                "update audit_heads set sequence = :last - 1, hash ="
                " (select hash from audit where chain = :chain and sequence = :last - 1) where chain = :chain"
            ),
            {**named, "last": last},
        )
    return int(last)


@pytest.mark.parametrize("at_once", [False, True])
async def test_a_quiet_chain_cut_after_the_loss_is_found(doors: Doors, at_once: bool) -> None:
    """Whether it is cut before all heads are exported again or after that."""
    quiet, path = await doors.tenant("quiet"), doors.core.settings.home / "audit" / "heads.jsonl"
    for title in ("Quiet", "Quieter"):
        await doors.call("tenants.update", id=quiet.id, title=title)
    await doors.core.heads.export()
    path.unlink()
    if at_once:
        last = await cut_the_last(doors, quiet.id)
    await doors.tenant("news")
    await doors.core.heads.export()
    if not at_once:
        assert (await doors.call("audit.verify")).ok
        last = await cut_the_last(doors, quiet.id)
    found = await doors.call("audit.verify")
    assert (found.ok, found.first_bad) == (False, f"{quiet.id}:{last}")


async def test_lost_heads_are_said_to_be_lost_until_all_are_exported_again(doors: Doors) -> None:
    path = doors.core.settings.home / "audit" / "heads.jsonl"
    never = await doors.call("audit.verify")
    assert (never.lost, never.problem) == (False, "No heads were exported yet.")
    await doors.tenant("acme")
    await doors.core.heads.export()
    assert (await doors.call("audit.verify")).problem == ""
    path.unlink()
    found = await doors.call("audit.verify")
    assert (found.ok, found.lost, found.anchors) == (True, True, 0)
    for said in (found.problem, (await doors.call("audit.heads")).problem):
        assert "lost what was written to it" in said
    await doors.core.heads.export()
    again = await doors.call("audit.verify")
    assert (again.ok, again.lost) == (True, False)
    since = json.loads(path.read_bytes())["at"][:16]
    for said in (again.problem, (await doors.call("audit.heads")).problem):
        assert f"guard the log since {since}" in said
    await doors.tenant("globex")
    await doors.core.heads.export()
    assert "guard the log since" in (await doors.call("audit.heads")).problem
    doors.clock.ahead = timedelta(days=31)
    assert (await doors.call("audit.verify")).problem == ""


async def test_a_restart_knows_what_the_place_lost(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    home = tmp_path / "home"
    heads = home / "audit" / "heads.jsonl"
    async with doors_at(home) as doors:
        for name in ("acme", "globex"):
            await doors.tenant(name)
            await doors.core.heads.export()
    lines = heads.read_bytes().splitlines(keepends=True)
    heads.write_bytes(lines[0])  # cut short: the file is there, and what came last is not
    async with doors_at(home) as doors:
        before = await doors.core.kernel.catalog.last_event()
        found = await doors.call("audit.verify")
        assert (found.lost, found.anchors > 0) == (True, True)
        for _ in range(2):
            await doors.core.heads.export()
        events = await doors.core.kernel.catalog.events(before, 100)
        assert [e.verb for e in events if e.topic == "audit"] == ["lost"]
        assert caplog.text.count("lost what was written to it") == 1
        found = await doors.call("audit.verify")
        assert (found.ok, found.lost) == (True, False)
        assert "guard the log since" in found.problem


async def forget(doors: Doors) -> None:
    """Takes the heads away, and what the catalog remembers of them."""
    (doors.core.settings.home / "audit" / "heads.jsonl").unlink()
    engine: Any = doors.core.kernel.catalog
    async with engine.engine.begin() as connection:
        await connection.execute(text("delete from exported_heads"))


async def test_the_log_itself_knows_that_heads_were_exported(tmp_path: Path) -> None:
    home = tmp_path / "home"
    async with doors_at(home) as doors:
        acme = await doors.tenant("acme")
        await doors.core.heads.export()
        [noted] = await entries(doors, operation="audit.heads", phase="outcome")
        assert (noted.chain, noted.door, noted.target_name) == (
            "system",
            "system",
            doors.core.kernel.witness.place,
        )
        await forget(doors)
        admin = await doors.context(Role.ADMIN, f"tenant:{acme.id}")
        for ctx in (None, admin):
            found = await doors.call("audit.verify", ctx)
            assert (found.ok, found.lost, found.anchors) == (True, True, 0)
            assert "none can be read there any more" in found.problem
        assert "none can be read there any more" in (await doors.call("audit.heads")).problem
        await HeadExport(doors.core.kernel).export()  # as another process, which exported nothing yet
        again = await doors.call("audit.verify")
        assert (again.ok, again.lost) == (True, False)
        assert "guard the log since" in again.problem
        assert len(await entries(doors, operation="audit.heads", phase="outcome")) == 1


async def test_another_place_has_lost_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    async with doors_at(home) as doors:
        await doors.tenant("acme")
    async with closing(home, audit_heads_url=f"file://{tmp_path}/else.jsonl") as core:
        await core.heads.export()
        assert (await exported(core.kernel)).problem == ""


async def test_heads_that_nobody_exports_are_a_problem_after_a_while(doors: Doors) -> None:
    await doors.tenant("acme")
    assert (await doors.call("audit.heads")).problem == ""
    doors.clock.ahead = timedelta(hours=1)
    assert "not exported" in (await doors.call("audit.heads")).problem


async def test_lines_of_somebody_else_are_a_problem_and_prove_nothing(doors: Doors) -> None:
    await doors.tenant("acme")
    await doors.core.heads.export()
    path = doors.core.settings.home / "audit" / "heads.jsonl"
    line = json.loads(path.read_bytes().splitlines()[-1])
    line["heads"] = [{"chain": "system", "sequence": 99, "hash": "0" * 64}]
    await FileWitness(path).append(
        json.dumps(line, sort_keys=True, separators=(",", ":")).encode() + b"\n", whole=False
    )
    assert (await doors.call("audit.verify")).ok
    assert "1 lines" in (await doors.call("audit.heads")).problem
