"""Indexes of collections: made without stopping writers, known by the comment that the first of them carries.

One that people declare is up to three here: over the keys of its paths, which finds equal values and ranges of texts; if
it has one path, one that finds ranges of numbers (what an index over several paths finds by the first ones is few enough
to look at) and has the order of numbers and of texts; and if it is unique, one that forbids.
"""

import hashlib
import re

import orjson
from asyncpg import exceptions as pg

from ...domain.errors import Conflict, NameTaken, NotFound
from ...domain.record import Index
from .collection_keys import index_columns, sorted_columns, unique_columns
from .collection_table import parts_of, plain
from .dial import Connection
from .sql import ident, literal

FOUND = """
select c.relname::text as name, d.description as said, i.indisvalid as valid
from pg_index i join pg_class c on c.oid = i.indexrelid
join pg_description d on d.objoid = c.oid and d.classoid = 'pg_class'::regclass and d.objsubid = 0
where i.indrelid = to_regclass($1) and not i.indisprimary order by 1
"""
BROKEN = """
select c.relname::text from pg_index i join pg_class c on c.oid = i.indexrelid
where i.indrelid = to_regclass($1) and not i.indisvalid and c.relname = $2
"""
#: Full-text indexes, which administrators make: over one expression that makes a tsvector, of all rows.
WORDS = """
select pg_get_expr(i.indexprs, i.indrelid) from pg_index i join pg_class c on c.oid = i.indexrelid
join pg_opclass o on o.oid = i.indclass[0]
where i.indrelid = to_regclass($1) and i.indisvalid and i.indpred is null and i.indnatts = 1 and i.indexprs is not null
  and o.opcname = 'tsvector_ops' order by c.relname limit 1
"""
#: The language of an expression; without one both sides take the database's own.
LANGUAGE = re.compile(r"to_tsvector\(('(?:[^']|'')+'::regconfig)")
#: How names begin of an index over keys, of what has an order, and of what forbids; no collection's does.
INDEX, SORTED, UNIQUE = "_i_", "_s_", "_u_"
SAID = "select obj_description(to_regclass($1), 'pg_class')"


def place_of(key: str) -> str:
    """A collection's table as SQL names it."""
    schema, name = parts_of(key)
    return f"{ident(schema)}.{ident(name)}"


def beside(collection: str, name: str) -> str:
    """Something in the schema of a collection as SQL names it."""
    return f"{ident(parts_of(collection)[0])}.{ident(name)}"


def physical(collection: str, index: str, sort: str = INDEX) -> str:
    """The name of an index: those of one schema share their names, and names end at 63 bytes."""
    collection = plain(collection)
    digest = hashlib.blake2b(f"{collection}.{index}".encode(), digest_size=5).hexdigest()
    return f"{sort}{collection[:24]}_{index[:24]}_{digest}"


def said(index: Index) -> str:
    return orjson.dumps({"name": index.name, "paths": index.paths, "unique": index.unique}).decode()


def parsed(text: str) -> Index | None:
    """The index that a comment describes; none for a comment that is not ours."""
    try:
        found = orjson.loads(text)
        return Index(found["name"], tuple(tuple(path) for path in found["paths"]), found["unique"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None


async def listed(connection: Connection, collection: str) -> tuple[Index, ...]:
    rows = await connection.fetch(FOUND, place_of(collection))
    found = [parsed(row["said"]) for row in rows if row["valid"]]
    return tuple(sorted((index for index in found if index is not None), key=lambda index: index.name))


async def words(connection: Connection, collection: str) -> str | None:
    """The condition that finds words by a full-text index, up to the words; none without such an index."""
    found = await connection.fetchval(WORDS, place_of(collection))
    if found is None:
        return None
    language = LANGUAGE.search(found)
    return f"({found}) @@ websearch_to_tsquery({language[1] + ', ' if language else ''}"


async def create(connection: Connection, collection: str, index: Index) -> None:
    """Make an index while others write. What an interrupted attempt left is removed first."""
    for known in await listed(connection, collection):
        if known.name == index.name:
            if known == index:
                return
            raise NameTaken(f"The index {index.name!r} is over something else.", field="name")
    name = physical(collection, index.name)
    await _make(connection, collection, name, index_columns(index))
    if len(index.paths) == 1:
        sorting = physical(collection, index.name, SORTED)
        await _make(connection, collection, sorting, sorted_columns(index.paths[0]))
    if index.unique:
        try:
            await _make(
                connection, collection, physical(collection, index.name, UNIQUE), unique_columns(index)
            )
        except pg.UniqueViolationError as error:
            await _remove(connection, collection, index.name)
            raise Conflict(
                f"Documents of {plain(collection)} hold the same values there.",
                field="paths",
                hint="Make them different first.",
            ) from error
    await connection.execute(f"comment on index {beside(collection, name)} is {literal(said(index))}")


async def _make(connection: Connection, collection: str, name: str, columns: str) -> None:
    if await connection.fetchval(BROKEN, place_of(collection), name):
        await connection.execute(f"drop index if exists {beside(collection, name)}")
    unique = "unique " if name.startswith(UNIQUE) else ""
    try:
        await connection.execute(
            f"create {unique}index concurrently if not exists {ident(name)} on {place_of(collection)}"
            f" ({columns})"
        )
    except pg.PostgresError:
        raise
    except BaseException:
        connection.terminate()  # the next attempt finds what is left, and removes it
        raise


async def _remove(connection: Connection, collection: str, name: str) -> None:
    for sort in (UNIQUE, SORTED, INDEX):
        place = beside(collection, physical(collection, name, sort))
        await connection.execute(f"drop index concurrently if exists {place}")


async def drop(connection: Connection, collection: str, name: str) -> None:
    if name not in {index.name for index in await listed(connection, collection)}:
        raise NotFound(f"{plain(collection)} has no index {name!r}.", field="name")
    await _remove(connection, collection, name)


async def unique_name(connection: Connection, collection: str, constraint: str) -> str:
    """What people call the index of a violated constraint."""
    place = beside(collection, INDEX + constraint.removeprefix(UNIQUE))
    index = parsed(await connection.fetchval(SAID, place) or "")
    return constraint if index is None else index.name
