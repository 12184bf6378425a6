"""The providers page's state: the list, private servers, a saved provider's test, deletion."""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import reflex as rx

from storage_console.core import core
from storage_console.parts import words
from storage_console.parts.confirm import ConfirmState
from storage_console.parts.listing import Filter, ListState
from storage_console.session import (
    NO_PROBLEM,
    Context,
    Permission,
    Problem,
    asking,
    attempt,
    requires,
    toast,
)
from storage_core.domain.errors import Unreachable
from storage_core.domain.page import Page
from storage_core.domain.provider import CheckStep, Provider, StepStatus
from storage_core.services.databases import ListDatabases
from storage_core.services.engines import StartEngine, StopEngine
from storage_core.services.providers import DeleteProvider, ListProviders, TestProvider
from storage_core.services.targets import may_adopt

TLS = {"disable": "off"}
STEPS = {"name": "Name", "tcp": "Connect", "tls": "TLS", "sign_in": "Sign in", "privileges": "Privileges"}


@dataclass(frozen=True, slots=True)
class ProviderRow:
    """A provider in the list; `server` names the private server behind it.

    `adopts`: whoever looks may adopt what lies on it.
    """

    id: str
    name: str
    kind: str
    engine: str
    endpoint: str
    tls: str
    status: str
    problem: str
    latency: str
    databases: int
    checked: float
    server: str
    proof: str
    adopts: bool


@dataclass(frozen=True, slots=True)
class StepRow:
    """One step of a connection test as displayed."""

    name: str
    status: str
    tone: str
    detail: str
    fix: str
    took: str


def step_row(step: CheckStep) -> StepRow:
    """A step in words."""
    tone = {"passed": "ok", "warning": "warn", "failed": "bad"}.get(step.status.value, "off")
    name = STEPS.get(step.name, step.name.replace("_", " ").capitalize())
    took = f"{step.milliseconds:.0f} ms" if step.milliseconds is not None else ""
    return StepRow(name, step.status.value, tone, step.detail, step.fix, took)


def where(provider: Provider) -> str:
    """Host and port or directory; empty for those who may not see it."""
    end = provider.endpoint
    if end.path:
        return end.path
    return f"{end.host}:{end.port}" if end.host and end.port else end.host or ""


def provider_row(ctx: Context, p: Provider, databases: int, names: dict[str, str]) -> ProviderRow:
    """A provider as displayed."""
    engine = f"{words.KINDS.get(p.kind.value, p.kind.value)} {p.engine_version or ''}".strip()
    return ProviderRow(
        p.id,
        p.name,
        p.kind.value,
        engine,
        where(p),
        "—" if p.kind.is_files else TLS.get(p.endpoint.tls.value, p.endpoint.tls.value),
        p.status.value,
        p.problem or "",
        f"{p.latency_ms:.1f} ms" if p.latency_ms is not None else "—",
        databases,
        words.epoch(p.checked_at),
        p.server or "",
        names.get(p.proof_provider_id or "", ""),
        may_adopt(ctx, p.id),
    )


