"""Every place in the catalog that holds an envelope. A table that gets one is entered here, and a test sees to it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import RowMapping, bindparam, false, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ..domain.encryption import Encryption
from ..domain.idempotency import Remembered
from ..domain.secret import Binding, Sealed, Secret, WrappedKey, key_of
from . import tables
from .mapping import Mapper

if TYPE_CHECKING:
    from .keys import Begin


@dataclass(frozen=True, slots=True)
class Place:
    """A table whose rows hold one envelope each, in `column`; its `key_id` says who sealed it."""

    table: Any
    column: str
    binding: Callable[[RowMapping], Binding]


def _place(cls: Any, row: Any, column: str) -> Place:
    mapper: Mapper[Any] = Mapper(cls, row.__table__)
    return Place(row.__table__, column, lambda found: mapper.value(found).binding)


PLACES: Mapping[str, Place] = {
    "data_keys": _place(WrappedKey, tables.DataKeyRow, "wrapped"),
    "encryptions": _place(Encryption, tables.EncryptionRow, "wrapped"),
    "remembered": _place(Remembered, tables.RememberedRow, "body"),
    "secrets": _place(Secret, tables.SecretRow, "envelope"),
}


async def references(connection: AsyncConnection, key_ids: Sequence[str]) -> int:
    """How many envelopes these keys sealed."""
    total = 0
    for place in PLACES.values():
        query = select(func.count()).select_from(place.table).where(place.table.c.key_id.in_(key_ids))
        total += int((await connection.execute(query)).scalar_one())
    return total


class SqlEnvelopes:
    """The envelopes port over the catalog's tables."""

    def __init__(self, begin: "Begin", hold: Callable[[AsyncConnection, str], Any]) -> None:
        self._begin, self._hold = begin, hold

    async def sealed_by(self, key_id: str, mark: tuple[str, str], limit: int) -> tuple[Sealed, ...]:
        return await self._beyond(mark, limit, lambda columns: columns.key_id == key_id)

    async def after(self, tenant_id: str | None, mark: tuple[str, str], limit: int) -> tuple[Sealed, ...]:
        def asked(columns: Any) -> Any:
            if tenant_id is None:
                return columns.key_id != ""
            return columns.tenant_id == tenant_id if "tenant_id" in columns else false()

        return await self._beyond(mark, limit, asked)

    async def _beyond(
        self, mark: tuple[str, str], limit: int, asked: Callable[[Any], Any]
    ) -> tuple[Sealed, ...]:
        """Rows in the order of table and id."""
        found: list[Sealed] = []
        async with self._begin(readonly=True) as connection:
            for noun, place in sorted(PLACES.items()):
                if noun < mark[0] or len(found) >= limit:
                    continue
                columns = place.table.c
                query = (
                    select(place.table).where(asked(columns)).order_by(columns.id).limit(limit - len(found))
                )
                if noun == mark[0]:
                    query = query.where(columns.id > mark[1])
                found += await _read(connection, noun, query)
        return tuple(found)

    async def replace(self, changes: Sequence[tuple[Sealed, str]]) -> int:
        done = 0
        async with self._begin(readonly=False) as connection:
            for key_id in sorted({key_of(fresh) for _, fresh in changes}):
                await self._hold(connection, key_id)
            for noun, place in PLACES.items():
                mine = [(one, fresh) for one, fresh in changes if one.noun == noun]
                if mine:
                    await connection.execute(_exchange(place), [_values(one, fresh) for one, fresh in mine])
                    done += len(mine)
        return done

    async def count(self, key_ids: Sequence[str]) -> int:
        async with self._begin(readonly=True) as connection:
            return await references(connection, key_ids)


def _exchange(place: Place) -> Any:
    table = place.table
    return (
        update(table)
        .where(table.c.id == bindparam("row"), table.c[place.column] == bindparam("old"))
        .values(
            {
                place.column: bindparam("fresh"),
                "key_id": bindparam("key"),
                "row_version": table.c.row_version + 1,
            }
        )
    )


def _values(one: Sealed, fresh: str) -> dict[str, str]:
    return {"row": one.id, "old": one.envelope, "fresh": fresh, "key": key_of(fresh)}


async def _read(connection: AsyncConnection, noun: str, query: Any) -> list[Sealed]:
    place = PLACES[noun]
    rows = (await connection.execute(query)).mappings()
    return [Sealed(noun, row["id"], row[place.column], place.binding(row)) for row in rows]
