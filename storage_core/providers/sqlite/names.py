"""Names of databases that are files, and of the files beside them."""

import os

from ...domain.errors import InvalidRequest
from ...domain.naming import said

#: Files of ours that are no databases begin with this.
PRIVATE = ".sc-"
#: What SQLite itself lays beside a database.
COMPANIONS = ("-wal", "-shm", "-journal")
#: By what a file without a byte is known as a database: nothing in it can tell.
SUFFIXES = frozenset({".db", ".db3", ".s3db", ".sl3", ".sqlite", ".sqlite3"})

_MAX_PART = 255


def parts(name: str) -> list[str]:
    """A name's way down from the root; InvalidRequest when it could lead out of it, or to a file of ours."""
    found = name.split("/")
    for part in found:
        if (
            part in {"", ".", ".."}
            or "\x00" in part
            or part.startswith(PRIVATE)
            or len(os.fsencode(part)) > _MAX_PART
            or part.endswith(COMPANIONS)
        ):
            raise InvalidRequest(
                f"{said(name, 200)} is not a name of a SQLite database.",
                hint="Use a path below the provider's directory, without `.`, `..` and empty parts.",
                field="name",
            )
    return found
