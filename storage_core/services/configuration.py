"""Settings: what the console was started with, and the options that can be set while it runs."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated

from pydantic import Field

from ..domain.context import Context
from ..domain.option import (
    KEYS,
    OptionKind,
    Options,
    StoredOption,
    option_default,
    option_kind,
    option_text,
    read,
    written,
)
from ..domain.page import MAX_LIMIT, Page, Query
from ..domain.permission import Permission, Target
from ..ports.catalog import UnitOfWork
from .kernel import Kernel, Service, options_in
from .operation import Effect, operation
from .request import LINES, Request
from .targets import everything


@dataclass(frozen=True, slots=True)
class Setting:
    """One value in force. `source` is default, environment, file or stored; only stored ones change while it runs.

    `restart`: it is read when the console starts. `value` is None where it is a secret, and where there is none.
    """

    id: str
    text: str
    value: str | None
    source: str
    restart: bool
    kind: str = OptionKind.TEXT
    default: str | None = None
    set_by: str | None = None
    updated_at: datetime | None = None


class ListSettings(Request):
    """List every setting with its value and where that comes from."""

    q: Annotated[str, LINES] = Field("", max_length=200, examples=[""])
    """Free text to look for in names and descriptions."""


class UpdateSetting(Request):
    """Set an option while the console runs; without a value it goes back to its default."""

    key: str = Field(min_length=1, max_length=64, examples=["two_person_rule"])
    """The option's name."""
    value: str | None = Field(None, max_length=2000, examples=["true"])
    """The new value; the default, if left out."""
    confirm: str = Field("", max_length=64, examples=["two_person_rule"])
    """The option's exact name, typed as a confirmation."""


async def _option(uow: UnitOfWork, _ctx: Context, request: UpdateSetting) -> Target:
    if request.key not in KEYS:
        read(request.key, "")  # says what there is
    row = await uow.options.get(request.key)
    return Target(
        "setting", request.key, request.key, version="" if row is None else row.updated_at.isoformat()
    )


def _safety(request: UpdateSetting) -> Permission | None:
    """The rule that asks for a second person is not switched off by one."""
    return Permission.SAFETY_WRITE if request.key == "two_person_rule" else None


class Configuration(Service):
    """The settings' operations. `started` is what the console was started with."""

    def __init__(self, kernel: Kernel, started: tuple[Setting, ...]) -> None:
        super().__init__(kernel)
        self._started = started

    @operation("settings.list", needs=Permission.SETTINGS_READ, on=everything("setting"), effect=Effect.READ)
    async def list(self, ctx: Context, request: ListSettings) -> Page[Setting]:
        async with self.kernel.catalog.read() as uow:
            options = await options_in(uow)
            stored = {r.id: r for r in (await uow.options.find(Query(limit=MAX_LIMIT))).items}
        rows = (*(_shown(key, options, stored.get(key)) for key in KEYS), *self._started)
        word = request.q.strip().lower()
        found = tuple(r for r in rows if word in r.id.lower() or word in r.text.lower())
        return Page(found, None, len(found))

    @operation("settings.update", needs=Permission.SETTINGS_WRITE, on=_option, also=_safety)
    async def update(self, ctx: Context, request: UpdateSetting) -> Setting:
        value = written(read(request.key, request.value)) if request.value is not None else None
        now = self.kernel.now()
        async with self.kernel.catalog.write() as uow:
            row = await uow.options.get(request.key)
            if value is None:
                await uow.options.remove(request.key)
            elif row is None:
                await uow.options.add(StoredOption(request.key, value, ctx.actor.name, now, now))
            else:
                await uow.options.save(replace(row, value=value, set_by=ctx.actor.name, updated_at=now))
            return _shown(request.key, await options_in(uow), await uow.options.get(request.key))


def _shown(key: str, options: Options, stored: StoredOption | None) -> Setting:
    return Setting(
        key,
        option_text(key),
        written(getattr(options, key)),
        "default" if stored is None else "stored",
        restart=False,
        kind=option_kind(key),
        default=option_default(key),
        set_by=None if stored is None else stored.set_by,
        updated_at=None if stored is None else stored.updated_at,
    )
