"""The issuer port: an OpenID Connect provider that vouches for people."""

from datetime import datetime
from typing import Protocol

from ..domain.federation import Flow, Identified


class Issuer(Protocol):
    """Authorization code flow with PKCE. IssuerUnavailable when the provider does not answer, or not as it should."""

    async def address(self, flow: Flow, now: datetime) -> str:
        """Where to send the browser; for a renewal the provider is told to ask who it is again."""
        ...

    async def identify(self, flow: Flow, code: str, told: str | None, now: datetime) -> Identified:
        """Redeem the code and verify everything that comes back; `told` is the issuer named beside the code.

        IdentityRefused, with the reason, for anything that does not hold. A code works once.
        """
        ...

    async def leaving(self, now: datetime) -> str | None:
        """Where a browser ends its session at the provider and comes back; none where the provider offers none."""
        ...
