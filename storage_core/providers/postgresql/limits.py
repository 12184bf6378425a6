"""What a restore cannot bring back here by its nature: the same rule for restoring and for measuring afterwards."""

import json
from dataclasses import dataclass

from ...domain.backup import ManifestObject
from .contents import EXTENSION_ROWS
from .definitions import EXTENSION, POLICY_NOTE
from .dial import Connection
from .roles import passing

#: Kinds only a superuser can make, with their names in an archive's table of contents.
SUPERUSER_KINDS = {
    "event trigger": ("EVENT TRIGGER",),
    "publication": ("PUBLICATION TABLES IN SCHEMA", "PUBLICATION TABLE", "PUBLICATION"),
    "foreign-data wrapper": ("FOREIGN DATA WRAPPER",),
    "server": ("SERVER",),
    "user mapping": ("USER MAPPING",),
    "foreign table": ("FOREIGN TABLE",),
    "cast": ("CAST",),
    "language": ("PROCEDURAL LANGUAGE",),
    "access method": ("ACCESS METHOD",),
    "operator class": ("OPERATOR CLASS",),
    "operator family": ("OPERATOR FAMILY",),
    "text search parser": ("TEXT SEARCH PARSER",),
    "text search template": ("TEXT SEARCH TEMPLATE",),
    "transform": ("TRANSFORM",),
}

EXTENSIONS = "select name::text, bool_or(trusted) from pg_available_extension_versions group by name"
SETTINGS = "select name, context = 'user' from pg_settings"


@dataclass(frozen=True, slots=True)
class Limits:
    """`extensions` can be created here by our user, `settings` set on a database."""

    user: str
    superuser: bool
    extensions: frozenset[str]
    roles: frozenset[str]
    settings: frozenset[str]

    def missing(self, roles: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(role for role in roles if role not in self.roles and not passing(role))

    def keeps_owners(self, roles: tuple[str, ...]) -> bool:
        """Whether owners and grants that name these roles come back here: all of them, or none."""
        return self.superuser and not self.missing(roles)

    def no_extension(self, name: str) -> str | None:
        """Why the extension cannot be made here; none when it can."""
        if name in self.extensions:
            return None
        why = "is not installed on this server" if self.superuser else "needs an administrator to create it"
        return f"extension {name}: {why}"

    def no_setting(self, name: str) -> bool:
        return "." not in name and name.lower() not in self.settings

    def excuses(self, expected: ManifestObject) -> bool:
        """Whether an object that is missing here could not have been made here."""
        if expected.kind in SUPERUSER_KINDS:
            return not self.superuser
        if expected.kind == EXTENSION_ROWS:
            return self.no_extension(json.loads(expected.note)["extension"]) is not None
        if expected.kind == EXTENSION:
            return self.no_extension(expected.name.strip('"').replace('""', '"')) is not None
        if expected.kind == "policy" and expected.note.startswith(POLICY_NOTE):
            return bool(self.missing(tuple(json.loads(expected.note.removeprefix(POLICY_NOTE)))))
        return expected.kind == "setting" and self.no_setting(expected.name.strip('"'))


async def read_limits(connection: Connection) -> Limits:
    superuser = bool(await connection.fetchval("select current_setting('is_superuser') = 'on'"))
    return Limits(
        user=str(await connection.fetchval("select current_user::text")),
        superuser=superuser,
        extensions=frozenset(
            name for name, trusted in await connection.fetch(EXTENSIONS) if superuser or trusted
        ),
        roles=frozenset(name for (name,) in await connection.fetch("select rolname::text from pg_roles")),
        settings=frozenset(
            name.lower() for name, free in await connection.fetch(SETTINGS) if superuser or free
        ),
    )
