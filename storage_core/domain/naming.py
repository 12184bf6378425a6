"""Every physical name, in one place: what a tenant's database is called on each engine."""

import hashlib
import re

from .errors import InvalidRequest
from .provider import EngineKind

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,47}")
NAME_RULE = "1 to 48 of a-z, 0-9, _ and -, beginning with a letter or digit"

# Both PostgreSQL and MongoDB end names at 63 bytes.
MAX_PHYSICAL = 63


def said(name: str, most: int = 60) -> str:
    """A name in a sentence, as it is: quoted, cut, and what cannot be shown marked."""
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name[:most])
    return f"'{shown}{'…' if len(name) > most else ''}'"


def checked_name(value: str, field: str) -> str:
    """Refuse a name that breaks the rule, naming the field."""
    if not NAME.fullmatch(value):
        raise InvalidRequest(
            f"{field} {said(value)} is not a valid name.", field=field, hint=f"Use {NAME_RULE}."
        )
    return value


def physical_name(tenant_id: str | None, tenant_name: str | None, namespace: str | None, name: str) -> str:
    """The name of a database on a server: readable, at most 63 bytes, different for every tenant.

    The digest over the ids makes it injective: tenant ``a_b`` with ``c`` and tenant ``a`` with ``b_c`` differ.
    """
    parts = (tenant_id or "", namespace or "", name)
    digest = hashlib.blake2b("\x00".join(parts).encode(), digest_size=5).hexdigest()
    readable = "_".join(p.replace("-", "_") for p in (tenant_name or "system", namespace, name) if p)
    return f"sc_{readable[: MAX_PHYSICAL - len(digest) - 4]}_{digest}"


#: The database of a PostgreSQL server whose schemas are databases to people (`isolation: schema`).
SHARED = "sc_shared"


def schema_name(physical: str) -> str:
    """The physical name of a database that is a schema of the shared one."""
    return f"{SHARED}/{physical}"


def schema_in(physical: str) -> str | None:
    """The schema that a database on PostgreSQL is; none where it is a database of the server's."""
    return physical.removeprefix(f"{SHARED}/") if physical.startswith(f"{SHARED}/") else None


def server_name(physical: str) -> str:
    """What a PostgreSQL server calls the database that one signs in to."""
    return physical if schema_in(physical) is None else SHARED


#: How the names of databases end that are files; those that are folders have no ending.
SUFFIXES = {EngineKind.SQLITE: ".sqlite3", EngineKind.TINYDB: ".json", EngineKind.LOCALFILE: ""}


def file_name(kind: EngineKind, tenant_id: str | None, physical: str) -> str:
    """The physical name of a database that is a file or a folder: a path below the provider's root."""
    return f"{tenant_folder(tenant_id)}/{physical}{SUFFIXES[kind]}"


def another_name(physical: str, token: str) -> str:
    """A physical name beside one that is taken; `token` is an id that nothing else has."""
    folder, slash, name = physical.rpartition("/")
    stem, dot, suffix = name.partition(".")
    more = hashlib.blake2b(token.encode(), digest_size=5).hexdigest()
    return f"{folder}{slash}{stem[: MAX_PHYSICAL - len(more) - 1]}_{more}{dot}{suffix}"


def tenant_folder(tenant_id: str | None) -> str:
    """The directory of a tenant below a file-based provider's root."""
    return f"tenant-{tenant_id}" if tenant_id else "system"


def is_ours(physical: str) -> bool:
    """Whether a physical name was made here (`physical_name`, `file_name`) rather than by somebody else."""
    return physical.rpartition("/")[2].startswith("sc_")


def scratch_name(job_id: str) -> str:
    """A throw-away database for a job's proof; prefix and job let the reaper recognise leftovers."""
    return SCRATCH_PREFIX + job_id.replace("-", "_")


def scratch_job(physical: str) -> str | None:
    """The job a throw-away database was made for; none for any other database."""
    _, prefix, token = physical.partition(SCRATCH_PREFIX)
    return token.partition(".")[0].replace("_", "-") if prefix else None


SCRATCH_PREFIX = "sc_scratch_"


def artifact_key(tenant_id: str | None, database_id: str, backup_id: str) -> str:
    """Where a backup lies in the artifacts store."""
    return f"artifacts/{tenant_folder(tenant_id)}/{database_id}/{backup_id}.scb"
