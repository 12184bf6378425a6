"""The configuration page's state: options that change while it runs, and what it was started with."""

from dataclasses import dataclass, replace
from typing import Any

import reflex as rx

from storage_console.core import core
from storage_console.parts import words
from storage_console.parts.confirm import ConfirmState
from storage_console.parts.live import LiveState
from storage_console.session import (
    NO_PROBLEM,
    Permission,
    Problem,
    StorageError,
    asking,
    problem_of,
    requires,
    toast,
)
from storage_core.domain.option import KEYS, read, written
from storage_core.services.configuration import ListSettings, Setting, UpdateSetting

SOURCES = {"default": "default", "environment": "environment", "file": "settings file", "stored": "set here"}
TONES = {"environment": "info", "file": "info", "stored": "ok"}


@dataclass(frozen=True, slots=True)
class SettingRow:
    """A setting as displayed; `value` is in words where it is a secret or not set."""

    id: str
    title: str
    text: str
    value: str
    raw: str
    source: str
    tone: str
    kind: str
    default: str
    note: str
    changed: float


WORDS = {"url": "URL", "pg": "PostgreSQL", "bin": "programs", "two": "two-", "jwt": "JWT", "jwks": "JWKS"}


def _title(key: str) -> str:
    words = " ".join(WORDS.get(w, w) for w in key.removeprefix("STORAGE_").lower().split("_"))
    words = words.replace("- ", "-")
    return words[:1].upper() + words[1:]


def setting_row(row: Setting) -> SettingRow:
    """A setting in words."""
    value = {None: "not set", "": "empty", "true": "on", "True": "on", "false": "off", "False": "off"}.get(
        row.value, row.value or ""
    )
    return SettingRow(
        row.id,
        _title(row.id),
        row.text.replace("`", ""),
        value,
        row.value or "",
        SOURCES.get(row.source, row.source),
        TONES.get(row.source, "off"),
        str(row.kind),
        "empty" if row.default == "" else row.default or "",
        f"by {row.set_by}" if row.set_by else "",
        words.epoch(row.updated_at),
    )


class Configuration(ConfirmState, LiveState, rx.State):
    """Everything that can be set, where each value comes from, and the change being made."""

    options: list[SettingRow] = []
    started: list[SettingRow] = []
    editing: SettingRow = SettingRow("", "", "", "", "", "", "", "", "", "", 0)
    value: str = ""
    check_said: str = ""
    check_problem: Problem = NO_PROBLEM

    async def _read(self) -> None:
        found = await core().configuration.list(await asking(self), ListSettings())
        rows = [setting_row(row) for row in found.items]
        self.options = [row for row in rows if row.id in KEYS]
        self.started = [row for row in rows if row.id not in KEYS]

    @rx.event
    @requires(Permission.SETTINGS_WRITE)
    def change(self, key: str):
        """Opens the change of one option."""
        if row := next((r for r in self.options if r.id == key), None):
            self.editing, self.value = row, row.raw
            if row.kind == "boolean":
                self.value = "false" if row.raw == "true" else "true"
            self._check()
            self._ask(
                "update",
                f"Change {row.title.lower()}",
                [row.text],
                label="Save",
                ids=[key],
                name=key,
                lead="What it does:",
            )

    @rx.event
    @requires(Permission.SETTINGS_WRITE)
    def ask_reset(self, key: str):
        """Asks before an option goes back to its default."""
        if row := next((r for r in self.options if r.id == key), None):
            self.editing = replace(row, kind="")
            effects = [f"It becomes {row.default or 'empty'} again, from now on and without a restart."]
            self._ask("reset", f"Reset {row.title.lower()}", effects, label="Reset", ids=[key], name=key)

    @rx.event
    @requires(Permission.SETTINGS_WRITE)
    def type_value(self, text: str):
        """Takes the new value and checks it, before anything is saved."""
        self.value = str(text)[:2000]
        self._check()

    def _check(self) -> None:
        try:
            new = written(read(self.editing.id, self.value))
        except StorageError as error:
            self.check_problem, self.check_said = problem_of(error), ""
            return
        old = self.editing.raw
        self.check_problem = NO_PROBLEM
        self.check_said = (
            "Nothing changes."
            if new == old
            else f"{old or 'empty'} becomes {new or 'empty'}, without a restart."
        )

    async def _confirmed(self, verb: str, ids: tuple[str, ...], typed: str, reason: str) -> Any:
        ctx = replace(await asking(self), reason=reason or None)
        value = self.value if verb == "update" else None
        done = await core().configuration.update(ctx, UpdateSetting(key=ids[0], value=value, confirm=typed))
        await self._reload()
        return toast("success", f"{_title(done.id)} is {done.value or 'empty'} now")
