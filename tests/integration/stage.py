"""What operations can be asked about: a tenant with a provider, a database, and fresh things to use up."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from storage_core.domain.approval import APPROVAL_LIFE, Approval
from storage_core.domain.backup import Backup, BackupStatus
from storage_core.domain.identity import Session
from storage_core.domain.lease import Lease
from storage_core.domain.permission import Role
from tests.integration.doors import PASSWORD, Doors


class Stage:
    """Something to act on in one tenant. People made on it hold their roles in `scope`."""

    def __init__(self, doors: Doors, folder: Path, tenant: str = "acme", scope: str = "global") -> None:
        self.doors, self.folder, self.count = doors, folder, 0
        self.name, self.scope = tenant, scope

    async def set(self) -> None:
        self.tenant = (await self.doors.tenant(self.name)).id
        self.folder.mkdir()
        self.provider = (await self._provider()).id
        database = await self._database()
        self.database, self.database_name = database.id, database.name
        with closing(sqlite3.connect(database.location)) as db:
            db.execute("create table notes (id integer primary key, text text)")

    def fresh(self, word: str = "x") -> str:
        self.count += 1
        return f"{word}-{self.count}" if self.name == "acme" else f"{word}-{self.name}-{self.count}"

    async def _provider(self) -> Any:
        connection = {"path": str(self.folder)}
        return await self.doors.call(
            "providers.create", name=self.fresh("files"), kind="sqlite", connection=connection
        )

    async def _database(self) -> Any:
        return await self.doors.call(
            "databases.create", provider_id=self.provider, name=self.fresh("db"), tenant_id=self.tenant
        )

    async def _note(self, **more: Any) -> dict[str, Any]:
        """A row of the table `notes`, to be asked about by its key."""
        made = await self.doors.call("records.insert", **_noted(self), data={"text": self.fresh("note")})
        return {**_noted(self), "id": made.id, **more}

    async def _index(self) -> dict[str, Any]:
        made = {
            "database_id": self.database,
            "collection": "orders",
            "index": self.fresh("i").replace("-", "_"),
        }
        await self.doors.call("collections.index", **made, paths=("sku",))
        return made

    async def _lease(self) -> dict[str, Any]:
        """A lease whose login is gone already: files have none."""
        now, id = self.doors.clock(), self.doors.core.kernel.new_id()
        row = Lease(
            id, self.tenant, self.database, self.provider, "sc_lease", "x", False, now, now, made=True
        )
        async with self.doors.core.kernel.catalog.write() as uow:
            await uow.leases.add(row)
        return {"id": self.database, "lease_id": id}

    async def _channel(self) -> Any:
        """Nobody listens where it leads."""
        return await self.doors.call("notifications.create", **_told(self))

    async def _tenant(self) -> Any:
        return await self.doors.call("tenants.create", name=self.fresh("tenant"))

    async def _suspended(self) -> Any:
        row = await self._tenant()
        return await self.doors.call("tenants.suspend", id=row.id, confirm=row.name)

    async def _schedule(self, **more: Any) -> dict[str, Any]:
        made = await self.doors.call(
            "backups.schedule", database_id=self.database, name=self.fresh("nightly"), cron="0 2 * * *"
        )
        return {"schedule_id": made.id, **more}

    async def _backup(self, *, deleted: bool = False) -> Backup:
        now, id = self.doors.clock(), self.doors.core.kernel.new_id()
        row = Backup(
            id, self.database, self.provider, now, now, tenant_id=self.tenant, database_name="db",
            deleted_at=now if deleted else None,
        )  # fmt: skip
        object.__setattr__(row, "status", BackupStatus.STORED)
        async with self.doors.core.kernel.catalog.write() as uow:
            await uow.backups.add(row)
        return row

    async def _job(self, *, cancelled: bool = False) -> Any:
        ticket = await self.doors.call("databases.optimize", id=self.database)
        if cancelled:
            await self.doors.call("jobs.cancel", id=ticket.job_id)
        return ticket.job_id

    async def _no_rotation(self) -> dict[str, Any]:
        """Rotations of the master key that nobody runs here do not stand in each other's way."""
        waiting = await self.doors.call("jobs.list", operation="secrets.rotate_master", status="queued")
        for job in waiting.items:
            await self.doors.call("jobs.cancel", id=job.id)
        return {"confirm": "master-key"}

    async def _user(self) -> str:
        return await self.doors.user(self.fresh("user"), Role.VIEWER, self.scope)

    async def _grant(self) -> str:
        user = await self._user()
        async with self.doors.core.kernel.catalog.read() as uow:
            return (await uow.grants.one(user_id=user)).id  # type: ignore[union-attr]

    async def _approval(self) -> str:
        now, id = self.doors.clock(), self.doors.core.kernel.new_id()
        row = Approval(
            id, "tenants.delete", id, "somebody", "somebody", now, now + APPROVAL_LIFE, "tenant", self.tenant,
            "acme", self.tenant, permissions=("tenant.update",),
        )  # fmt: skip
        async with self.doors.core.kernel.catalog.write() as uow:
            await uow.approvals.add(row)
        return id

    async def _token(self) -> Any:
        name = self.fresh("user")
        await self.doors.user(name, Role.VIEWER, self.scope)
        return await self.doors.call("tokens.create", name="t", user=name)

    async def _filter(self) -> Any:
        name = self.fresh("filter")
        return await self.doors.call("filters.create", page="/jobs", name=name, shared=True)

    async def _session(self) -> str:
        now, id = self.doors.clock(), self.doors.core.kernel.new_id()
        user = await self._user()
        async with self.doors.core.kernel.catalog.write() as uow:
            await uow.sessions.add(Session(id, user, now, now, now))
        return id

    async def request(self, name: str) -> dict[str, Any]:
        """A request that works for whoever may: each call gets what it needs afresh."""
        found = REQUESTS[name](self)
        return await found if asyncio.iscoroutine(found) else found  # type: ignore[return-value]


