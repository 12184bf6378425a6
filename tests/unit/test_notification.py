"""What people are told: of what, in which words, how often it is tried again."""

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_core.domain.errors import InvalidRequest
from storage_core.domain.job import Job, JobError, JobStatus
from storage_core.domain.notification import (
    GIVE_UP_AFTER,
    LAST_PAUSE,
    Channel,
    ChannelKind,
    Delivery,
    Happening,
    Notice,
    body_of,
    checked_template,
    delivery_id,
    next_try,
    of_job,
    signature,
)

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
NOTICE = Notice("k", Happening.BACKUP_FAILED, NOW, "Backup failed: orders", "No space.", "t", "backup", "b")


def channel(**changes: object) -> Channel:
    return replace(Channel("c", "on-call", ChannelKind.WEBHOOK, "https://h", NOW, NOW), **changes)


def test_a_channel_hears_its_tenant_and_its_events() -> None:
    assert channel().hears(NOTICE)
    assert channel(tenant_id="t").hears(NOTICE)
    assert not channel(tenant_id="other").hears(NOTICE)
    assert not channel(tenant_id="t").hears(replace(NOTICE, tenant_id=None))
    assert not channel(enabled=False).hears(NOTICE)
    assert not channel(events=(Happening.BACKUP_PROVEN,)).hears(NOTICE)


@pytest.mark.parametrize(
    ("operation", "status", "backup", "told"),
    [
        ("backups.create", JobStatus.SUCCEEDED, "proven", Happening.BACKUP_PROVEN),
        ("backups.create", JobStatus.SUCCEEDED, "stored", Happening.BACKUP_UNPROVEN),
        ("backups.create", JobStatus.FAILED, "failed", Happening.BACKUP_FAILED),
        ("backups.verify", JobStatus.FAILED, "failed", Happening.BACKUP_FAILED),
        ("backups.restore", JobStatus.SUCCEEDED, None, Happening.RESTORE_DONE),
        ("backups.restore", JobStatus.FAILED, None, Happening.RESTORE_FAILED),
        ("secrets.rotate", JobStatus.FAILED, None, Happening.JOB_FAILED),
        ("secrets.rotate", JobStatus.SUCCEEDED, None, None),
        ("backups.create", JobStatus.CANCELLED, "failed", None),
    ],
)
def test_the_end_of_a_job_tells(
    operation: str, status: JobStatus, backup: str | None, told: Happening | None
) -> None:
    error = JobError("x", "It broke.", "Mend it.") if status is JobStatus.FAILED else None
    job = Job("j", operation, NOW, NOW, "u", "u", "b", "orders", "t", status=status, error=error)
    notice = of_job(job, backup)
    assert (None if notice is None else notice.event) is told
    if notice is not None:
        assert (notice.tenant_id, notice.job_id, notice.target_name) == ("t", "j", "orders")
        assert error is None or notice.text == "It broke. Mend it."


@given(title=st.text(), text=st.text())
def test_a_template_stays_json_whatever_it_tells(title: str, text: str) -> None:
    template = checked_template('{"summary": "${title}!", "more": ["${text}"], "gone": "${job_id}"}')
    body = json.loads(body_of(replace(NOTICE, title=title, text=text), template))
    assert body == {"summary": f"{title}!", "more": [text], "gone": ""}


@pytest.mark.parametrize(
    "template", ["${title}", '{"a": ${title}}', '{"a": "${nothing}"}', "{", '{"${a b}": 1}']
)
def test_a_template_that_is_none_is_refused(template: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        checked_template(template)
    assert refused.value.field == "template"


def test_without_a_template_the_notice_itself_is_sent() -> None:
    body = json.loads(body_of(NOTICE, None))
    assert body["event"] == "backup.failed" and body["at"] == NOW.isoformat() and body["job_id"] is None


def test_the_signature_is_that_of_standard_webhooks() -> None:
    """The example of the specification's own libraries."""
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    at = datetime.fromtimestamp(1614265330, UTC)
    body = b'{"test": 2432232314}'
    made = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", at, body)
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert hmac.new(secret, b"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330." + body, hashlib.sha256).digest()


@given(st.integers(0, 200))
def test_pauses_grow_to_an_hour_and_end_after_a_day(attempts: int) -> None:
    delivery = Delivery("d", "c", None, NOTICE, NOW, NOW, NOW, attempts=attempts)
    due = next_try(delivery, NOW)
    assert due is not None and timedelta(0) < due - NOW <= LAST_PAUSE
    assert next_try(delivery, NOW + GIVE_UP_AFTER) is None


def test_one_notice_on_one_channel_has_one_id() -> None:
    assert delivery_id("c", "k") == delivery_id("c", "k")
    assert len({delivery_id("c", "k"), delivery_id("ck", ""), delivery_id("d", "k")}) == 3
