"""An application's Alembic revisions, run on one database at a time, and on many at once."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal

from alembic import context as alembic_context
from alembic import op as alembic_op
from alembic.config import Config
from alembic.operations import Operations
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, RevisionStep
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import BLANK_SCHEMA, Connection, MetaData, text
from sqlalchemy.types import TypeDecorator

from ..domain.errors import Conflict, Internal, InvalidRequest, StorageError

_operations: ContextVar[Operations] = ContextVar("alembic_operations")
_environment: ContextVar[EnvironmentContext] = ContextVar("alembic_environment")


class _Current:
    """Stands where Alembic keeps the one migration of a process, and answers with the one of the task at hand.

    Without it ``op.execute`` in a revision would go to whichever tenant began last.
    """

    def __init__(self, of: ContextVar[Any]) -> None:
        self._of = of

    def __getattr__(self, name: str) -> Any:
        return getattr(self._of.get(), name)


class Revisions:
    """The revisions below a directory, loaded once. `target` is where to go: a revision, or ``head``."""

    def __init__(self, location: str | Path, target: str = "head", models: Iterable[MetaData] = ()) -> None:
        """:param location: the directory that holds ``versions``, or an ``alembic.ini`` that names it.
        :param models: where the naming convention of constraints comes from.
        """
        self.location, self._models = Path(location).absolute(), list(models)
        self._config = _config(self.location)
        try:
            self._directory = ScriptDirectory.from_config(self._config)
            found = self._directory.get_revisions(target)
        except CommandError as error:
            raise _bad(self.location, error) from error
        except StorageError:
            raise
        except Exception as error:
            raise _bad(self.location, error) from error
        if any(each is None for each in found) or not found:
            raise InvalidRequest(
                f"{self.location} holds no revisions.", field="scripts", hint="Make one: alembic revision."
            )
        self.target = said_heads(each.revision for each in found if each is not None) or target

    def pending(self, heads: Iterable[str]) -> list[RevisionStep]:
        """Steps from where a database stands to the target, in order."""
        try:
            # What Alembic's own `upgrade` runs; its annotation forgets that a database may stand on branches.
            stands: Any = tuple(heads)
            return list(self._directory._upgrade_revs(self.target_list, stands))
        except CommandError as error:
            raise Conflict(
                f"The database stands where these scripts cannot go on: {error}.",
                hint="Run the scripts of the version that migrated it last, or newer ones.",
            ) from error

    @property
    def target_list(self) -> Any:
        return tuple(self.target.split(", "))

    def heads(self, connection: Connection, schema: str | None) -> tuple[str, ...]:
        """Where a database stands."""
        return MigrationContext.configure(
            connection, opts={"version_table_schema": schema}
        ).get_current_heads()

    def step(self, connection: Connection, schema: str | None, lock: str | None) -> bool:
        """Run the next revision in a transaction of its own; whether there was one.

        :param connection: outside of a transaction.
        :param lock: a statement that keeps others waiting until the transaction ends.
        """
        ran: list[RevisionStep] = []

        def next_one(heads: tuple[str, ...], _context: MigrationContext) -> list[RevisionStep]:
            ran.extend(self.pending(heads)[:1])
            return ran

        self._run(next_one, connection, schema, lock)
        return bool(ran)

    def stamp(self, connection: Connection, schema: str | None, lock: str | None) -> bool:
        """Note that a database stands at the target, whatever it stood at; nothing of the revisions runs."""

        def noted(heads: tuple[str, ...], _context: MigrationContext) -> list[Any]:
            return list(self._directory._stamp_revs(self.target_list, heads))

        self._run(noted, connection, schema, lock)
        return False

    def _run(
        self, steps: Callable[..., list[Any]], connection: Connection, schema: str | None, lock: str | None
    ) -> None:
        environment = EnvironmentContext(self._config, self._directory)
        environment.configure(
            connection=connection,
            target_metadata=self._models or None,
            version_table_schema=schema,
            transactional_ddl=True,
            fn=steps,
        )
        migration = environment.get_context()
        with migration.begin_transaction():
            if lock is not None:
                connection.execute(text(lock))
            if schema is not None:
                connection.execute(
                    text("select set_config('search_path', :schema, true)"), {"schema": schema}
                )
            with _current(environment, Operations(migration)):
                migration.run_migrations()


@contextmanager
def _current(environment: EnvironmentContext, operations: Operations) -> Iterator[None]:
    """Let ``alembic.op`` and ``alembic.context`` mean this migration in this task, and in no other."""
    for module, of in ((alembic_op, _operations), (alembic_context, _environment)):
        if not isinstance(getattr(module, "_proxy", None), _Current):
            module._proxy = _Current(of)  # type: ignore[attr-defined]  # where Alembic itself looks
    first, second = _operations.set(operations), _environment.set(environment)
    try:
        if alembic_op.get_bind() is not operations.get_bind():
            raise Internal("This version of Alembic cannot migrate several databases at once.")
        yield
    finally:
        _operations.reset(first)
        _environment.reset(second)


def alembic_options(*models: MetaData) -> dict[str, Any]:
    """What an application's ``env.py`` hands to Alembic, so that the revisions it generates fit every tenant:
    ``context.configure(connection=connection, **alembic_options(Base.metadata))``.

    Tables lie in no schema, types of this package and of SQLModel are written as the plain ones that the database has,
    and tables are altered in a way that SQLite knows, too.
    """
    plain = MetaData(naming_convention=models[0].naming_convention if models else None)
    for metadata in models:
        tables: list[Any] = metadata.sorted_tables  # what it takes for no schema, its annotations do not know
        for table in tables:
            table.to_metadata(plain, schema=None, referred_schema_fn=_nowhere)
    return {"target_metadata": plain, "render_item": _plain_type, "render_as_batch": True}


def _nowhere(*_: Any) -> Any:
    return BLANK_SCHEMA


def _plain_type(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    ours = kind == "type" and type(item).__module__.partition(".")[0] in ("storage_core", "sqlmodel")
    return f"sa.{item.impl!r}" if ours and isinstance(item, TypeDecorator) else False


def said_heads(heads: Iterable[str]) -> str | None:
    """Revisions as one text; none where there are none."""
    return ", ".join(sorted(heads)) or None


def _config(location: Path) -> Config:
    if location.is_file():
        return Config(str(location))
    if not location.is_dir():
        raise InvalidRequest(
            f"{location} is not there.",
            field="scripts",
            hint="Name the directory that holds `versions`, or an alembic.ini.",
        )
    config = Config()
    config.set_main_option("script_location", str(location).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _bad(location: Path, error: Exception) -> InvalidRequest:
    return InvalidRequest(
        f"The revisions of {location} cannot be read: {type(error).__name__}: {error}.",
        field="scripts",
        hint="Try `alembic history` there.",
    )