async def _confirmed(row: Awaitable[Any], name: Callable[[Any], str]) -> dict[str, Any]:
    made = await row
    return {"id": made.id, "confirm": name(made)}


async def _granted(user: Awaitable[str], stage: Stage) -> dict[str, Any]:
    return {"user_id": await user, "role": "Viewer", "scope": f"tenant:{stage.tenant}"}


async def _by_id(row: Awaitable[Any], **more: Any) -> dict[str, Any]:
    made = await row
    return {"id": getattr(made, "id", made), **more}


async def _by_tenant(row: Awaitable[Any]) -> dict[str, Any]:
    return {"tenant_id": (await row).id}


def _new(stage: Stage) -> dict[str, Any]:
    return {"provider_id": stage.provider, "name": stage.fresh("new"), "tenant_id": stage.tenant}


def _noted(stage: Stage) -> dict[str, Any]:
    return {"database_id": stage.database, "name": "notes"}


def _told(stage: Stage) -> dict[str, Any]:
    return {
        "name": stage.fresh("channel"),
        "kind": "webhook",
        "url": "http://127.0.0.1:9/hook",
        "tenant_id": stage.tenant,
    }


REQUESTS: dict[str, Callable[[Stage], Any]] = {
    "approvals.approve": lambda s: _by_id(s._approval()),
    "approvals.list": lambda s: {},
    "approvals.refuse": lambda s: _by_id(s._approval()),
    "audit.export": lambda s: {"operation": "tenants.create"},
    "audit.get": lambda s: {"id": "system:1"},
    "audit.heads": lambda s: {},
    "audit.list": lambda s: {"limit": 5},
    "audit.verify": lambda s: {},
    "backups.create": lambda s: {"database_id": s.database},
    "backups.delete": lambda s: _confirmed(s._backup(), lambda b: b.database_name),
    "backups.forecast": lambda s: s._schedule(count=2),
    "backups.get": lambda s: _by_id(s._backup()),
    "backups.list": lambda s: {},
    "backups.hold": lambda s: _by_id(s._backup(), reason="case 7"),
    "backups.pin": lambda s: _by_id(s._backup()),
    "backups.release": lambda s: _confirmed(s._backup(), lambda b: b.database_name),
    "backups.restore": lambda s: _by_id(s._backup(), name=s.fresh("restored")),
    "backups.runs": lambda s: {},
    "backups.schedule": lambda s: {"database_id": s.database, "name": s.fresh("nightly"), "cron": "@daily"},
    "backups.schedules": lambda s: {},
    "backups.status": lambda s: _by_id(s._backup()),
    "backups.undelete": lambda s: _by_id(s._backup(deleted=True)),
    "backups.unpin": lambda s: _confirmed(s._backup(), lambda b: b.database_name),
    "backups.unschedule": lambda s: s._schedule(),
    "backups.verify": lambda s: _by_id(s._backup()),
    "collections.drop": lambda s: {"database_id": s.database, "collection": "never_made"},
    "collections.index": lambda s: {
        "database_id": s.database,
        "collection": "orders",
        "index": s.fresh("i").replace("-", "_"),
        "paths": ["sku"],
    },
    "collections.prepare": lambda s: {"database_id": s.database, "collection": "orders"},
    "collections.unindex": lambda s: s._index(),
    "databases.adopt": lambda s: {**_new(s), "physical_name": "nowhere.sqlite3"},
    "databases.configure": lambda s: {"id": s.database, "default": True},
    "databases.create": _new,
    "databases.delete": lambda s: _confirmed(s._database(), lambda d: d.name),
    "databases.encrypt": lambda s: {"id": s.database, "collection": s.fresh("c").replace("-", "_")},
    "databases.existing": lambda s: {"provider_id": s.provider},
    "databases.get": lambda s: {"id": s.database},
    "databases.lease": lambda s: {"id": s.database},
    "databases.leases": lambda s: {},
    "databases.list": lambda s: {},
    "databases.open": lambda s: {"tenant_id": s.tenant, "name": s.database_name},
    "databases.optimize": lambda s: {"id": s.database},
    "databases.release": lambda s: s._lease(),
    "databases.schema": lambda s: {"id": s.database},
    "databases.stats": lambda s: {"id": s.database},
    "engines.list": lambda s: {},
    "engines.start": lambda s: {"kind": "mongodb", "name": "No Such Name"},
    "engines.stop": lambda s: {"name": "nobody"},
    "filters.create": lambda s: {"page": "/backups", "name": s.fresh("filter"), "query": "status=failed"},
    "filters.delete": lambda s: _by_id(s._filter()),
    "filters.list": lambda s: {},
    "grants.create": lambda s: _granted(s._user(), s),
    "grants.list": lambda s: {},
    "grants.revoke": lambda s: _by_id(s._grant()),
    "jobs.cancel": lambda s: _by_id(s._job()),
    "jobs.get": lambda s: _by_id(s._job()),
    "jobs.list": lambda s: {},
    "jobs.retry": lambda s: _by_id(s._job(cancelled=True)),
    "notifications.create": _told,
    "notifications.delete": lambda s: _by_id(s._channel()),
    "notifications.list": lambda s: {},
    "notifications.test": lambda s: _by_id(s._channel()),
    "notifications.update": lambda s: _by_id(s._channel(), enabled=False),
    "preferences.show": lambda s: {},
    "preferences.update": lambda s: {"theme": "dark"},
    "providers.create": lambda s: {
        "name": s.fresh("p"),
        "kind": "sqlite",
        "connection": {"path": str(s.folder)},
    },
    "providers.delete": lambda s: _confirmed(s._provider(), lambda p: p.name),
    "providers.get": lambda s: {"id": s.provider},
    "providers.list": lambda s: {},
    "providers.test": lambda s: {"id": s.provider},
    "providers.update": lambda s: {"id": s.provider, "name": s.fresh("files")},
    "records.delete": lambda s: s._note(),
    "records.get": lambda s: s._note(),
    "records.insert": lambda s: {**_noted(s), "data": {"text": "x"}},
    "records.list": lambda s: {"database_id": s.database},
    "records.query": _noted,
    "records.update": lambda s: s._note(data={"text": "y"}),
    "secrets.credentials": lambda s: {"id": s.provider, "generate": True},
    "secrets.export_recovery": lambda s: {
        "passphrase": "correct horse battery staple",
        "confirm": "master-key",
    },
    "secrets.list": lambda s: {},
    "secrets.rotate": lambda s: _by_tenant(s._tenant()),
    "secrets.rotate_master": lambda s: s._no_rotation(),
    "secrets.validate": lambda s: {},
    "sessions.list": lambda s: {},
    "sessions.revoke": lambda s: _by_id(s._session()),
    "settings.list": lambda s: {},
    "settings.update": lambda s: {"key": "two_person_rule", "value": "false", "confirm": "two_person_rule"},
    "tenants.create": lambda s: {"name": s.fresh("tenant")},
    "tenants.delete": lambda s: _confirmed(s._tenant(), lambda t: t.name),
    "tenants.get": lambda s: {"id": s.tenant},
    "tenants.list": lambda s: {},
    "tenants.policies": lambda s: _by_id(s._tenant(), databases=3),
    "tenants.resume": lambda s: _by_id(s._suspended()),
    "tenants.suspend": lambda s: _confirmed(s._tenant(), lambda t: t.name),
    "tenants.update": lambda s: {"id": s.tenant, "title": s.fresh("Title")},
    "tenants.usage": lambda s: {"id": s.tenant},
    "tokens.create": lambda s: {"name": s.fresh("token")},
    "tokens.list": lambda s: {},
    "tokens.revoke": lambda s: _by_id(s._token()),
    "users.create": lambda s: {
        "username": s.fresh("user"),
        "password": PASSWORD,
        "role": "Viewer",
        "scope": s.scope,
    },
    "users.disable": lambda s: _by_id(s._user()),
    "users.list": lambda s: {},
    "users.password": lambda s: {"password": PASSWORD},
    "users.update": lambda s: _by_id(s._user(), username=s.fresh("renamed")),
}
