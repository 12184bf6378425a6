"""What both pages of this folder do with a database, and the names they show around it."""

from dataclasses import dataclass, replace

from storage_console.core import core
from storage_console.parts import words
from storage_console.parts.form import Option
from storage_console.session import Context
from storage_core.domain.database import Database
from storage_core.domain.errors import InvalidRequest
from storage_core.domain.job import Ticket
from storage_core.services.backups import CreateBackup, ListBackups
from storage_core.services.databases import DeleteDatabase, OptimizeDatabase
from storage_core.services.providers import ListProviders
from storage_core.services.tenants import ListTenants


@dataclass(frozen=True, slots=True)
class Names:
    """Providers with their kinds, and tenants, by id."""

    providers: dict[str, tuple[str, str]]
    tenants: dict[str, str]

    def provider(self, id: str) -> str:
        return self.providers.get(id, ("—", ""))[0]

    def kind(self, id: str) -> str:
        return self.providers.get(id, ("", ""))[1]

    def engine(self, id: str) -> str:
        return words.KINDS.get(self.kind(id), "—")

    def tenant(self, id: str | None) -> str:
        return self.tenants.get(id, "—") if id else "system"


async def names(ctx: Context) -> Names:
    """The names the caller may see, the first five hundred of each."""
    providers = await core().providers.list(ctx, ListProviders(limit=500, sort="name"))
    tenants = await core().tenants.list(ctx, ListTenants(limit=500, sort="name"))
    return Names(
        {p.id: (p.name, p.kind.value) for p in providers.items}, {t.id: t.title for t in tenants.items}
    )


async def choices(ctx: Context) -> tuple[list[Option], list[Option]]:
    """Providers and active tenants to choose from."""
    providers = await core().providers.list(ctx, ListProviders(limit=500, sort="name"))
    tenants = await core().tenants.list(ctx, ListTenants(limit=500, sort="name", status="active"))
    owners = [Option(t.id, t.title) for t in tenants.items]
    if ctx.tenant_id is None:
        owners = [*owners, Option("", "No tenant: the system's")]
    return [
        Option(p.id, f"{p.name} · {words.KINDS.get(p.kind.value, p.kind.value)}") for p in providers.items
    ], owners


def settings_of(text: str) -> dict[str, str]:
    """Settings as people write them, one ``name = value`` a line."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        if not line.strip():
            continue
        name, equals, value = (part.strip() for part in line.partition("="))
        if not (name and equals and value):
            raise InvalidRequest(
                f"{line.strip()[:60]!r} is no setting.", field="settings", hint="Write name = value."
            )
        found[name] = value
    return found


async def back_up(ctx: Context, id: str) -> Ticket:
    """Starts a backup and its proof."""
    return await core().backups.create(ctx, CreateBackup(database_id=id))


async def optimize(ctx: Context, id: str) -> Ticket:
    """Starts reclaiming space."""
    return await core().databases.optimize(ctx, OptimizeDatabase(id=id))


async def delete(ctx: Context, id: str, typed: str, reason: str) -> Database:
    """Drops a database; the reason goes to the audit log."""
    return await core().databases.delete(
        replace(ctx, reason=reason or None), DeleteDatabase(id=id, confirm=typed)
    )


async def loss(ctx: Context, row: Database) -> list[str]:
    """What deleting a database takes away, and what survives."""
    kept = await core().backups.list(ctx, ListBackups(limit=1, database_id=row.id, status="proven,stored"))
    proven = await core().backups.list(ctx, ListBackups(limit=1, database_id=row.id, status="proven"))
    effects = [f"{row.physical_name} is dropped from its engine with everything in it."]
    if row.protected:
        effects.append("It is protected: this will be refused until the lock is taken off.")
    if proven.items:
        made = proven.items[0].created_at
        survive = f"{words.count(kept.total, 'backup')} survive" + ("s" if kept.total == 1 else "")
        effects.append(
            f"{survive}; the newest proven one is of {made:%Y-%m-%d %H:%M} UTC. What came after it is lost."
        )
    elif kept.total:
        effects.append(f"{words.count(kept.total, 'backup')} stay, none of them proven.")
    else:
        effects.append("There is no backup of it: nothing can bring it back.")
    return effects
