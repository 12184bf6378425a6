"""Leases: logins of a tenant's own database, for a while, for programs elsewhere."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Lease:
    """A login that was leased out. `write`: it may change data. It ends at `expires_at`, or when it is released."""

    id: str
    tenant_id: str
    database_id: str
    provider_id: str
    user: str
    made_by: str
    write: bool
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class LeasedLogin:
    """How a program signs in with its lease. `password`, and `url` which holds it, are shown this once.

    `database` is the database's name on the engine; `tls`, `tls_ca` and `replica_set` are as the provider has them;
    `sign_in` is the database that knows the login.
    """

    id: str
    kind: str
    host: str
    port: int
    tls: str
    database: str
    user: str
    password: str
    url: str
    write: bool
    expires_at: datetime
    sign_in: str
    tls_ca: str | None = None
    replica_set: str | None = None

    SHORTEST: ClassVar[int] = 60
    LONGEST: ClassVar[int] = 86_400

    def __repr__(self) -> str:
        return f"LeasedLogin({self.id!r}, ***)"
