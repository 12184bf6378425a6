"""What the console keeps for the person at it: how it looks to them, and their filters of lists."""

from dataclasses import dataclass

from storage_console.core import core
from storage_core.domain.context import Context
from storage_core.domain.preference import SavedFilter
from storage_core.services.preferences import (
    CreateFilter,
    DeleteFilter,
    ListFilters,
    ShowPreferences,
    UpdatePreferences,
)


@dataclass(frozen=True, slots=True)
class Look:
    """Somebody's preferences as pages apply them; empty: not known yet, or the browser's own."""

    theme: str = ""
    density: str = "comfortable"
    motion: str = "system"
    time_zone: str = ""
    language: str = ""
    start_page: str = "/"


@dataclass(frozen=True, slots=True)
class SavedLine:
    """A saved filter as a list offers it; `note` says whose it is."""

    id: str
    name: str
    query: str
    note: str
    mine: bool


async def look_of(ctx: Context) -> Look:
    """The caller's preferences."""
    kept = await core().preferences.show(ctx, ShowPreferences())
    return Look(
        kept.theme.value,
        kept.density.value,
        kept.motion.value,
        kept.time_zone,
        kept.language,
        kept.start_page,
    )


async def keep_look(ctx: Context, **changes: str) -> Look:
    """Change some of the caller's preferences; ValidationError or StorageError names a wrong one."""
    await core().preferences.update(ctx, UpdatePreferences.model_validate(changes))
    return await look_of(ctx)


async def saved_filters(ctx: Context, page: str) -> list[SavedLine]:
    """The filters of a page the caller may see, by name."""
    found = await core().filters.list(ctx, ListFilters(page=page, limit=200))
    return [_line(ctx, row) for row in found.items]


async def save_filter(ctx: Context, page: str, name: str, query: str, *, shared: bool) -> SavedLine:
    """Keep a list's question under a name."""
    wanted = CreateFilter(page=page, name=name, query=query, shared=shared)
    return _line(ctx, await core().filters.create(ctx, wanted))


async def drop_filter(ctx: Context, id: str) -> None:
    """Forget a saved filter."""
    await core().filters.delete(ctx, DeleteFilter(id=id))


def _line(ctx: Context, row: SavedFilter) -> SavedLine:
    mine = row.owner_id == ctx.actor.id
    note = ("shared" if mine else f"by {row.owner_name}") if row.shared else "private"
    return SavedLine(row.id, row.name, row.query, note, mine)
