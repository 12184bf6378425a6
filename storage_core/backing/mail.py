"""Mail by SMTP, to the addresses the outbound guard has judged."""

import asyncio
import contextlib
import smtplib
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import ip_address

from ..domain.errors import AddressRefused, SignInRejected, Unreachable
from ..domain.notification import MailSecurity, MailServer
from ..domain.outbound import LOOPBACK
from ..ports.outbound import Outbound

SECONDS = 20.0
THREADS = 4


class SmtpMail:
    """The mail port over the standard library's client, in a thread."""

    def __init__(self, guard: Outbound, context: ssl.SSLContext | None = None) -> None:
        self._guard, self._context = guard, context
        #: Of their own: servers that dawdle keep nobody else's work waiting.
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="mail")

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
        talk = _Talk(server, addresses[0], self._context or ssl.create_default_context())
        work = partial(talk.hand_in, password, sender, recipients, message)
        try:
            async with asyncio.timeout(SECONDS):
                await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except TimeoutError as error:
            raise Unreachable(
                f"{server.host} did not take the message within {SECONDS:.0f} seconds."
            ) from error
        except smtplib.SMTPAuthenticationError as error:
            raise SignInRejected(f"{server.host} refuses the sign-in: {error.smtp_code}.") from error
        except (OSError, ValueError, smtplib.SMTPException) as error:  # ValueError: what is not ASCII
            raise Unreachable(f"{server.host} did not take the message: {_said(error)}.") from error
        finally:
            talk.end()

    def close(self) -> None:
        """Wait for nobody: each conversation is cut off by whoever began it."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class _Talk:
    """One conversation with a server, at the address that was judged, while TLS verifies the name.

    `end` cuts it off wherever it stands: the client's own patience counts anew with every byte.
    """

    def __init__(self, server: MailServer, address: str, context: ssl.SSLContext) -> None:
        self._server, self._address, self._context = server, address, context
        self._held: socket.socket | None = None
        """The connection under a second descriptor: TLS takes the first one over."""
        self._over = False

    def hand_in(self, password: str | None, sender: str, recipients: tuple[str, ...], message: bytes) -> None:
        with self._client() as client:
            if self._server.security is MailSecurity.STARTTLS:
                client.starttls(context=self._context)
            if self._server.user is not None:
                client.login(self._server.user, password or "")
            client.sendmail(sender, recipients, message)

    def end(self) -> None:
        self._over = True
        if self._held is not None:
            with contextlib.suppress(OSError):
                self._held.shutdown(socket.SHUT_RDWR)
            self._held.close()

    def connected(self, timeout: float) -> socket.socket:
        made = socket.create_connection((self._address, self._server.port), timeout)
        self._held = made.dup()
        if self._over:
            self.end()
        return made

    def _client(self) -> smtplib.SMTP:
        talk, context = self, self._context

        class Plain(smtplib.SMTP):
            def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
                return talk.connected(timeout)

        class Sealed(smtplib.SMTP_SSL):
            def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
                return context.wrap_socket(talk.connected(timeout), server_hostname=host)

        if self._server.security is MailSecurity.TLS:
            return Sealed(self._server.host, self._server.port, timeout=SECONDS, context=context)
        return Plain(self._server.host, self._server.port, timeout=SECONDS)


def _said(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        return str(error.smtp_code)
    return type(error).__name__
