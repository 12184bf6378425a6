"""The role matrix as data, and the one pure decision over it."""

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import assert_never

from .page import Reach


class Role(StrEnum):
    """What somebody may do, strongest first."""

    SUPER_ADMIN = "SuperAdmin"
    ADMIN = "Admin"
    OPERATOR = "Operator"
    VIEWER = "Viewer"

    @property
    def rank(self) -> int:
        return len(Role) - list(Role).index(self)


class ScopeKind(StrEnum):
    """How far a grant reaches: everywhere, one tenant, one provider."""

    GLOBAL = "global"
    TENANT = "tenant"
    PROVIDER = "provider"


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a grant holds: everywhere, in one tenant, or on one provider (`id`)."""

    kind: ScopeKind = ScopeKind.GLOBAL
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    role: Role
    scope: Scope


class Rule(IntEnum):
    """What the matrix says for a role, weakest first."""

    DENY = 0
    OWN = 1
    SECOND = 2
    CONFIRM = 3
    WATCHED = 4
    ALLOW = 5


class Permission(StrEnum):
    SIGNED_IN = "signed_in"
    INVENTORY_READ = "inventory.read"
    STATUS_READ = "status.read"
    PROVIDER_INSPECT = "provider.inspect"
    RECORDS_READ = "records.read"
    SECRET_REVEAL = "secret.reveal"  # noqa: S105 - a permission's name
    PROVIDER_WRITE = "provider.write"
    PROVIDER_DELETE = "provider.delete"
    TENANT_ADMIN = "tenant.admin"
    TENANT_UPDATE = "tenant.update"
    TENANT_DANGER = "tenant.danger"
    DATABASE_WRITE = "database.write"
    DATABASE_ADOPT = "database.adopt"
    DATABASE_DELETE = "database.delete"
    RECORDS_WRITE = "records.write"
    BACKUP_RUN = "backup.run"
    BACKUP_PLAN = "backup.plan"
    BACKUP_DOWNLOAD = "backup.download"
    BACKUP_DELETE = "backup.delete"
    RESTORE_NEW = "restore.new"
    RESTORE_IN_PLACE = "restore.in_place"
    SYNC_CONFIGURE = "sync.configure"
    SYNC_RUN = "sync.run"
    SYNC_REPAIR = "sync.repair"
    FAILOVER_CONFIGURE = "failover.configure"
    FAILOVER_SWITCH = "failover.switch"
    FAILOVER_FORCE = "failover.force"
    ALERT_HANDLE = "alert.handle"
    CONNECTION_READ = "connection.read"
    CONNECTION_LIMIT = "connection.limit"
    JOB_CONTROL = "job.control"
    TOKEN_OWN = "token.own"  # noqa: S105 - a permission's name
    USER_MANAGE = "user.manage"
    GRANT_SUPER_ADMIN = "grant.super_admin"
    USER_EMPOWER = "user.empower"
    SECRET_MANAGE = "secret.manage"  # noqa: S105 - a permission's name
    MASTER_KEY = "master_key"
    AUDIT_READ = "audit.read"
    SETTINGS_WRITE = "settings.write"
    ADMIN_VIEWS = "admin.views"
    SERVER_MANAGE = "server.manage"
    APPROVAL_DECIDE = "approval.decide"
    SETTINGS_READ = "settings.read"
    SAFETY_WRITE = "safety.write"
    NOTIFICATION_MANAGE = "notification.manage"
    EMBED_MANAGE = "embed.manage"
    HEALTH_RULE = "health.rule"


_CELL = {
    "Y": Rule.ALLOW,
    "C": Rule.CONFIRM,
    "2": Rule.SECOND,
    "w": Rule.WATCHED,
    "o": Rule.OWN,
    "-": Rule.DENY,
}


def _row(cells: str) -> dict[Role, Rule]:
    return dict(zip(Role, (_CELL[c] for c in cells.split()), strict=True))


# Columns: SuperAdmin Admin Operator Viewer. "2" is C, and a second person while the two-person rule is on;
# "w" needs that second person as well, and nothing typed: it makes people who could be the second one.
MATRIX: dict[Permission, dict[Role, Rule]] = {
    Permission.SIGNED_IN: _row("Y Y Y Y"),
    Permission.INVENTORY_READ: _row("Y Y Y Y"),
    Permission.STATUS_READ: _row("Y Y Y Y"),
    Permission.PROVIDER_INSPECT: _row("Y Y Y -"),
    Permission.RECORDS_READ: _row("Y Y Y -"),
    Permission.SECRET_REVEAL: _row("- - - -"),
    Permission.PROVIDER_WRITE: _row("Y Y - -"),
    Permission.PROVIDER_DELETE: _row("C C - -"),
    Permission.TENANT_ADMIN: _row("Y - - -"),
    Permission.TENANT_UPDATE: _row("Y Y - -"),
    Permission.TENANT_DANGER: _row("2 - - -"),
    Permission.DATABASE_WRITE: _row("Y Y Y -"),
    Permission.DATABASE_ADOPT: _row("Y Y - -"),
    Permission.DATABASE_DELETE: _row("C C - -"),
    Permission.RECORDS_WRITE: _row("Y Y Y -"),
    Permission.BACKUP_RUN: _row("Y Y Y -"),
    Permission.BACKUP_PLAN: _row("Y Y - -"),
    Permission.BACKUP_DOWNLOAD: _row("Y Y - -"),
    Permission.BACKUP_DELETE: _row("2 2 - -"),
    Permission.RESTORE_NEW: _row("Y Y - -"),
    Permission.RESTORE_IN_PLACE: _row("2 2 - -"),
    Permission.SYNC_CONFIGURE: _row("Y Y - -"),
    Permission.SYNC_RUN: _row("Y Y Y -"),
    Permission.SYNC_REPAIR: _row("C C - -"),
    Permission.FAILOVER_CONFIGURE: _row("Y Y - -"),
    Permission.FAILOVER_SWITCH: _row("C C - -"),
    Permission.FAILOVER_FORCE: _row("C 2 - -"),
    Permission.ALERT_HANDLE: _row("Y Y Y -"),
    Permission.CONNECTION_READ: _row("Y Y Y -"),
    Permission.CONNECTION_LIMIT: _row("Y Y - -"),
    Permission.JOB_CONTROL: _row("Y Y o -"),
    Permission.TOKEN_OWN: _row("Y Y Y o"),
    Permission.USER_MANAGE: _row("Y Y - -"),
    Permission.GRANT_SUPER_ADMIN: _row("2 - - -"),
    Permission.USER_EMPOWER: _row("w w - -"),
    Permission.SECRET_MANAGE: _row("Y Y - -"),
    Permission.MASTER_KEY: _row("2 - - -"),
    Permission.AUDIT_READ: _row("Y Y o -"),
    Permission.SETTINGS_WRITE: _row("C - - -"),
    Permission.ADMIN_VIEWS: _row("Y Y - -"),
    Permission.SERVER_MANAGE: _row("Y - - -"),
    Permission.APPROVAL_DECIDE: _row("Y Y - -"),
    Permission.SETTINGS_READ: _row("Y - - -"),
    Permission.SAFETY_WRITE: _row("2 - - -"),
    Permission.NOTIFICATION_MANAGE: _row("Y Y - -"),
    Permission.EMBED_MANAGE: _row("Y Y - -"),
    Permission.HEALTH_RULE: _row("Y Y - -"),
}


@dataclass(frozen=True, slots=True)
class Target:
    """What an operation touches, as authorisation and audit need it.

    `name` is what a person types to confirm; `owner_id` is the actor a thing belongs to (jobs, tokens);
    `version` changes whenever the thing does, so that an approval speaks of what was looked at.
    A target with neither tenant nor provider belongs to the system: global grants only.
    """

    kind: str
    id: str | None = None
    name: str = ""
    tenant_id: str | None = None
    provider_id: str | None = None
    owner_id: str | None = None
    version: str = ""


def covers(scope: Scope, target: Target) -> bool:
    """Whether a grant of this scope speaks of the target at all."""
    match scope.kind:
        case ScopeKind.GLOBAL:
            return True
        case ScopeKind.TENANT:
            return scope.id is not None and scope.id == target.tenant_id
        case ScopeKind.PROVIDER:
            return scope.id is not None and scope.id == target.provider_id
        case other:
            assert_never(other)


class Verdict(StrEnum):
    ALLOWED = "allowed"
    CONFIRM = "confirm"
    SECOND = "second"
    WATCHED = "watched"
    FORBIDDEN = "forbidden"
    INVISIBLE = "invisible"


def decide(permission: Permission, target: Target, grants: tuple[Grant, ...], actor_id: str) -> Verdict:
    """The one decision: the highest role among the grants that cover the target, against the matrix."""
    roles = [g.role for g in grants if covers(g.scope, target)]
    if not roles:
        return Verdict.INVISIBLE
    rule = MATRIX[permission][max(roles, key=lambda r: r.rank)]
    match rule:
        case Rule.ALLOW:
            return Verdict.ALLOWED
        case Rule.CONFIRM:
            return Verdict.CONFIRM
        case Rule.SECOND:
            return Verdict.SECOND
        case Rule.WATCHED:
            return Verdict.WATCHED
        case Rule.OWN:
            return Verdict.ALLOWED if target.owner_id == actor_id else Verdict.FORBIDDEN
        case Rule.DENY:
            return Verdict.FORBIDDEN
        case other:
            assert_never(other)


def reach(permission: Permission, grants: tuple[Grant, ...], tenant_id: str | None) -> Reach:
    """What a list may show: the scopes of the grants whose role holds the permission, in one tenant if set.

    A role that holds it for its own things only reaches nothing here: the list asks for the owner instead.
    """
    able = [g.scope for g in grants if MATRIX[permission][g.role] > Rule.OWN]
    everything = any(s.kind is ScopeKind.GLOBAL for s in able)
    tenants = frozenset(s.id for s in able if s.kind is ScopeKind.TENANT and s.id)
    providers = frozenset(s.id for s in able if s.kind is ScopeKind.PROVIDER and s.id)
    if tenant_id is None:
        return Reach(everything, tenants, providers)
    # A narrowed call sees that tenant only, and only if some grant covers it.
    return Reach(tenants=frozenset({tenant_id}) if everything or tenant_id in tenants else frozenset())
