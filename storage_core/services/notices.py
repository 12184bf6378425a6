"""Notices on their way: written down with what happened, in its transaction; delivered by the worker until they arrive."""

import asyncio
import base64
import logging
from dataclasses import replace
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime
from json import dumps
from typing import Any

from ..domain.errors import StorageError, Unreachable
from ..domain.notification import (
    KEPT,
    Channel,
    ChannelKind,
    Delivery,
    DeliveryStatus,
    Notice,
    body_of,
    delivery_id,
    next_try,
    signature,
)
from ..domain.page import Clause, Query, Test
from ..domain.secret import Binding
from ..ports.catalog import UnitOfWork
from .kernel import Service, every, insisted, opened

log = logging.getLogger(__name__)

#: Deliveries in one round; what is left has its turn in the next.
ROUND = 100
#: Channels served at once, and how long one notice may take.
AT_ONCE, SEND_SECONDS = 8, 30
#: The fields of a channel that are kept sealed.
URL, SIGNING, PASSWORD = "url", "signing", "password"


async def tell(uow: UnitOfWork, notice: Notice, now: datetime) -> None:
    """Put a notice on its way to every channel that hears it, in the transaction of what happened."""
    heard_by = Clause("tenant_id", Test.ANY_OF, tuple(dict.fromkeys((None, notice.tenant_id))))
    async for channel in every(uow.channels, (heard_by,)):
        id = delivery_id(channel.id, notice.key)
        if channel.hears(notice) and await uow.deliveries.get(id) is None:
            await uow.deliveries.add(Delivery(id, channel.id, notice.tenant_id, notice, now, now, now))


def channel_secret(channel_id: str, field: str) -> str:
    """Where a channel's sealed field lies."""
    return f"{channel_id}/{field}"


def channel_binding(tenant_id: str | None, channel_id: str, field: str) -> Binding:
    return Binding(tenant_id, "notifications", channel_id, field)


