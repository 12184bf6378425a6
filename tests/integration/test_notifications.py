"""People are told what happened: once, whoever was away meanwhile, and nobody of what is another tenant's."""

import asyncio
import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from storage_core.bootstrap import Core, open_worker
from storage_core.domain.errors import (
    AddressRefused,
    Conflict,
    InvalidRequest,
    NameTaken,
    NotFound,
    Unreachable,
)
from storage_core.domain.notification import Delivery, DeliveryStatus, Happening, Notice, signature
from storage_core.domain.page import Query
from storage_core.services.backups import CreateBackup
from storage_core.services.monitor import Monitor
from storage_core.services.notices import Notices, tell
from storage_core.services.notifications import (
    CreateNotification,
    DeleteNotification,
    ListNotifications,
    NewChannel,
    TestNotification,
    UpdateNotification,
)
from storage_core.services.tenants import CreateTenant
from tests.integration.homes import a_database, a_provider, ended, opened, settings_of, somebody
from tests.integration.receivers import Hook, a_hook, a_post_office

NOW = datetime(2026, 11, 25, tzinfo=UTC)


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[Core]:
    async with opened(settings_of(tmp_path / "home")) as opening:
        yield opening


@pytest.fixture
async def hook() -> AsyncIterator[Hook]:
    async with a_hook() as opened_hook:
        yield opened_hook


async def channel(core: Core, **fields: Any) -> NewChannel:
    request = CreateNotification.model_validate({"name": "on-call", "kind": "webhook", **fields})
    return await core.notifications.create(somebody(), request)


async def happened(core: Core, key: str = "k", tenant_id: str | None = None) -> None:
    notice = Notice(key, Happening.JOB_FAILED, NOW, "It <failed>", "Mend it & try again.", tenant_id)
    async with core.kernel.catalog.write() as uow:
        await tell(uow, notice, core.kernel.now())


async def deliveries(core: Core) -> tuple[Delivery, ...]:
    async with core.kernel.catalog.read() as uow:
        return (await uow.deliveries.find(Query(limit=100))).items


async def test_a_backup_that_was_proven_is_told_with_a_signature(
    core: Core, hook: Hook, tmp_path: Path
) -> None:
    made = await channel(core, url=hook.url)
    database = await a_database(core, await a_provider(core, tmp_path / "files"), rows=3)
    async with open_worker(core):
        ticket = await core.backups.create(somebody(), CreateBackup(database_id=database.id))
        await ended(core, ticket.job_id)
    await Notices(core.kernel).deliver()
    (told,) = [(h, b) for h, b in hook.posts if b"backup.proven" in b]
    headers, body = told
    secret = base64.b64decode((made.signing_secret or "").removeprefix("whsec_"))
    at = datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)
    assert headers["webhook-signature"] == signature(secret, headers["webhook-id"], at, body)
    assert hook.bodies()[0]["target_name"] == database.name and hook.bodies()[0]["job_id"] == ticket.job_id
    await Notices(core.kernel).deliver()
    assert len(hook.posts) == 1


async def test_a_provider_that_goes_and_comes_back_is_told_once_each(
    core: Core, hook: Hook, tmp_path: Path
) -> None:
    root = tmp_path / "files"
    await a_provider(core, root)
    await channel(core, url=hook.url, events=["provider.offline", "provider.online"])
    monitor = Monitor(core.kernel)
    for broken in (True, False):
        if broken:
            root.rename(tmp_path / "away")
            root.write_text("a file, where a folder was")
        else:
            root.unlink()
            (tmp_path / "away").rename(root)
        for _ in range(2):
            await monitor.probe_all()
        await Notices(core.kernel).deliver()
    assert [body["event"] for body in hook.bodies()] == ["provider.offline", "provider.online"]


async def test_what_was_told_twice_arrives_once(core: Core, hook: Hook) -> None:
    await channel(core, url=hook.url)
    await happened(core)
    await happened(core)
    await Notices(core.kernel).deliver()
    assert len(hook.posts) == 1


