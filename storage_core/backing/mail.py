"""Mail by SMTP, to the addresses the outbound guard has judged."""

import asyncio
import smtplib
import socket
import ssl
from ipaddress import ip_address

from ..domain.errors import AddressRefused, SignInRejected, Unreachable
from ..domain.notification import MailSecurity, MailServer
from ..domain.outbound import LOOPBACK
from ..ports.outbound import Outbound

SECONDS = 20.0


class SmtpMail:
    """The mail port over the standard library's client, in a thread."""

    def __init__(self, guard: Outbound, context: ssl.SSLContext | None = None) -> None:
        self._guard, self._context = guard, context

    async def send(
        self,
        server: MailServer,
        password: str | None,
        sender: str,
        recipients: tuple[str, ...],
        message: bytes,
    ) -> None:
        addresses = await self._guard.addresses(server.host, server.port, "server.host")
        if server.security is MailSecurity.NONE and not all(
            any(ip_address(a) in network for network in LOOPBACK) for a in addresses
        ):
            raise AddressRefused(
                "Mail without TLS is for a server on this machine only.",
                hint="Use tls or starttls.",
                field="server.security",
            )
        try:
            await asyncio.to_thread(
                self._hand_in, server, addresses[0], password, sender, recipients, message
            )
        except smtplib.SMTPAuthenticationError as error:
            raise SignInRejected(f"{server.host} refuses the sign-in: {error.smtp_code}.") from error
        except (OSError, smtplib.SMTPException) as error:
            raise Unreachable(f"{server.host} did not take the message: {_said(error)}.") from error

    def _hand_in(
        self,
        server: MailServer,
        address: str,
        password: str | None,
        sender: str,
        recipients: tuple[str, ...],
        message: bytes,
    ) -> None:
        context = self._context or ssl.create_default_context()
        with _connected(server, address, context) as client:
            if server.security is MailSecurity.STARTTLS:
                client.starttls(context=context)
            if server.user is not None:
                client.login(server.user, password or "")
            client.sendmail(sender, recipients, message)


def _connected(server: MailServer, address: str, context: ssl.SSLContext) -> smtplib.SMTP:
    """Connected to the address that was judged, while TLS verifies the name."""

    class Plain(smtplib.SMTP):
        def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
            return socket.create_connection((address, port), timeout)

    class Sealed(smtplib.SMTP_SSL):
        def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
            return context.wrap_socket(
                socket.create_connection((address, port), timeout), server_hostname=server.host
            )

    if server.security is MailSecurity.TLS:
        return Sealed(server.host, server.port, timeout=SECONDS, context=context)
    return Plain(server.host, server.port, timeout=SECONDS)


def _said(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        return str(error.smtp_code)
    return type(error).__name__
