"""Before the core: the home made, stores brought to this version; the first link, the lost key."""

import asyncio
from importlib.metadata import version
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from ..backing.queue import migrate_jobs
from ..backing.vault import fingerprint, read_recovery
from ..catalog.catalog import open_engine
from ..catalog.migrate import migrate as migrate_catalog
from ..catalog.migrate import newest_file, versions
from ..domain.errors import WrongKey
from ..domain.secret import OPENING
from ..settings import Settings, prepare_home
from .core import Opening, open_core
from .given import master_keys_of


async def migrate(settings: Settings) -> None:
    """Make the home and bring catalog and job store to this version; before any other process opens them."""
    prepare_home(settings)
    note = settings.home / "migrated"
    engine = open_engine(settings.catalog)
    try:
        if settings.jobs == settings.catalog and await _current(engine) == _noted(note):
            return
        await migrate_catalog(engine)
        await asyncio.to_thread(migrate_jobs, settings.jobs)
        note.write_text(await _current(engine) or "", "utf-8")
    finally:
        await engine.dispose()


async def _current(engine: AsyncEngine) -> str | None:
    """What the database is at, if that is this version's catalog; none when there is something to do."""
    revision, jobs = await versions(engine)
    return f"{revision} {jobs} {version('dbos')}" if revision == newest_file() else None


def _noted(note: Path) -> str:
    """What the last migration brought it to; DBOS cannot be asked without loading it."""
    try:
        return note.read_text("utf-8")
    except OSError:
        return ""


async def setup_link(settings: Settings) -> str | None:
    """The one-time address that creates the first SuperAdmin, none when there are users."""
    async with open_core(settings) as core:
        token = await core.auth.setup_token()
    return None if token is None else f"{settings.address}/setup?token={token}"


async def unlock(settings: Settings, recovery: str, passphrase: str) -> str:
    """Put a recovered master key where this home keeps it; answers where. WrongKey unless it is this catalog's."""
    prepare_home(settings)
    key = await asyncio.to_thread(read_recovery, recovery, passphrase)
    opening = Opening(settings)
    try:
        known = await opening.catalog.keys.by_id(fingerprint(key))
    finally:
        await opening.close()
    if known is None or known.state not in OPENING:
        raise WrongKey(
            "The recovery key is not of the master key that this catalog is sealed with.",
            hint="Use the one that was exported last; check STORAGE_HOME and STORAGE_CATALOG_URL.",
        )
    return await asyncio.to_thread(master_keys_of(settings).restore, key)