async def test_a_receiver_that_was_away_hears_it_later(core: Core, hook: Hook) -> None:
    made = await channel(core, url=hook.url)
    await happened(core)
    hook.status = 500
    notices = Notices(core.kernel)
    await notices.deliver()
    await notices.deliver()  # not due yet
    (waiting,) = await deliveries(core)
    assert (waiting.status, waiting.attempts) == (DeliveryStatus.WAITING, 1) and "500" in (
        waiting.problem or ""
    )
    shown = (await core.notifications.list(somebody(), ListNotifications())).items[0]
    assert "500" in (shown.problem or "") and shown.address in (shown.problem or "")
    hook.status = 204
    async with core.kernel.catalog.write() as uow:
        row = await uow.deliveries.get(waiting.id)
        assert row is not None
        object.__setattr__(row, "due_at", core.kernel.now() - timedelta(seconds=1))
        await uow.deliveries.save(row)
    await notices.deliver()
    (sent,) = await deliveries(core)
    assert (sent.status, sent.problem) == (DeliveryStatus.SENT, None)
    assert {h["webhook-id"] for h, _ in hook.posts} == {waiting.id}
    assert (await core.notifications.list(somebody(), ListNotifications())).items[0].problem is None
    await core.notifications.delete(somebody(), DeleteNotification(id=made.id))
    assert await deliveries(core) == ()


async def test_a_tenants_channel_hears_nothing_of_others(core: Core, hook: Hook) -> None:
    acme = await core.tenants.create(somebody(), CreateTenant(name="acme"))
    other = await core.tenants.create(somebody(), CreateTenant(name="other"))
    await channel(core, url=hook.url, tenant_id=acme.id)
    for key, tenant_id in (("a", acme.id), ("b", other.id), ("c", None)):
        await happened(core, key, tenant_id)
    await Notices(core.kernel).deliver()
    assert [body["tenant_id"] for body in hook.bodies()] == [acme.id]


async def test_slack_gets_its_text_and_no_markup_of_others(core: Core, hook: Hook) -> None:
    await channel(core, kind="slack", url=hook.url)
    await happened(core)
    await Notices(core.kernel).deliver()
    assert hook.bodies() == [{"text": "*It &lt;failed&gt;*\nMend it &amp; try again."}]


async def test_mail_is_handed_in(core: Core) -> None:
    async with a_post_office() as office:
        server = {"host": "127.0.0.1", "port": office.port, "security": "none"}
        made = await channel(
            core,
            kind="email",
            sender="c@example.org",
            recipients=["a@example.org", "b@example.org"],
            server=server,
        )
        await core.notifications.test(somebody(), TestNotification(id=made.id))
        ((sender, recipients, message),) = office.mails
    assert (sender, recipients) == ("c@example.org", ["a@example.org", "b@example.org"])
    assert "Subject: A test from Storage Console" in message and "To: a@example.org, b@example.org" in message


