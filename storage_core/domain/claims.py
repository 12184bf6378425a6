"""What a signed token of another identity provider says about its bearer."""

from dataclasses import dataclass
from datetime import datetime

from .permission import Role


@dataclass(frozen=True, slots=True)
class Claims:
    """A verified token's content. `tenant` is a tenant's name or id and the authority on it; `role` what it grants there.

    Nobody here can revoke such a token; it ends at `expires_at`.
    """

    issuer: str
    subject: str
    expires_at: datetime
    tenant: str | None = None
    role: Role | None = None


def role_of(said: object) -> Role | None:
    """The highest of our roles among a claim's words, upper or lower case; never SuperAdmin, which has no tenant."""
    words = said if isinstance(said, list) else [said]
    known = {role.value.lower(): role for role in Role if role is not Role.SUPER_ADMIN}
    found = [known[word.lower()] for word in words if isinstance(word, str) and word.lower() in known]
    return max(found, key=lambda role: role.rank, default=None)
