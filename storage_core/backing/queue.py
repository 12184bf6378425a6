"""Durable jobs on DBOS: the doors enqueue by client, one worker process executes."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError

from ..domain.errors import Unavailable
from ..domain.provider import postmaster_mark
from ..ports.queue import Runner

if TYPE_CHECKING:
    from dbos import DBOSClient, DBOSConfig

# DBOS is imported where it is used: it takes longer than everything else together, and reading needs none of it.

T = TypeVar("T")

#: One workflow runs every durable operation; the job's row says which. Pinned: DBOS's default hashes its own version.
WORKFLOW, QUEUE, VERSION = "storage-job", "storage-jobs", "1"

MARK = "select pg_postmaster_start_time(), oid::int8 from pg_database where datname = current_database()"

POLL_SECONDS = 0.1
#: How long jobs that are cut off may take to put away what they have half made.
CLOSE_SECONDS = 8.0


def jobs_engine(url: str, pool: int) -> sa.Engine:
    """The synchronous engine DBOS uses, from its own threads. SQLite in WAL, writers take the lock at once."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "postgresql":
        return sa.create_engine(
            parsed.set(drivername="postgresql+psycopg"), pool_size=pool, max_overflow=0, pool_pre_ping=True
        )
    engine = sa.create_engine(parsed, pool_size=pool, max_overflow=0, pool_timeout=30)

    @event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _record: Any) -> None:
        connection.isolation_level = "IMMEDIATE"
        for pragma in ("busy_timeout=30000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute("PRAGMA " + pragma)

    return engine


def mark_of(engine: sa.Engine) -> str | None:
    """What tells the job store's database on PostgreSQL from every other; none on SQLite. Blocking."""
    if engine.dialect.name != "postgresql":
        return None
    with _reachable(), engine.connect() as connection:
        started, oid = connection.execute(sa.text(MARK)).one()
    return postmaster_mark(started, oid)


def migrate_jobs(url: str) -> None:
    """Make the job store's tables; blocking."""
    from dbos import DBOS

    DBOS.migrate(_dbos_url(url))


def _dbos_url(url: str) -> str:
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    return parsed.render_as_string(hide_password=False)


class DbosQueue:
    """The doors' side of the queue."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    @cached_property
    def _client(self) -> "DBOSClient":
        from dbos import DBOSClient, DBOSPortableJSONSerializer

        return DBOSClient(
            system_database_engine=self._engine, serializer=DBOSPortableJSONSerializer(), lazy=True
        )

    def _options(self, job_id: str) -> Any:
        return {"workflow_name": WORKFLOW, "queue_name": QUEUE, "workflow_id": job_id, "app_version": VERSION}

    def enqueue_in(self, connection: Any, job_id: str) -> None:
        self._client.enqueue_in_transaction(connection, self._options(job_id), job_id)

    async def enqueue(self, job_id: str) -> None:
        with _reachable():
            await self._client.enqueue_async(self._options(job_id), job_id)

    async def resume(self, job_id: str) -> None:
        with _reachable():
            await self._client.resume_workflow_async(job_id, queue_name=QUEUE)

    async def known(self, job_id: str) -> str | None:
        with _reachable():
            found = await self._client.list_workflows_async(
                workflow_ids=[job_id], load_input=False, load_output=False
            )
        return found[0].status if found else None

    async def close(self) -> None:
        client = self.__dict__.get("_client")
        if client is not None:
            await asyncio.to_thread(client.destroy)


@contextmanager
def _reachable() -> Iterator[None]:
    """The job store's driver errors end here."""
    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        raise Unavailable(
            f"The job store cannot be used: {type(error).__name__}.", hint="Check STORAGE_JOBS_URL."
        ) from error


class DbosSteps:
    """A running workflow's steps.

    DBOS's own cancellation is not used: it asks once a second, and a step that ends meanwhile leaves the job without
    an owner who could say how it ended.
    """

    async def step(self, name: str, work: Callable[[], Awaitable[T]]) -> T:
        from dbos import DBOS

        async def run() -> T:
            return await work()

        return await DBOS.run_step_async({"name": name}, run)


class DbosWorker:
    """The one executing process. Launch it inside the running loop; `close` lets running steps be cut off.

    After a crash a process with the same `executor` resumes every unfinished job after its last finished step, so
    only one process with that name may live: the home's lock sees to it.
    """

    def __init__(self, engine: sa.Engine, executor: str, concurrency: int) -> None:
        self._engine, self._executor, self._concurrency = engine, executor, concurrency
        self._running: set[asyncio.Task[Any]] = set()
        self._closing = False

    async def launch(self, runner: Runner) -> None:
        from dbos import DBOS, DBOSPortableJSONSerializer

        config: DBOSConfig = {
            "name": "storage-jobs",
            "system_database_engine": self._engine,
            "application_version": VERSION,
            "executor_id": self._executor,
            "serializer": DBOSPortableJSONSerializer(),
            "log_level": "WARNING",
        }
        DBOS(config=config)

        @DBOS.workflow(name=WORKFLOW)
        async def storage_job(job_id: str) -> None:
            await self._run(job_id, runner)

        DBOS.launch()
        await DBOS.register_queue_async(
            QUEUE, worker_concurrency=self._concurrency, polling_interval_sec=POLL_SECONDS
        )

    async def _run(self, job_id: str, runner: Runner) -> None:
        """A cancelled task leaves its workflow PENDING: the next worker resumes it. So that is how to stop one."""
        if self._closing:
            raise asyncio.CancelledError
        task = asyncio.current_task()
        assert task is not None, "workflows run as tasks of this loop"  # noqa: S101
        self._running.add(task)
        try:
            await runner(job_id, DbosSteps())
        finally:
            self._running.discard(task)

    async def close(self) -> None:
        """Stop executing: cut running jobs off, wait until they have cleaned up, then end DBOS.

        DBOS takes the loop's default executor with it, so the loop gets a fresh one.
        """
        from dbos import DBOS

        self._closing = True
        running = set(self._running)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=CLOSE_SECONDS)
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1) as own:
            await loop.run_in_executor(own, lambda: DBOS.destroy(workflow_completion_timeout_sec=0))
        loop.set_default_executor(ThreadPoolExecutor(thread_name_prefix="core"))
