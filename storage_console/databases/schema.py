"""Tables and collections as the schema tab shows them."""

from dataclasses import dataclass

from storage_console.parts import words
from storage_core.domain.database import ObjectInfo


@dataclass(frozen=True, slots=True)
class ColumnRow:
    """A column or field."""

    name: str
    type: str
    nullable: str
    default: str


@dataclass(frozen=True, slots=True)
class IndexRow:
    """An index."""

    name: str
    definition: str
    unique: bool


@dataclass(frozen=True, slots=True)
class ObjectRow:
    """A table, collection, view or other named thing."""

    name: str
    kind: str
    rows: str
    size: str
    columns: list[ColumnRow]
    indexes: list[IndexRow]
    definition: str


def object_row(o: ObjectInfo) -> ObjectRow:
    """An object as displayed; a dash stands for what the engine does not say."""
    return ObjectRow(
        o.name,
        o.kind.replace("_", " "),
        "" if o.rows is None else words.count(o.rows, "row"),
        "" if o.size_bytes is None else words.size(o.size_bytes),
        [ColumnRow(c.name, c.type, "yes" if c.nullable else "no", c.default or "—") for c in o.columns],
        [IndexRow(i.name, i.definition, i.unique) for i in o.indexes],
        o.definition or "",
    )
