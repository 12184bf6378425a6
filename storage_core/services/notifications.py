"""Channels through which people are told what happened: web hooks, Slack and what speaks like it, mail."""

import base64
import re
import secrets
from dataclasses import dataclass, replace
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator

from ..domain.context import Context
from ..domain.errors import Conflict, InvalidRequest, NameTaken
from ..domain.naming import checked_name
from ..domain.notification import (
    Channel,
    ChannelKind,
    Happening,
    MailSecurity,
    MailServer,
    Notice,
    checked_template,
)
from ..domain.page import Clause, Page, Query, Test, clause
from ..domain.permission import Permission, Target
from ..domain.secret import Secret
from ..ports.catalog import UnitOfWork
from .kernel import Kernel, Service, active_tenant, every, found, put_secret, raced
from .notices import PASSWORD, SIGNING, URL, Notices, channel_binding, channel_secret
from .operation import Effect, operation
from .request import LINES, ById, ListRequest, Request
from .targets import TargetOf, a_list

#: Plain ones: without `=?`, which mail programs read as another text.
_MAILBOX = re.compile(r"[A-Za-z0-9.!#$%&'*+/^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,255}")
_SIGNING_BYTES = 32
#: Channels of one tenant, and those of the system.
MOST = 200
_HOOKS = (ChannelKind.WEBHOOK, ChannelKind.SLACK)


class MailServerRequest(Request):
    """Where mail is handed in."""

    host: str = Field(min_length=1, max_length=253, examples=["smtp.example"])
    """Name or address of the mail server."""
    port: int = Field(587, ge=1, le=65535, examples=[587])
    """Its port."""
    security: MailSecurity = Field(MailSecurity.STARTTLS, examples=["starttls"])
    """starttls, tls, or none for a server on this machine."""
    user: str | None = Field(None, min_length=1, max_length=128)
    """Who signs in; nobody, if left out."""
    password: SecretStr | None = None
    """The password; stored sealed, never shown again."""

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.user is None) != (self.password is None):
            raise ValueError("give user and password, or neither")
        return self

    def server(self) -> MailServer:
        return MailServer(self.host, self.port, self.security, self.user)


class Route(Request):
    """Where a channel leads; which fields it takes depends on its kind."""

    url: SecretStr | None = Field(None, min_length=1, max_length=2000)
    """webhook, slack: the address to post to; stored sealed, since who knows it may post there."""
    template: Annotated[str | None, LINES] = Field(
        None, max_length=10_000, examples=['{"summary": "${title}", "details": "${text}"}']
    )
    """webhook: the JSON to post, with names of a notice as `${title}` inside of its strings; the whole notice if left out."""
    sender: str | None = Field(None, max_length=320, examples=["console@example.org"])
    """email: the sender's address."""
    recipients: tuple[str, ...] | None = Field(
        None, min_length=1, max_length=20, examples=[["ops@example.org"]]
    )
    """email: who is written to."""
    server: MailServerRequest | None = None
    """email: where mail is handed in, whole: its password belongs to it."""


class CreateNotification(Route):
    """Add a channel. A web hook's signing secret is shown this once."""

    name: str = Field(max_length=48, examples=["on-call"])
    """A unique name."""
    kind: ChannelKind = Field(examples=["webhook"])
    """webhook (signed JSON), slack (and what speaks like it), email."""
    events: tuple[Happening, ...] = Field((), examples=[["backup.failed"]])
    """What it tells; everything, if left out."""
    tenant_id: str | None = Field(None, max_length=64)
    """Tells of this tenant alone; of everything, if left out."""


class ListNotifications(ListRequest):
    """List channels."""

    kind: str | None = Field(None, examples=["email"])
    """Filter: the kind of channel."""
    tenant_id: str | None = None
    """Filter: the tenant."""


class UpdateNotification(Route, ById):
    """Change a channel; what is left out stays."""

    name: str | None = Field(None, max_length=48, examples=["on-call"])
    """A new unique name."""
    events: tuple[Happening, ...] | None = Field(None, min_length=1, examples=[["backup.failed"]])
    """What it tells from now on."""
    enabled: bool | None = None
    """Whether it tells anything."""


