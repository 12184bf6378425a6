"""People and programs that sign in: users, grants, sessions, tokens."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from .permission import Role, ScopeKind

SESSION_IDLE = timedelta(hours=2)
SESSION_ABSOLUTE = timedelta(hours=12)
#: How long what a session left behind is kept after nobody can use it any more. Who signed in, from where and until
#: when, is the audit log's to tell.
SESSION_KEPT = timedelta(days=1)
SETUP_LINK_LIFE = timedelta(minutes=15)
#: How long a proof of who one is counts as fresh, where an operation wants one.
FRESH_SIGN_IN = timedelta(minutes=5)
MIN_PASSWORD = 12


class UserStatus(StrEnum):
    """Whether a user may sign in."""

    ACTIVE = "active"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who can sign in."""

    id: str
    username: str
    created_at: datetime
    updated_at: datetime
    status: UserStatus = UserStatus.ACTIVE
    last_sign_in_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Password:
    """A user's argon2id hash, apart from the user so that no answer can carry it. `id` is the user's."""

    id: str
    hash: str
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class UserGrant:
    """A role somebody holds in a scope (`scope_id`: tenant or provider id, none for global).

    `external`: a group at the identity provider gives it, and takes it, at each sign-in.
    """

    id: str
    user_id: str
    role: Role
    scope_kind: ScopeKind
    scope_id: str | None
    created_at: datetime
    external: bool = False


@dataclass(frozen=True, slots=True)
class Session:
    """A browser sign-in. `id` is public; the cookie's value is stored as a Credential's digest only.

    `proved_at` is when its user last proved who they are: at the sign-in, and whenever they renewed it.
    """

    id: str
    user_id: str
    created_at: datetime
    seen_at: datetime
    proved_at: datetime
    address: str | None = None
    agent: str = ""
    revoked_at: datetime | None = None


def session_alive(session: Session, now: datetime) -> bool:
    """Neither revoked, nor idle for too long, nor older than the absolute limit."""
    return (
        session.revoked_at is None
        and now - session.seen_at < SESSION_IDLE
        and now - session.created_at < SESSION_ABSOLUTE
    )


def freshly_signed_in(signed_in_at: datetime | None, now: datetime) -> bool:
    """Whether somebody proved who they are within the last minutes; never for tokens and programs."""
    return signed_in_at is not None and now - signed_in_at < FRESH_SIGN_IN


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A program's key; `prefix` is its first characters, to recognise it by.

    It acts with its owner's current rights, narrowed to `role` at most and to `tenant_id` if set. `made_by` is the
    actor who made it, `made_with` the token they made it with: it ends with that one.
    """

    id: str
    user_id: str
    name: str
    prefix: str
    created_at: datetime
    role: Role | None = None
    tenant_id: str | None = None
    expires_at: datetime | None = None
    used_at: datetime | None = None
    revoked_at: datetime | None = None
    made_by: str | None = None
    made_with: str | None = None

    @property
    def narrowed(self) -> bool:
        """Whether it carries less than its owner's rights."""
        return self.role is not None or self.tenant_id is not None


@dataclass(frozen=True, slots=True)
class ListedToken(ApiToken):
    """A token in a list. `acts_as` is the highest role it acts with now, none where it opens nothing."""

    acts_as: Role | None = None


def token_alive(token: ApiToken, now: datetime) -> bool:
    return token.revoked_at is None and (token.expires_at is None or now < token.expires_at)


class CredentialKind(StrEnum):
    SESSION = "session"
    TOKEN = "token"  # noqa: S105 - a kind, no secret
    SETUP = "setup"


@dataclass(frozen=True, slots=True)
class Credential:
    """What a bearer shows, as SHA-256 (`id`); `subject_id` is the session, token or setup claim it stands for."""

    id: str
    kind: CredentialKind
    subject_id: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Misses:
    """Failed sign-ins of one account or from one address since `began_at`; `id` is a hash of which."""

    id: str
    count: int
    began_at: datetime


@dataclass(frozen=True, slots=True)
class SetupClaim:
    """The one-time right to create the first SuperAdmin."""

    id: str
    created_at: datetime
    claimed_at: datetime | None = None
