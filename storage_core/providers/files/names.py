"""Names of databases that lie below a directory, and of the files beside them."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...domain.errors import InvalidRequest
from ...domain.naming import said

#: Files of ours that are no databases begin with this.
PRIVATE = ".sc-"

_MAX_PART = 255


@dataclass(frozen=True, slots=True)
class Shape:
    """What databases of an engine look like on the disk.

    `companions` are endings of files that lie beside a database and are none themselves; `folder` is whether a
    database is a directory; `ending` is how its name ends. `may_be` tells, by path and what `stat` says of it, what is worth a look.
    """

    label: str
    companions: tuple[str, ...]
    may_be: Callable[[Path, os.stat_result], bool]
    folder: bool = False
    ending: str = ""


def parts(name: str, shape: Shape) -> list[str]:
    """A name's way down from the root; InvalidRequest when it could lead out of it, or to a file of ours."""
    found = name.split("/")
    for part in found:
        if (
            part in {"", ".", ".."}
            or "\x00" in part
            or part.startswith(PRIVATE)
            or len(os.fsencode(part)) > _MAX_PART
            or part.endswith(shape.companions)
        ):
            raise InvalidRequest(
                f"{said(name, 200)} is not a name of a {shape.label} database.",
                hint="Use a path below the provider's directory, without `.`, `..` and empty parts.",
                field="name",
            )
    if not name.endswith(shape.ending):
        raise InvalidRequest(
            f"{said(name, 200)} is not a name of a {shape.label} database.",
            hint=f"Let it end with {shape.ending}.",
            field="name",
        )
    return found
