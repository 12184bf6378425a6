"""Signed tokens of another identity provider."""

from typing import Protocol

from ..domain.claims import Claims


class TokenVerifier(Protocol):
    """Believes nothing of a token but what a known key signed for this very console."""

    async def verify(self, token: str) -> Claims:
        """The token's claims. Unauthenticated when signature, issuer, audience or time do not hold; Unavailable when
        the issuer's keys cannot be had. Not retried."""
        ...
