"""Mail handed to a server that people name."""

from typing import Protocol

from ..domain.notification import MailServer


class Mail(Protocol):
    """Hands messages in."""

    async def send(
        self,
        server: MailServer,
        password: str | None,
        sender: str,
        recipients: tuple[str, ...],
        message: bytes,
    ) -> None:
        """Hand in one message of RFC 5322. AddressRefused where the server's address is not allowed, Unreachable when
        it does not take the message, SignInRejected when it does not take the sign-in. Not retried."""
        ...
