"""Databases of a directory of files: made, found, tidied and described."""

from collections.abc import Mapping

from ...domain.database import (
    DatabaseSchema,
    DatabaseStats,
    ExistingDatabase,
    IndexInfo,
    ObjectInfo,
    OptimizeReport,
)
from ...domain.errors import InvalidRequest
from ...domain.record import Index
from .errors import translated
from .form import Kept, new_base
from .shelf import Shelf
from .shelves import Shelves
from .table import Table


class FileDatabases:
    """The databases below one directory; a name is a path relative to it. They have no settings."""

    def __init__(self, shelves: Shelves) -> None:
        self._shelves, self._form, self._place = shelves, shelves.form, shelves.place

    async def create(self, name: str, settings: Mapping[str, str]) -> str:
        """Make an empty database; answers its absolute path."""
        _refuse_settings(settings)
        return await self._shelves.offline(lambda: self._create(name))

    async def drop(self, name: str) -> None:
        await self._shelves.drop(name)

    async def existing(self) -> tuple[ExistingDatabase, ...]:
        return await self._shelves.offline(self._existing)

    async def stats(self, name: str) -> DatabaseStats:
        shelf = await self._shelves.shelf(name)
        state = shelf.state
        details = (
            ("collections", len(state.tables)),
            ("indexes", sum(len(table.trees) for table in state.tables.values())),
            ("body_bytes", state.bytes),
            ("journal_bytes", shelf.journal_bytes),
        )
        size = await shelf.offline(lambda: self._form.size(shelf.path))
        return DatabaseStats(size, len(state.tables) + len(state.foreign), state.documents, None, details)

    async def schema(self, name: str) -> DatabaseSchema:
        state = (await self._shelves.shelf(name)).state
        ours = [_object(name, table) for name, table in sorted(state.tables.items())]
        others = [
            ObjectInfo(name, "table", len(found) if isinstance(found, dict) else None, None)
            for name, found in sorted(state.foreign.items())
        ]
        return DatabaseSchema((*ours, *others))

    async def configure(self, name: str, settings: Mapping[str, str]) -> None:
        await self._shelves.offline(lambda: self._place.file(name))
        _refuse_settings(settings)

    async def optimize(self, name: str) -> OptimizeReport:
        """Read the files anew, with what was edited by hand, and bring them up to date with the journal."""
        shelf = await self._shelves.shelf(name)
        before = await shelf.offline(lambda: self._form.size(shelf.path))
        journal = shelf.journal_bytes
        await shelf.exclusively(Shelf.tidy)
        after = await shelf.offline(lambda: self._form.size(shelf.path))
        steps = (
            "All files were read anew",
            f"Checkpoint: the journal had {journal} bytes and has {shelf.journal_bytes} now",
        )
        return OptimizeReport(steps, before, after)

    def _create(self, name: str) -> str:
        target = self._place.vacancy(name)
        made = self._place.scratch(target)
        with translated(target):
            try:
                self._form.make(made, Kept(new_base()))
                self._form.publish(made, target)
            finally:
                self._form.remove(made)
        return str(target)

    def _existing(self) -> tuple[ExistingDatabase, ...]:
        return tuple(
            ExistingDatabase(name, self._form.size(path))
            for name, path, _ in self._place.candidates()
            if self._form.is_database(path)
        )


def _refuse_settings(settings: Mapping[str, str]) -> None:
    for name in settings:
        raise InvalidRequest(
            f"There is no setting {name[:60]!r}.",
            field=f"settings.{name}",
            hint="Databases that are files of documents have no settings.",
        )


def _object(name: str, table: Table) -> ObjectInfo:
    size = sum(len(stored.raw) for stored in table.rows.values())
    indexes = tuple(_index(tree.index) for tree in table.trees.values())
    return ObjectInfo(name, "collection", len(table.rows), size, (), indexes)


def _index(index: Index) -> IndexInfo:
    return IndexInfo(index.name, ", ".join(".".join(path) for path in index.paths), index.unique)
