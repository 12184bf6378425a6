"""The queue port: durable jobs by id."""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Steps(Protocol):
    """A worker's hold on one running job: what it does in steps survives a crash."""

    async def step(self, name: str, work: Callable[[], Awaitable[T]]) -> T:
        """Run once; after a crash a finished step answers its recorded result, an unfinished one runs again.

        The result must be JSON. Cut off (the task is cancelled), a step counts as unfinished.
        """
        ...


#: Runs one job to its end: the job's id, and its hold on the queue.
Runner = Callable[[str, Steps], Awaitable[None]]


class Queue(Protocol):
    """The door's side: hand in and take back. Never runs anything."""

    def enqueue_in(self, connection: Any, job_id: str) -> None:
        """Enqueue inside an open catalog transaction (a synchronous SQLAlchemy connection); idempotent by id."""
        ...

    async def enqueue(self, job_id: str) -> None:
        """Enqueue on its own; idempotent by id."""
        ...

    async def resume(self, job_id: str) -> None:
        """Run a job again whose worker is gone, from its first unfinished step."""
        ...

    async def known(self, job_id: str) -> str | None:
        """The queue's own word for the job's state, none when it never heard of it."""
        ...

    async def close(self) -> None: ...