class Providers(ConfirmState, ListState, rx.State):
    """The list and what one does to its rows."""

    rows: list[ProviderRow] = []
    starting: str = ""
    check_open: bool = False
    check_busy: bool = False
    check_name: str = ""
    check_steps: list[StepRow] = []
    check_problem: Problem = NO_PROBLEM
    _check_id: str = ""

    _acts: ClassVar[dict[str, str]] = {"test": "Test connections"}
    _route: ClassVar[str] = "/providers"
    _noun: ClassVar[str] = "provider"
    _sorts: ClassVar[tuple[str, ...]] = ("name", "kind", "status", "latency_ms", "checked_at", "created_at")
    _filters: ClassVar[tuple[Filter, ...]] = (
        Filter("kind", "Engine", tuple(f"{kind}={label}" for kind, label in words.KINDS.items())),
        Filter("status", "Status", ("online", "offline", "unknown")),
    )
    _export: ClassVar[tuple[str, ...]] = (
        "id", "name", "kind", "engine_version", "endpoint.host", "endpoint.port", "endpoint.path", "endpoint.tls",
        "status", "latency_ms", "checked_at", "problem", "created_at",
    )  # fmt: skip

    @staticmethod
    async def _list(ctx: Context, ask: dict[str, Any]) -> Page[Provider]:
        return await core().providers.list(ctx, ListProviders(**ask))

    @staticmethod
    async def _rows(ctx: Context, items: tuple[Provider, ...]) -> list[ProviderRow]:
        databases = await core().databases.list(ctx, ListDatabases(limit=500))
        held = Counter(d.provider_id for d in databases.items)
        names = {p.id: p.name for p in items}
        return [provider_row(ctx, p, held[p.id], names) for p in items]

    @staticmethod
    async def _act(ctx: Context, verb: str, id: str) -> str:
        steps = await core().providers.test(ctx, TestProvider(id=id))
        if failed := next((s for s in steps if s.status is StepStatus.FAILED), None):
            raise Unreachable(failed.detail, hint=failed.fix)
        if warned := next((s for s in steps if s.status is StepStatus.WARNING), None):
            return f"It works, with a warning: {warned.detail} {warned.fix}"
        return "Every step passed"

    def _open(self, id: str) -> Any:
        return Providers.check(id)

    def _row(self, id: str) -> ProviderRow | None:
        return next((row for row in self.rows if row.id == id), None)

    @rx.event(background=True)
    @requires(Permission.SERVER_MANAGE)
    async def start_server(self, kind: str, name: str):
        """Starts a private local server and registers it; an empty name takes the usual one."""
        if kind not in ("postgresql", "mongodb"):
            return
        async with self:
            if self.starting:
                return
            self.starting = kind
            ctx = await asking(self)
        found, failed = await attempt(core().engines.start(ctx, StartEngine(kind=kind, name=name or None)))
        async with self:
            self.starting = ""
            await self._reload()
        if found is None:
            yield toast("error", failed.title, description=f"{failed.detail} {failed.hint}".strip())
        else:
            yield toast(
                "success",
                f"{found.name} is running",
                description=f"On {found.host}:{found.port}, ready to use.",
            )

    @rx.event(background=True)
    @requires(Permission.PROVIDER_INSPECT)
    async def check(self, id: str):
        """Tests a saved provider step by step, in a dialog."""
        async with self:
            if (row := self._row(str(id))) is None:
                return
            self._check_id, self.check_name = row.id, row.name
            self.check_open, self.check_busy, self.check_problem = True, True, NO_PROBLEM
            self.check_steps.clear()
            ctx = await asking(self)
        found, failed = await attempt(core().providers.test(ctx, TestProvider(id=row.id)))
        async with self:
            if self._check_id == row.id:
                self.check_busy, self.check_problem = False, failed
                self.check_steps = [step_row(step) for step in found or ()]
            await self._reload()

    def _closed(self) -> None:
        self.check_open, self._check_id = False, ""
        super()._closed()

    @rx.event
    @requires(Permission.SIGNED_IN)
    def check_again(self):
        """Tests the same provider once more."""
        return Providers.check(self._check_id)

    @rx.event
    @requires(Permission.SIGNED_IN)
    def check_toggle(self, shown: bool):
        """Closes the test."""
        if shown is not True:
            self.check_open, self._check_id = False, ""

    @rx.event
    @requires(Permission.SERVER_MANAGE)
    def ask_stop(self, id: str):
        """Asks before a private server is stopped."""
        if (row := self._row(id)) and row.server:
            effects = [
                f"Programs connected to {row.endpoint} lose their connection.",
                f"Its {words.count(row.databases, 'database')} cannot be reached until it runs again; the data stays.",
            ]
            self._ask("stop", f"Stop {row.name}", effects, label="Stop server", ids=[row.server])

    @rx.event
    @requires(Permission.PROVIDER_DELETE)
    async def ask_delete(self, id: str):
        """Asks before a provider is forgotten, naming what depends on it."""
        if (row := self._row(id)) is None:
            return
        ctx = await asking(self)
        held = await core().databases.list(ctx, ListDatabases(limit=6, provider_id=row.id, sort="name"))
        provers = [r.name for r in self.rows if r.proof == row.name]
        effects = []
        if held.total:
            shown = ", ".join(d.name for d in held.items[:5]) + (" …" if held.total > 5 else "")
            effects.append(
                f"{words.count(held.total, 'database')} depend on it ({shown}): delete them first, or this is refused."
            )
        if provers:
            effects.append(
                f"It proves the backups of {', '.join(provers)}: name another proof provider there first."
            )
        effects += [
            "The console forgets its address and its sealed password.",
            "Nothing on the engine itself is touched; stored backups stay.",
        ]
        self._ask(
            "delete", f"Delete {row.name}", effects, label="Delete provider", ids=[row.id], name=row.name
        )

    async def _confirmed(self, verb: str, ids: tuple[str, ...], typed: str, reason: str) -> Any:
        ctx = replace(await asking(self), reason=reason or None)
        if verb == "stop":
            await core().engines.stop(ctx, StopEngine(name=ids[0]))
        else:
            await core().providers.delete(ctx, DeleteProvider(id=ids[0], confirm=typed))
        await self._reload()
        return toast("success", "Server stopped" if verb == "stop" else "Provider deleted")
