"""Signing in with an identity provider: one attempt's secrets, who came, and which roles their groups give."""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from .permission import Role

#: How long people may take at the provider.
FLOW_LIFE = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Flow:
    """One attempt: what the browser carries, sealed, from its start to its end.

    State, nonce and code verifier all follow from `secret`, so that only this browser can end what it began and
    nothing needs to be kept in between. `session_id`: the session whose sign-in is renewed, none for a new one.
    """

    secret: str
    began_at: datetime
    onward: str
    session_id: str | None = None

    @property
    def state(self) -> str:
        return self._derived("state")

    @property
    def nonce(self) -> str:
        return self._derived("nonce")

    @property
    def verifier(self) -> str:
        return self._derived("verifier")

    @property
    def id(self) -> str:
        """What is kept of a flow that ended, so that it cannot end twice."""
        return hashlib.sha256(self.secret.encode()).hexdigest()

    def _derived(self, purpose: str) -> str:
        mac = hmac.digest(self.secret.encode(), purpose.encode(), "sha256")
        return base64.urlsafe_b64encode(mac).decode().rstrip("=")

    def __repr__(self) -> str:
        return f"Flow(***, {self.began_at}, {self.onward!r})"


@dataclass(frozen=True, slots=True)
class SpentFlow:
    """A flow that ended; kept until the browser's part of it is too old anyway."""

    id: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Identified:
    """Whom the provider vouches for, verified; `proved_at` is when they last showed it who they are, if it says so."""

    issuer: str
    subject: str
    username: str
    groups: tuple[str, ...]
    proved_at: datetime | None


@dataclass(frozen=True, slots=True)
class Identity:
    """A person at a provider, linked to a user. `id` is a hash of issuer and subject; never of an e-mail address."""

    id: str
    user_id: str
    issuer: str
    subject: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class RoleRule:
    """A role a group gives, in a scope as people write it (`global`, `tenant:acme`)."""

    role: Role
    scope: str


@dataclass(frozen=True, slots=True)
class RolePolicy:
    """What the provider's groups mean here; `fallback` is for whoever holds no role otherwise."""

    groups: Mapping[str, tuple[RoleRule, ...]]
    fallback: RoleRule | None = None

    def given(self, groups: Iterable[str]) -> tuple[RoleRule, ...]:
        return tuple(dict.fromkeys(rule for group in groups for rule in self.groups.get(group, ())))


def read_rule(text: str) -> RoleRule:
    """`Operator` or `Operator tenant:acme` as a rule."""
    role, _, scope = text.partition(" ")
    return RoleRule(Role(role), scope.strip() or "global")


def identity_id(issuer: str, subject: str) -> str:
    """One id per person at a provider, whatever either of the two texts contains."""
    return hashlib.sha256(json.dumps([issuer, subject]).encode()).hexdigest()
