"""The last steps of a restore: what belongs to the database as a whole."""

import csv

import asyncpg

from .dial import Connection
from .facts import Facts
from .limits import Limits
from .roles import passing
from .sql import ident, literal

#: Parameters whose value is a list of quoted names: each name is a literal of its own.
LISTS = frozenset(
    (
        "local_preload_libraries",
        "search_path",
        "session_preload_libraries",
        "shared_preload_libraries",
        "temp_tablespaces",
        "unix_socket_directories",
    )
)


async def finish(
    connection: Connection, name: str, facts: Facts, limits: Limits, keeps_owners: bool
) -> tuple[str, ...]:
    """Settings, comment, connection limit, grants and owner of the database; answers what could not be done."""
    skipped: list[str] = []
    target = f"database {ident(name)}"
    for role, setting in facts.settings:
        key, _, value = setting.partition("=")
        statement = f"set {_parameter(key)} to {_value(key, value)}"
        if role is None:
            done = await _try(connection, f"alter {target} {statement}")
        else:
            done = keeps_owners and await _try(
                connection, f"alter role {ident(role)} in {target} {statement}"
            )
        if not done:
            skipped.append(f"setting {key}{f' of role {role}' if role else ''}: cannot be set here")
    if facts.comment is not None:
        await connection.execute(f"comment on {target} is {literal(facts.comment)}")
    if facts.connections != -1:
        await connection.execute(f"alter {target} connection limit {facts.connections}")
    if keeps_owners:
        await _grants(connection, target, facts, limits)
    return tuple(skipped)


async def _grants(connection: Connection, target: str, facts: Facts, limits: Limits) -> None:
    if facts.owner in limits.roles:
        await connection.execute(f"alter {target} owner to {ident(facts.owner)}")
    await connection.execute(f"revoke all on {target} from public")
    for role, privilege, again in facts.grants:
        if role is None or (role in limits.roles and not passing(role)):
            whom = "public" if role is None else ident(role)
            option = " with grant option" if again else ""
            await connection.execute(f"grant {privilege} on {target} to {whom}{option}")


async def _try(connection: Connection, statement: str) -> bool:
    try:
        await connection.execute(statement)
    except asyncpg.PostgresError:
        return False
    return True


def _parameter(key: str) -> str:
    return ".".join(ident(part) for part in key.split("."))


def _value(key: str, value: str) -> str:
    if key.lower() not in LISTS:
        return literal(value)
    names: list[str] = next(csv.reader([value], skipinitialspace=True), list[str]())
    return ", ".join(literal(name) for name in names) or "''"
