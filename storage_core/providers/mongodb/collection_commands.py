"""Commands of our own for the calls that are made most: the driver's cursors cost more than the server takes to answer.

The driver repeats none of them when a connection breaks; the wrappers of engines do, where that is right.
"""

from contextlib import suppress
from typing import Any

from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import PyMongoError, WriteConcernError

from .collection_form import Document, Documents


async def read(
    documents: Documents,
    where: Document,
    limit: int,
    session: AsyncClientSession | None = None,
    sort: dict[str, int] | None = None,
    project: Document | None = None,
) -> list[Document]:
    """At most `limit` documents."""
    # with one more than there can be, the server knows that the first answer is the last
    command: dict[str, Any] = {
        "find": documents.name,
        "filter": where,
        "limit": limit,
        "batchSize": limit + 1,
    }
    if sort:
        command["sort"] = sort
    if project:
        command["projection"] = project
    answer = await documents.database.command(command, session=session)
    cursor = answer["cursor"]
    if not cursor["id"]:
        found: list[Document] = cursor["firstBatch"]
        return found
    # More than one answer holds (16 MB): the driver's cursors keep to the session that this needs.
    with suppress(PyMongoError):
        await documents.database.command({"killCursors": documents.name, "cursors": [cursor["id"]]})
    many = documents.find(where, project, limit=limit, sort=sort and list(sort.items()), session=session)
    return await many.to_list()


async def changed(documents: Documents, which: Document, update: Document) -> Document | None:
    """Change one document; as it is now, none where there is none such."""
    command = {"findAndModify": documents.name, "query": which, "update": update, "new": True}
    answer = await documents.database.command(command)
    if (trouble := answer.get("writeConcernError")) is not None:
        raise WriteConcernError(trouble.get("errmsg", ""), trouble.get("code"), trouble)
    found: Document | None = answer["value"]
    return found
