"""The one way out: every address people name is judged here before anything connects to it."""

from collections.abc import Mapping
from typing import Protocol


class Outbound(Protocol):
    """Turns a host into the addresses to connect to.

    Callers connect to exactly these and never resolve the name again: between two looks a name server may change its
    mind. TLS still verifies the name.
    """

    async def addresses(self, host: str, port: int, field: str | None = None) -> tuple[str, ...]:
        """The host's addresses in the system's order. AddressRefused, naming `field`, when one is not allowed;
        NameUnresolved when there is none. Idempotent, bounded in time."""
        ...


class Web(Protocol):
    """HTTP to addresses people name: webhooks, keys of an identity provider."""

    async def send(
        self, method: str, url: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """One request; answers status and the body's first mebibyte. https, or http where the address is loopback.

        AddressRefused where the address is not allowed, Unreachable when nothing answers in time. No redirect is
        followed, no proxy asked. Not retried.
        """
        ...