class DeleteNotification(ById):
    """Remove a channel and what waits on it."""


class TestNotification(ById):
    """Send a notice through a channel now, and say whether it was taken."""

    __test__ = False


@dataclass(frozen=True, slots=True)
class NewChannel:
    """A fresh channel. `signing_secret` proves to a web hook's receiver who posts (Standard Webhooks); shown this once."""

    id: str
    name: str
    kind: ChannelKind
    address: str
    signing_secret: str | None

    def __repr__(self) -> str:
        return f"NewChannel({self.id}, ***)"


def _new() -> TargetOf:
    async def find(uow: UnitOfWork, ctx: Context, request: Any) -> Target:
        return Target("notification", None, request.name, request.tenant_id or ctx.tenant_id)

    return find


def _channel() -> TargetOf:
    async def find(uow: UnitOfWork, _ctx: Context, request: Any) -> Target:
        row = await found(uow.channels.get(request.id), "notification", request.id)
        return Target("notification", row.id, row.name, row.tenant_id, version=row.updated_at.isoformat())

    return find


class Notifications(Service):
    """The channels' operations."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self._notices = Notices(kernel)

    @operation("notifications.create", needs=Permission.NOTIFICATION_MANAGE, on=_new())
    async def create(self, ctx: Context, request: CreateNotification) -> NewChannel:
        now, id = self.kernel.now(), self.kernel.new_id()
        tenant_id = request.tenant_id or ctx.tenant_id
        row = Channel(
            id,
            checked_name(request.name, "name"),
            request.kind,
            "",
            now,
            now,
            tenant_id,
            request.events or tuple(Happening),
        )
        row = _routed(row, request)
        _complete(row, request.url is not None)
        signing = (
            base64.b64encode(secrets.token_bytes(_SIGNING_BYTES)).decode()
            if row.kind is ChannelKind.WEBHOOK
            else None
        )
        await self._write(row, _secrets_of(request, signing), fresh=True)
        return NewChannel(
            id, row.name, row.kind, row.address, None if signing is None else f"whsec_{signing}"
        )

    @operation(
        "notifications.list",
        needs=Permission.NOTIFICATION_MANAGE,
        on=a_list("notification"),
        effect=Effect.READ,
    )
    async def list(self, ctx: Context, request: ListNotifications) -> Page[Channel]:
        async with self.kernel.catalog.read() as uow:
            return await uow.channels.find(request.query(self.reach(ctx, Permission.NOTIFICATION_MANAGE)))

    @operation("notifications.update", needs=Permission.NOTIFICATION_MANAGE, on=_channel())
    async def update(self, ctx: Context, request: UpdateNotification) -> Channel:
        async with self.kernel.catalog.read() as uow:
            row = await found(uow.channels.get(request.id), "notification", request.id)
        if request.name is not None:
            row = replace(row, name=checked_name(request.name, "name"))
        row = replace(
            _routed(row, request),
            events=request.events or row.events,
            enabled=row.enabled if request.enabled is None else request.enabled,
            updated_at=self.kernel.now(),
        )
        _complete(row, True)
        await self._write(row, _secrets_of(request, None), fresh=False)
        return row

    @operation("notifications.delete", needs=Permission.NOTIFICATION_MANAGE, on=_channel())
    async def delete(self, ctx: Context, request: DeleteNotification) -> Channel:
        async with self.kernel.catalog.write() as uow:
            row = await found(uow.channels.get(request.id), "notification", request.id)
            for field in (URL, SIGNING, PASSWORD):
                await uow.secrets.remove(channel_secret(row.id, field))
            for delivery in [d async for d in every(uow.deliveries, clause("channel_id", row.id))]:
                await uow.deliveries.remove(delivery.id)
            await uow.channels.remove(row.id)
        return row

    @operation("notifications.test", needs=Permission.NOTIFICATION_MANAGE, on=_channel())
    async def test(self, ctx: Context, request: TestNotification) -> Channel:
        async with self.kernel.catalog.read() as uow:
            row = await found(uow.channels.get(request.id), "notification", request.id)
        now, id = self.kernel.now(), self.kernel.new_id()
        notice = Notice(
            f"test:{id}",
            row.events[0],
            now,
            "A test from Storage Console",
            f"The channel {row.name} works; it tells of {', '.join(row.events)}.",
            row.tenant_id,
        )
        await self._notices.send(row, id, notice)
        return row

    async def _write(self, row: Channel, values: dict[str, str], *, fresh: bool) -> None:
        """Save a channel with what of it is secret; sealed again if its key is rotated meanwhile."""

        async def write() -> None:
            now = self.kernel.now()
            sealed = [
                Secret(
                    channel_secret(row.id, field),
                    row.tenant_id,
                    row.id,
                    await self.kernel.vault.seal(
                        value.encode(), channel_binding(row.tenant_id, row.id, field)
                    ),
                    now,
                    now,
                    collection="notifications",
                )
                for field, value in values.items()
            ]
            async with self.kernel.catalog.write() as uow:
                if row.tenant_id is not None:
                    await active_tenant(uow, row.tenant_id)
                same = await uow.channels.one(name=row.name, tenant_id=row.tenant_id)
                if same is not None and same.id != row.id:
                    raise NameTaken(f"The channel {row.name!r} exists already.", field="name")
                mine = Clause("tenant_id", Test.ANY_OF, (row.tenant_id,))
                if fresh and (await uow.channels.find(Query((mine,), limit=1))).total >= MOST:
                    raise Conflict(f"There are {MOST} channels already.", hint="Remove one first.")
                await (uow.channels.add(row) if fresh else uow.channels.save(row))
                for secret in sealed:
                    await put_secret(uow, secret)

        await raced(write)


def _routed(row: Channel, request: Route) -> Channel:
    """The channel led where the request says; fields of another kind of channel are refused by name."""
    email = {"sender", "recipients", "server"}
    taken = {ChannelKind.WEBHOOK: {"url", "template"}, ChannelKind.SLACK: {"url"}, ChannelKind.EMAIL: email}
    given = [f for f in Route.model_fields if getattr(request, f) is not None]
    for field in given:
        if field not in taken[row.kind]:
            raise InvalidRequest(f"A channel of kind {row.kind} takes no {field}.", field=field)
    if request.url is not None:
        row = replace(row, address=_shown(request.url.get_secret_value()))
    if request.template is not None:
        row = replace(row, template=checked_template(request.template) if request.template else None)
    for field in ("sender", "recipients"):
        value = getattr(request, field)
        for mailbox in (value,) if isinstance(value, str) else value or ():
            if not _MAILBOX.fullmatch(mailbox):
                raise InvalidRequest(f"{mailbox[:60]!r} is no mail address.", field=field)
        if value is not None:
            row = replace(row, **{field: value})
    if request.server is not None:
        row = replace(row, server=request.server.server())
    if row.kind is ChannelKind.EMAIL and row.server is not None:
        row = replace(row, address=f"{', '.join(row.recipients)} by {row.server.host}:{row.server.port}")
    return row


def _complete(row: Channel, has_url: bool) -> None:
    """Refuse a channel that lacks what its kind needs."""
    missing = "url" if row.kind in _HOOKS and not has_url else None
    if row.kind is ChannelKind.EMAIL:
        needed = {"sender": row.sender, "recipients": row.recipients, "server": row.server}
        missing = next((name for name, value in needed.items() if not value), None)
    if missing is not None:
        raise InvalidRequest(f"A channel of kind {row.kind} needs {missing}.", field=missing)


def _shown(url: str) -> str:
    """A web hook's address without what makes it secret; InvalidRequest for what is none."""
    try:
        parts = urlsplit(url)
        port = "" if parts.port is None else f":{parts.port}"
    except ValueError:
        parts, port = urlsplit(""), ""
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise InvalidRequest("url is no web address.", field="url", hint="Write it like https://host/path.")
    return f"{parts.scheme}://{parts.hostname}{port}"


def _secrets_of(request: Route, signing: str | None) -> dict[str, str]:
    values: dict[str, str | None] = {
        URL: None if request.url is None else request.url.get_secret_value(),
        SIGNING: signing,
        PASSWORD: None
        if request.server is None or request.server.password is None
        else request.server.password.get_secret_value(),
    }
    return {field: value for field, value in values.items() if value is not None}
