"""The tables port: rows of tables and collections that others made, for people to look at and mend."""

from collections.abc import Mapping
from typing import Any, Protocol

from ..domain.query import Node
from ..domain.table import RowsFind, Table, TableRow


class Tables(Protocol):
    """Rows by physical database and by table name as the database's schema gives it.

    Values are JSON: what JSON holds exactly as itself, everything else in the engine's own text, or tagged. Texts
    that are written are read as the column's type: InvalidRequest, naming the column, where they are none. NotFound
    for a table or row that is not there. Filters mean what the engine's types make of them; a column of JSON is
    reached into by dotted paths.
    """

    async def describe(self, database: str, table: str) -> Table: ...

    async def find(self, database: str, table: str, find: RowsFind) -> list[TableRow]: ...

    async def count(self, database: str, table: str, where: Node | None, most: int) -> int:
        """How many match; counting ends at `most`."""
        ...

    async def get(self, database: str, table: str, key: str) -> TableRow: ...

    async def insert(self, database: str, table: str, data: Mapping[str, Any]) -> TableRow:
        """Add a row; columns that are left out get their defaults. NameTaken where it is there already."""
        ...

    async def update(
        self, database: str, table: str, key: str, data: Mapping[str, Any], was: Mapping[str, Any]
    ) -> TableRow:
        """Change columns of one row; VersionConflict where a column does not hold what `was` says any more."""
        ...

    async def delete(self, database: str, table: str, key: str, was: Mapping[str, Any]) -> None: ...
