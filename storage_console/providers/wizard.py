"""The form that registers or changes a provider: fields, a test step by step, then save."""

from typing import Any

import reflex as rx

from storage_console.core import core
from storage_console.parts import words
from storage_console.parts.form import FormState, Option
from storage_console.providers.state import Providers, StepRow, step_row
from storage_console.session import (
    NO_PROBLEM,
    Permission,
    Problem,
    asking,
    attempt,
    requires,
    toast,
)
from storage_core.domain.errors import InvalidRequest
from storage_core.domain.provider import EngineKind, Provider, StepStatus
from storage_core.services.providers import (
    Connection,
    CreateProvider,
    GetProvider,
    ListProviders,
    TestProvider,
    UpdateProvider,
)

FIELDS = ("name", "host", "port", "user", "password", "database", "tls", "tls_ca", "replica_set", "pooler_host", "pooler_port", "path", "proof_provider_id")  # fmt: skip
TEXTS = ("host", "port", "user", "database", "tls", "tls_ca", "replica_set", "pooler_host", "pooler_port")


def connection(kind: str, data: dict[str, Any]) -> Connection:
    """The connection that the form's fields describe; refuses at the field that is wrong."""
    given = {k: str(v).strip() for k, v in data.items() if isinstance(v, str) and v.strip()}
    if EngineKind(kind).is_files:
        if "path" not in given:
            raise InvalidRequest("The directory is missing.", field="path", hint="Give its absolute path.")
        return Connection(path=given["path"])
    if "host" not in given:
        raise InvalidRequest("The host is missing.", field="host", hint="Give the server's name or address.")
    for port in ("port", "pooler_port"):
        if not given.get(port, "1").isdigit():
            raise InvalidRequest("The port is a number from 1 to 65535.", field=port)
    wanted: dict[str, Any] = {k: given[k] for k in TEXTS if k in given}
    if kind != "mongodb":
        wanted.pop("replica_set", None)
    if kind != "postgresql":
        wanted.pop("pooler_host", None)
        wanted.pop("pooler_port", None)
    if data.get("password"):
        wanted["password"] = str(data["password"])
    return Connection(**wanted)


class ProviderForm(FormState, rx.State):
    """The wizard. The password goes from the browser to the core, never into a var."""

    kind: str = "postgresql"
    editing: str = ""
    private: bool = False
    key: int = 0
    testing: bool = False
    tested: str = ""  # passed, failed or, before a test, empty
    steps: list[StepRow] = []
    proofs: list[Option] = []
    given: dict[str, str] = {}
    _id: str = ""
    _intent: str = "test"

    def _begin(self) -> None:
        self._form_reset(shown=True)
        self.key += 1
        self.testing, self.tested = False, ""
        self.steps.clear()
        self._intent = "test"

    async def _proofs(self) -> None:
        ctx = await asking(self)
        found = await core().providers.list(ctx, ListProviders(limit=500, kind=self.kind, sort="name"))
        others = [Option(p.id, p.name) for p in found.items if p.id != self._id]
        self.proofs = [Option("none", "On the provider itself"), *others]

    @rx.event
    @requires(Permission.PROVIDER_WRITE)
    async def begin(self, kind: str):
        """Opens the wizard for a new provider."""
        self._begin()
        self._id, self.editing, self.private = "", "", False
        self.given.clear()
        self.kind = kind if kind in words.KINDS else "postgresql"
        await self._proofs()

    @rx.event
    @requires(Permission.PROVIDER_WRITE)
    async def edit(self, id: str):
        """Opens it for a registered provider; its password stays where it is."""
        row = await core().providers.get(await asking(self), GetProvider(id=str(id)))
        self._begin()
        self._id, self.editing, self.kind = row.id, row.name, row.kind.value
        self.private, self.given = row.server is not None, _given(row)
        await self._proofs()

    @rx.event
    @requires(Permission.PROVIDER_WRITE)
    async def choose_kind(self, kind: str):
        """Switches the engine; what was typed stays."""
        if kind in words.KINDS and not self._id:
            self.kind, self.tested = kind, ""
            self.steps.clear()
            await self._proofs()

    @rx.event
    @requires(Permission.SIGNED_IN)
    def intend(self, what: str):
        """Which of the form's buttons was pressed."""
        self._intent = "save" if what == "save" else "test"

    @rx.event
    @requires(Permission.PROVIDER_WRITE)
    async def submit(self, data: dict[str, Any]):
        """Tests the connection, or saves it."""
        if self.form_busy or self.testing or not isinstance(data, dict):
            return
        self._form_reset(shown=True)
        self.testing, self.form_busy = self._intent == "test", self._intent == "save"
        if self.testing:
            self.tested = ""
            self.steps.clear()
        yield
        done, failed = await attempt(self._test(data) if self.testing else self._save(data))
        saved = self.form_busy
        self.testing, self.form_busy = False, False
        if failed.code:
            self._form_failed(failed)
        elif saved:
            self._form_reset(shown=False)
            yield done

    def _form_failed(self, found: Problem) -> None:
        name = found.field.removeprefix("connection.")
        self.form_problem = NO_PROBLEM
        if name in FIELDS:
            self.form_errors = {name: f"{found.detail} {found.hint}".strip()}
        else:
            self.form_problem = found

    async def _test(self, data: dict[str, Any]) -> None:
        ctx = await asking(self)
        if self.private or (self._id and not data.get("password") and self._same(data)):
            wanted = TestProvider(id=self._id)
        else:
            wanted = TestProvider(kind=EngineKind(self.kind), connection=connection(self.kind, data))
        steps = await core().providers.test(ctx, wanted)
        self.steps = [step_row(step) for step in steps]
        self.tested = "failed" if any(s.status is StepStatus.FAILED for s in steps) else "passed"

    def _same(self, data: dict[str, Any]) -> bool:
        return all(str(data.get(k, "")).strip() == v for k, v in self.given.items() if k in (*TEXTS, "path"))

    async def _save(self, data: dict[str, Any]) -> Any:
        ctx = await asking(self)
        name, proof = str(data.get("name", "")).strip(), str(data.get("proof_provider_id") or "none")
        if not self._id:
            wanted = CreateProvider(
                name=name,
                kind=EngineKind(self.kind),
                connection=connection(self.kind, data),
                proof_provider_id=None if proof == "none" else proof,
            )
            row = await core().providers.create(ctx, wanted)
            return [toast("success", f"{row.name} is registered"), Providers.refresh]
        kept = self.private or (not data.get("password") and self._same(data))
        change = UpdateProvider(
            id=self._id,
            name=name,
            connection=None if kept else connection(self.kind, data),
            proof_provider_id=proof,
        )
        row = await core().providers.update(ctx, change)
        return [toast("success", f"{row.name} saved"), Providers.refresh]


def _given(row: Provider) -> dict[str, str]:
    end = row.endpoint
    known: dict[str, Any] = {
        "name": row.name, "host": end.host, "port": end.port, "user": end.user, "database": end.database,
        "tls": end.tls.value, "tls_ca": end.tls_ca, "replica_set": end.replica_set, "path": end.path,
        "pooler_host": end.pooler_host, "pooler_port": end.pooler_port,
        "proof_provider_id": row.proof_provider_id or "none",
    }  # fmt: skip
    return {k: "" if v is None else str(v) for k, v in known.items()}
