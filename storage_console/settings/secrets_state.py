"""The state of keys, passwords and data keys: what there is, its age and use; never what it is."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import reflex as rx

from storage_console.core import core
from storage_console.parts import words
from storage_console.parts.confirm import ConfirmState
from storage_console.parts.listing import Filter, ListState
from storage_console.session import NO_PROBLEM, Context, Permission, Problem, asking, attempt, requires, toast
from storage_core.domain.page import Page
from storage_core.domain.provider import CredentialsChange
from storage_core.domain.secret import SecretInfo, SecretKind
from storage_core.services.credentials import ChangeCredentials
from storage_core.services.secrets import ListSecrets, RotateMasterKey, RotateSecrets, ValidateSecrets

KINDS = {
    SecretKind.MASTER: "Master key",
    SecretKind.KEY: "Key",
    SecretKind.PASSWORD: "Password",
    SecretKind.VALUE: "Value",
    SecretKind.DATA_KEY: "Data key",
}
USED = {
    SecretKind.KEY: "sealed value",
    SecretKind.MASTER: "key",
    SecretKind.PASSWORD: "database",
    SecretKind.VALUE: "use",
    SecretKind.DATA_KEY: "backup",
}
MASTER_NAME = "master-key"
DRAINED = "Connections of the set before go on until they are done; then it ends."


@dataclass(frozen=True, slots=True)
class SecretRow:
    """A secret in the list; `version` counts its changes, `sealed` names the key over it."""

    id: str
    name: str
    owner: str
    kind: str
    state: str
    version: str
    sealed: str
    sealed_by: str
    used: str
    since: float
    tenant: str
    provider: str
    rotatable: bool


def secret_row(one: SecretInfo) -> SecretRow:
    """A secret as displayed."""
    changed = (
        one.created_at
        if one.kind in (SecretKind.MASTER, SecretKind.KEY, SecretKind.DATA_KEY)
        else one.updated_at
    )
    before = one.what.endswith(" before")  # still in use by calls under way, then forgotten
    return SecretRow(
        one.id,
        KINDS.get(one.kind, one.kind.value) + (" before" if before else ""),
        one.owner_name or one.owner_id,
        one.kind.value,
        one.state.value,
        f"v{one.version}",
        f"{one.key_id[:8]} v{one.key_version}" if one.key_id and one.key_id != one.id else "—",
        one.key_id,
        words.count(one.used_by, USED.get(one.kind, "use")),
        words.epoch(changed),
        one.tenant_id or "",
        "" if before else one.provider_id or "",
        one.kind is SecretKind.KEY and one.state.value == "primary",
    )


class Secrets(ConfirmState, ListState, rx.State):
    """The list and what one does to its rows."""

    rows: list[SecretRow] = []
    recovery_open: bool = False
    replace_open: bool = False
    replace_busy: bool = False
    replace_id: str = ""
    replace_name: str = ""
    replace_problem: Problem = NO_PROBLEM

    _route: ClassVar[str] = "/settings/secrets"
    _noun: ClassVar[str] = "secret"
    _sorts: ClassVar[tuple[str, ...]] = (
        "kind",
        "owner_name",
        "state",
        "used_by",
        "version",
        "created_at",
        "updated_at",
    )
    _filters: ClassVar[tuple[Filter, ...]] = (
        Filter(
            "kind",
            "Kind",
            tuple(f"{kind.value}={label}" for kind, label in KINDS.items()),
            default="!data_key",
        ),
        Filter("state", "State", ("primary", "enabled", "disabled", "destroyed"), default="!destroyed"),
    )
    _export: ClassVar[tuple[str, ...]] = (
        "id", "kind", "what", "owner_id", "owner_name", "tenant_id", "provider_id", "key_id", "key_version", "version",
        "state", "used_by", "created_at", "updated_at", "age_days",
    )  # fmt: skip

    @staticmethod
    async def _list(ctx: Context, ask: dict[str, Any]) -> Page[SecretInfo]:
        return await core().secrets.list(ctx, ListSecrets(**ask))

    @staticmethod
    async def _rows(ctx: Context, items: tuple[SecretInfo, ...]) -> list[SecretRow]:
        return [secret_row(one) for one in items]

    @staticmethod
    def _label(item: Any) -> str:
        return (
            f"{item.name} {item.owner}" if isinstance(item, SecretRow) else f"{item.kind} {item.owner_name}"
        )

    def _closed(self) -> None:
        self.recovery_open = self.replace_open = False
        super()._closed()

    @rx.event
    @requires(Permission.SECRET_MANAGE)
    async def check_all(self):
        """Starts the trial of every secret: each is opened, each engine signed in to."""
        ticket = await core().secrets.validate(await asking(self), ValidateSecrets())
        return [toast("success", "The check has started"), rx.redirect(f"/jobs/{ticket.job_id}")]

    @rx.event
    @requires(Permission.SECRET_MANAGE)
    def ask_rotate(self, id: str):
        """Asks before a key is replaced."""
        if row := next((r for r in self.rows if r.id == id and r.rotatable), None):
            effects = [
                f"A fresh key of {row.owner} seals from now on.",
                f"What the present one sealed ({row.used}) is sealed anew, without a pause; an interruption goes on later.",
                "The present key is destroyed once nothing needs it.",
            ]
            self._ask("rotate", f"Rotate the key of {row.owner}", effects, label="Rotate", ids=[row.tenant])

    @rx.event
    @requires(Permission.PROVIDER_WRITE)
    def replace_show(self, id: str):
        """Opens the form for another password of a provider, or closes it for an unknown id."""
        row = next((r for r in self.rows if r.id == id and r.provider), None)
        self.replace_open, self.replace_busy, self.replace_problem = row is not None, False, NO_PROBLEM
        if row is not None:
            self.replace_id, self.replace_name = row.provider, row.owner

    @rx.event
    @requires(Permission.PROVIDER_WRITE)
    def replace_toggle(self, shown: bool):
        """Closes the form, as dialogs report."""
        self.replace_open = shown is True and self.replace_open

    @rx.event
    @requires(Permission.PROVIDER_WRITE)
    async def replaced(self):
        """After the browser has sent the new password, and it was tested."""
        self.replace_open = False
        await self._reload()
        return toast("success", f"{self.replace_name} signs in with the new password", description=DRAINED)

    @rx.event
    @requires(Permission.PROVIDER_WRITE)
    async def generate(self):
        """Makes a second login on the engine, which takes over."""
        self.replace_busy, self.replace_problem = True, NO_PROBLEM
        yield
        done, self.replace_problem = await attempt(self._generate())
        self.replace_busy = False
        if done is not None:
            self.replace_open = False
            await self._reload()
            yield toast("success", f"{self.replace_name} signs in as {done.user} now", description=DRAINED)

    async def _generate(self) -> CredentialsChange:
        wanted = ChangeCredentials(id=self.replace_id, generate=True)
        return await core().credentials.change(await asking(self), wanted)

    @rx.event
    @requires(Permission.MASTER_KEY)
    def ask_rotate_master(self):
        """Asks before the master key is replaced."""
        effects = [
            "A fresh master key takes the place of the present one; every key is wrapped with it anew.",
            "Where the key comes from the environment or a keyring, give the new one there first.",
            "Backups of the catalog made before need the present key: keep it, or export a recovery key first.",
        ]
        self._ask("master", "Rotate the master key", effects, label="Rotate the master key", name=MASTER_NAME)

    async def _confirmed(self, verb: str, ids: tuple[str, ...], typed: str, reason: str) -> Any:
        ctx = replace(await asking(self), reason=reason or None)
        if verb == "master":
            ticket = await core().secrets.rotate_master(ctx, RotateMasterKey(confirm=typed))
        else:
            ticket = await core().secrets.rotate(ctx, RotateSecrets(tenant_id=ids[0] or None))
        return [toast("success", "The rotation has started"), rx.redirect(f"/jobs/{ticket.job_id}")]

    @rx.event
    @requires(Permission.MASTER_KEY)
    def recovery_show(self, shown: bool):
        """Opens or closes the export of the recovery key."""
        self.recovery_open = shown is True
