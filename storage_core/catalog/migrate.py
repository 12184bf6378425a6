"""Bring a catalog to this version's tables, once, before anything else opens it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from ..domain.errors import Unavailable

if TYPE_CHECKING:
    from alembic.config import Config

# Alembic is imported where it is used: most starts find the catalog at this version already.

MIGRATIONS = Path(__file__).parent / "migrations"

_LOCK = 7_230_418


def _config(connection: Connection | None = None) -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config


def newest() -> str | None:
    """The revision this version of the program expects."""
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(_config()).get_current_head()


async def migrate(engine: AsyncEngine) -> None:
    """Upgrade to the newest revision in one transaction; two processes at once wait for each other."""
    from alembic import command
    from alembic.util.exc import CommandError

    async with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            await connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        try:
            await connection.run_sync(lambda sync: command.upgrade(_config(sync), "head"))
        except CommandError as error:
            raise Unavailable(
                "The catalog belongs to a newer version of the program.", hint="Start that version."
            ) from error


def newest_file() -> str:
    """The newest revision by its file's name (``0001_first_tables.py``), without loading Alembic."""
    return max(p.name.partition("_")[0] for p in (MIGRATIONS / "versions").glob("[0-9]*.py"))


async def versions(engine: AsyncEngine) -> tuple[str | None, int | None]:
    """What a database is at: the catalog's revision, and the job store's own number where it lives there, too."""
    jobs = "dbos.dbos_migrations" if engine.dialect.name == "postgresql" else "dbos_migrations"
    revision = await _scalar(engine, "select version_num from catalog_version")
    return revision, await _scalar(engine, f"select version from {jobs}")  # noqa: S608 - one of two constants


async def _scalar(engine: AsyncEngine, query: str) -> Any:
    try:
        async with engine.connect() as connection:
            await connection.execution_options(readonly=True)
            return (await connection.execute(text(query))).scalar()
    except DBAPIError:  # no such table yet; whatever else is wrong shows when migrating
        return None