class Notices(Service):
    """Delivers. The worker runs it; a crash between delivery and record repeats a notice under the same id."""

    async def deliver(self) -> None:
        """One round: everything that is due, and what is long over goes."""
        now = self.kernel.now()
        waiting = Clause("status", Test.ANY_OF, (DeliveryStatus.WAITING.value,))
        due = Clause("due_at", Test.BEFORE, (now.isoformat(),))
        async with self.kernel.catalog.read() as uow:
            found = (await uow.deliveries.find(Query((waiting, due), sort="due_at", limit=ROUND))).items
        by_channel: dict[str, list[Delivery]] = {}
        for delivery in found:
            by_channel.setdefault(delivery.channel_id, []).append(delivery)
        turns = asyncio.Semaphore(AT_ONCE)

        async def through(deliveries: list[Delivery]) -> None:
            async with turns:
                for delivery in deliveries:
                    if not await self._deliver(delivery):
                        return  # one that is not taken keeps its channel waiting, and no other

        async with asyncio.TaskGroup() as group:
            for deliveries in by_channel.values():
                group.create_task(through(deliveries))
        await self._forget(now)

    async def _deliver(self, delivery: Delivery) -> bool:
        """Whether it was taken."""
        async with self.kernel.catalog.read() as uow:
            channel = await uow.channels.get(delivery.channel_id)
        if channel is None or not channel.enabled:
            await self._settle(delivery, "The channel was switched off.", given_up=True)
            return True
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self.send(channel, delivery.id, delivery.notice)
        except TimeoutError:
            await self._settle(delivery, f"It was not taken within {SEND_SECONDS} seconds.")
        except ValueError as error:  # a text that no message can carry is this channel's trouble alone
            await self._settle(delivery, f"It cannot be put into a message: {type(error).__name__}.")
        except StorageError as error:
            log.info("a notice to %s waits: %s", channel.name, error.detail)
            await self._settle(delivery, f"{error.detail} {error.hint}".strip())
        else:
            await self._settle(delivery, None)
            return True
        return False

    async def send(self, channel: Channel, id: str, notice: Notice) -> None:
        """Send one notice through one channel, once; Unreachable and its kin say why it did not arrive."""
        match channel.kind:
            case ChannelKind.WEBHOOK:
                body = body_of(notice, channel.template)
                now = self.kernel.now()
                secret = base64.b64decode(await self._secret(channel, SIGNING))
                headers = {
                    "webhook-id": id,
                    "webhook-timestamp": str(int(now.timestamp())),
                    "webhook-signature": signature(secret, id, now, body),
                }
                await self._post(channel, body, headers)
            case ChannelKind.SLACK:
                text = f"*{_escaped(notice.title)}*\n{_escaped(notice.text)}"
                await self._post(channel, dumps({"text": text}).encode(), {})
            case ChannelKind.EMAIL:
                await self._mail(channel, id, notice)

    async def _post(self, channel: Channel, body: bytes, headers: dict[str, str]) -> None:
        url = (await self._secret(channel, URL)).decode()
        status, _ = await self.kernel.web.send(
            "POST", url, body=body, headers={"Content-Type": "application/json", **headers}
        )
        if not 200 <= status < 300:
            raise Unreachable(f"{channel.address} answered {status}.", hint="Check the channel's url.")

    async def _mail(self, channel: Channel, id: str, notice: Notice) -> None:
        if channel.server is None or channel.sender is None:
            raise Unreachable(f"The channel {channel.name!r} has no mail server.")
        message = EmailMessage()
        message["Subject"] = " ".join(notice.title.split())
        message["From"] = channel.sender
        message["To"] = ", ".join(channel.recipients)
        message["Date"] = format_datetime(notice.at)
        message["Message-ID"] = f"<{id}@storage-console>"
        message.set_content(f"{notice.text}\n\n{notice.event}, {notice.at.isoformat(timespec='seconds')}\n")
        password = None
        if channel.server.user is not None:
            password = (await self._secret(channel, PASSWORD)).decode()
        await self.kernel.mail.send(
            channel.server, password, channel.sender, channel.recipients, message.as_bytes()
        )

    async def _secret(self, channel: Channel, field: str) -> bytes:
        async def read() -> Any:
            async with self.kernel.catalog.read() as uow:
                return await uow.secrets.get(channel_secret(channel.id, field))

        value = await opened(self.kernel.vault, read)
        if value is None:
            raise Unreachable(f"The {field} of {channel.name!r} is gone.", hint="Set it again.")
        return value

    async def _settle(self, delivery: Delivery, problem: str | None, *, given_up: bool = False) -> None:
        """Write down how an attempt ended, on the notice and on its channel."""
        now = self.kernel.now()
        due = None if given_up else next_try(delivery, now)
        status = DeliveryStatus.SENT
        if problem is not None:
            status = DeliveryStatus.GIVEN_UP if due is None else DeliveryStatus.WAITING

        async def write() -> None:
            async with self.kernel.catalog.write() as uow:
                current = await uow.deliveries.get(delivery.id)
                if current is None:
                    return
                await uow.deliveries.save(
                    replace(
                        current,
                        status=status,
                        attempts=current.attempts + 1,
                        due_at=due or now,
                        problem=problem,
                        updated_at=now,
                    )
                )
                channel = await uow.channels.get(delivery.channel_id)
                if channel is not None and not given_up:
                    sent = now if problem is None else channel.sent_at
                    await uow.channels.save(replace(channel, problem=problem, sent_at=sent))

        await insisted(write)

    async def _forget(self, now: datetime) -> None:
        over = (
            Clause("status", Test.NONE_OF, (DeliveryStatus.WAITING.value,)),
            Clause("updated_at", Test.BEFORE, ((now - KEPT).isoformat(),)),
        )
        async with self.kernel.catalog.read() as uow:
            old = (await uow.deliveries.find(Query(over, sort="created_at", limit=ROUND))).items
        if old:
            async with self.kernel.catalog.write() as uow:
                for row in old:
                    await uow.deliveries.remove(row.id)


def _escaped(text: str) -> str:
    """Slack reads these three as markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
