"""Transactions on a deployment's client."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern

from .link import DRIVER_ERRORS, Link

#: How often an end is repeated whose answer was lost: the server ends a transaction once.
COMMITS = 3
UNKNOWN = "UnknownTransactionCommitResult"


@asynccontextmanager
async def under_way(link: Link) -> AsyncGenerator[AsyncClientSession]:
    """A transaction in a session of its own: ended with the block, undone when it raises."""
    client = await link.open()
    async with link.transactions, client.start_session() as session:
        await session.start_transaction(ReadConcern("snapshot"))
        yield session
        try:
            await _commit(session)
        except DRIVER_ERRORS as error:
            raise await link.failed(error) from error


async def _commit(session: AsyncClientSession) -> None:
    for attempt in range(1, COMMITS + 1):
        try:
            return await session.commit_transaction()
        except PyMongoError as error:
            if attempt == COMMITS or not error.has_error_label(UNKNOWN):
                raise
