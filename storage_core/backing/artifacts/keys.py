"""What every artifacts store takes as a key."""

from ...domain.errors import InvalidRequest

MAX_KEY = 1024
#: Writes that are not finished lie on a disk beside their goal under this name; no key may look like one.
FRESH = ".fresh-"


def checked_parts(key: str) -> list[str]:
    """The parts of a key between its slashes; InvalidRequest for one that is no plain relative path."""
    parts = key.split("/")
    wrong = any(part in ("", ".", "..") or part.startswith(FRESH) for part in parts)
    printable = key.isprintable() and "\\" not in key
    if wrong or not printable or len(key.encode()) > MAX_KEY:
        raise InvalidRequest(f"{key[:80]!r} is no key of the artifacts store.", field="key")
    return parts
