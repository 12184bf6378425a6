"""Keys and what they seal."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

#: Owners of keys besides tenants, who own theirs by id.
SYSTEM_OWNER, MASTER_OWNER = "system", "master"


class KeyState(StrEnum):
    """Primary seals and opens, enabled only opens, disabled does nothing but can come back, destroyed is gone."""

    PRIMARY = "primary"
    ENABLED = "enabled"
    DISABLED = "disabled"
    DESTROYED = "destroyed"


#: Keys in these states open what they sealed.
OPENING = frozenset({KeyState.PRIMARY, KeyState.ENABLED})


@dataclass(frozen=True, slots=True)
class Key:
    """One generation (`version`) of an owner's key.

    A tenant's or the system's key-encryption key is kept `wrapped` by a master key: ``master id.sealed``. A master
    key itself is never in the catalog: its row says by its `id`, a fingerprint, where it stands, and wraps nothing.
    """

    id: str
    owner: str
    wrapped: str
    created_at: datetime
    updated_at: datetime
    state: KeyState = KeyState.PRIMARY
    version: int = 1

    @property
    def tenant_id(self) -> str | None:
        return None if self.owner in (SYSTEM_OWNER, MASTER_OWNER) else self.owner

    @property
    def master_id(self) -> str:
        """Which master key wraps this one; empty for a master key and a destroyed key."""
        return self.wrapped.partition(".")[0]


def owner_of(tenant_id: str | None) -> str:
    return tenant_id or SYSTEM_OWNER


@dataclass(frozen=True, slots=True)
class Binding:
    """Where a sealed value belongs. It is authenticated with the value, so that none can be moved elsewhere."""

    tenant_id: str | None
    collection: str
    id: str
    field: str


def associated_data(binding: Binding, key_id: str, form: str) -> bytes:
    """``tenant|collection|id|field|key id|format`` with lengths, so that no two bindings read the same."""
    parts = (binding.tenant_id or "", binding.collection, binding.id, binding.field, key_id, form)
    return b"|".join(str(len(p.encode())).encode() + b":" + p.encode() for p in parts)


def key_of(envelope: str) -> str:
    """The id of the key that sealed an envelope, ``format.key id.sealed``; empty for none."""
    return envelope.partition(".")[2].partition(".")[0]


@dataclass(frozen=True, slots=True)
class Secret:
    """A sealed value somebody entrusted to us: a provider's password. `id` names its place, ``owner/field``.

    `collection` says what the owner is. `key_id` is read from the envelope, whatever it is given as.
    """

    id: str
    tenant_id: str | None
    owner_id: str
    envelope: str
    created_at: datetime
    updated_at: datetime
    version: int = 1
    collection: str = "providers"
    key_id: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "key_id", key_of(self.envelope))

    @property
    def sealed(self) -> str:
        return self.envelope

    @property
    def binding(self) -> Binding:
        return Binding(self.tenant_id, self.collection, self.owner_id, self.id.rpartition("/")[2])


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """The wrapped data key of one artifact; `id` is the backup's. `key_id` is read from what is wrapped."""

    id: str
    tenant_id: str | None
    wrapped: str
    created_at: datetime
    key_id: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "key_id", key_of(self.wrapped))

    @property
    def sealed(self) -> str:
        return self.wrapped

    @property
    def binding(self) -> Binding:
        return data_key_binding(self.tenant_id, self.id)


def data_key_binding(tenant_id: str | None, backup_id: str) -> Binding:
    return Binding(tenant_id, "backups", backup_id, "data")


@dataclass(frozen=True, slots=True)
class Sealed:
    """An envelope where it lies: `noun` is its table, `id` its row."""

    noun: str
    id: str
    envelope: str
    binding: Binding


@dataclass(frozen=True, slots=True)
class DataKey:
    """A fresh data key: the 32 bytes to use now, and the wrapped form to keep."""

    plain: bytes
    wrapped: str

    def __repr__(self) -> str:
        return "DataKey(***)"


class SecretKind(StrEnum):
    """What an entry of the secrets' list is about."""

    MASTER = "master"
    KEY = "key"
    PASSWORD = "password"  # noqa: S105 - a kind of secret, not one
    VALUE = "value"
    DATA_KEY = "data_key"


@dataclass(frozen=True, slots=True)
class SecretInfo:
    """What may be known of a secret: never the secret. `id` names its place.

    `key_id` is the key that seals it and `key_version` that key's generation; `version` counts its own changes.
    `used_by`: for a key what it seals, for a password the provider's databases, for a data key its backup.
    """

    id: str
    kind: SecretKind
    what: str
    owner_id: str
    owner_name: str
    tenant_id: str | None
    provider_id: str | None
    key_id: str
    key_version: int
    version: int
    state: KeyState
    used_by: int
    created_at: datetime
    updated_at: datetime
    age_days: int = 0


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that does not open, or a sign-in that an engine refuses."""

    kind: str
    id: str
    problem: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Validation:
    """`faults` names the first hundred of what does not hold; `failed` counts all."""

    ok: bool
    envelopes: int
    providers: int
    failed: int
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a rotation did: the key that seals from now on, what was sealed anew, which keys were destroyed."""

    owner: str
    key_id: str
    version: int
    rewrapped: int
    destroyed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RecoveryKey:
    """The master key `key_id` as a text that its passphrase opens."""

    key_id: str
    text: str
