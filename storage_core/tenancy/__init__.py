"""Which tenant the running code works for: set at the edge, explicit below it, never defaulted."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from ..domain.errors import TenantRequired


@dataclass(frozen=True, slots=True)
class TenantScope:
    """A tenant (its unique name or id, as the caller knows it) and a namespace within it."""

    tenant: str
    namespace: str | None = None


_current: ContextVar[TenantScope] = ContextVar("storage_tenant")


def current_tenant() -> TenantScope:
    """The tenant in force; TenantRequired where none was set."""
    try:
        return _current.get()
    except LookupError:
        raise TenantRequired("No tenant is set for this call.") from None


def optional_tenant() -> TenantScope | None:
    """The tenant in force, or none: for doors that also serve global callers."""
    return _current.get(None)


@contextmanager
def tenant_scope(tenant: str, namespace: str | None = None) -> Iterator[TenantScope]:
    """Work for a tenant inside the block; the one before is back after it, whatever happens."""
    scope = TenantScope(tenant, namespace)
    token = _current.set(scope)
    try:
        yield scope
    finally:
        _current.reset(token)