async def test_a_mail_server_that_dawdles_is_left(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage_core.backing.mail.SECONDS", 0.3)
    async with a_post_office(silent=True) as office:
        server = {"host": "127.0.0.1", "port": office.port, "security": "none"}
        made = await channel(core, kind="email", sender="c@b.org", recipients=["a@b.org"], server=server)
        with pytest.raises(Unreachable):
            await core.notifications.test(somebody(), TestNotification(id=made.id))
        async with asyncio.timeout(10):
            await office.left.wait()


async def test_one_channel_that_fails_keeps_no_other_waiting(core: Core, hook: Hook) -> None:
    server = {"host": "127.0.0.1", "port": 9, "security": "none", "user": "jürg", "password": "jürg"}
    await channel(core, name="a", kind="email", sender="c@b.org", recipients=["a@b.org"], server=server)
    await channel(core, url=hook.url)
    await happened(core)
    await happened(core, "later")
    await Notices(core.kernel).deliver()
    assert len(hook.posts) == 2
    assert sorted(d.attempts for d in await deliveries(core)) == [0, 1, 1, 1]


async def test_channels_have_an_end(core: Core, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage_core.services.notifications.MOST", 1)
    await channel(core, url=hook.url)
    with pytest.raises(Conflict):
        await channel(core, name="another", url=hook.url)


async def test_a_template_says_it_in_the_receivers_words(core: Core, hook: Hook) -> None:
    await channel(core, url=hook.url, template='{"summary": "${title}"}')
    await happened(core)
    await Notices(core.kernel).deliver()
    assert hook.bodies() == [{"summary": "It <failed>"}]


async def test_a_test_says_at_once_that_nobody_takes_it(core: Core, hook: Hook) -> None:
    made = await channel(core, url=hook.url)
    hook.status = 404
    with pytest.raises(Unreachable, match="404"):
        await core.notifications.test(somebody(), TestNotification(id=made.id))


async def test_the_path_of_a_hook_is_shown_nowhere(core: Core, hook: Hook) -> None:
    made = await channel(core, url=hook.url)
    shown = (await core.notifications.list(somebody(), ListNotifications())).items
    assert "secret-path" not in f"{made} {shown}" and shown[0].address in hook.url
    catalog = (core.settings.home / "catalog.sqlite3").read_bytes()
    assert b"secret-path" not in catalog + (core.settings.home / "catalog.sqlite3-wal").read_bytes()


async def test_a_channel_that_is_off_tells_nothing(core: Core, hook: Hook) -> None:
    made = await channel(core, url=hook.url)
    await happened(core)
    await core.notifications.update(somebody(), UpdateNotification(id=made.id, enabled=False))
    await Notices(core.kernel).deliver()
    await happened(core, "later")
    assert hook.posts == [] and [d.status for d in await deliveries(core)] == [DeliveryStatus.GIVEN_UP]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "url"),
        ({"url": "ftp://x"}, "url"),
        ({"url": "https://user:word@x/"}, "url"),
        ({"url": "https://x", "recipients": ["a@b.c"]}, "recipients"),
        ({"kind": "slack", "url": "https://x", "template": "{}"}, "template"),
        ({"kind": "email", "sender": "a@b.c", "recipients": ["a@b.c"]}, "server"),
        ({"kind": "email", "sender": "a@b.c", "recipients": ["a b\r\nBcc: x@y.z"]}, None),
        ({"kind": "email", "sender": "=?utf-8?q?x=0aBcc=3aq?=@b.c", "recipients": ["a@b.c"]}, "sender"),
        ({"kind": "email", "sender": "nobody", "recipients": ["a@b.c"]}, "sender"),
    ],
)
async def test_what_a_channel_cannot_be_is_refused_by_name(
    core: Core, fields: dict[str, Any], field: str | None
) -> None:
    with pytest.raises((InvalidRequest, ValueError)) as refused:
        await channel(core, **fields)
    assert getattr(refused.value, "field", None) == field


async def test_a_name_is_taken_once_in_a_tenant(core: Core, hook: Hook) -> None:
    await channel(core, url=hook.url)
    with pytest.raises(NameTaken):
        await channel(core, url=hook.url)
    tenant = await core.tenants.create(somebody(), CreateTenant(name="acme"))
    await channel(core, url=hook.url, tenant_id=tenant.id)
    with pytest.raises(NotFound):
        await channel(core, url=hook.url, tenant_id="nobody")


async def test_a_hook_inside_the_network_is_refused_where_others_reach_the_console(
    tmp_path: Path, hook: Hook
) -> None:
    settings = settings_of(tmp_path / "open", host="0.0.0.0")
    async with opened(settings) as core:
        made = await channel(core, url=hook.url)
        with pytest.raises(AddressRefused):
            await core.notifications.test(somebody(), TestNotification(id=made.id))
    assert hook.posts == []
