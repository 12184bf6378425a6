"""What is its own encoded form: the plain values of documents, told from all others."""

import math
import re
from collections.abc import Iterable
from typing import Any

import orjson
import ormsgpack

MIN_INT, MAX_INT = -(1 << 63), (1 << 63) - 1
MAX_DEPTH = 80

#: Neither encoder may take a subclass, or a type that is none of JSON's, for the plain value it resembles.
_PACKED = (
    ormsgpack.OPT_PASSTHROUGH_BIG_INT
    | ormsgpack.OPT_PASSTHROUGH_DATACLASS
    | ormsgpack.OPT_PASSTHROUGH_DATETIME
    | ormsgpack.OPT_PASSTHROUGH_ENUM
    | ormsgpack.OPT_PASSTHROUGH_SUBCLASS
    | ormsgpack.OPT_PASSTHROUGH_TUPLE
    | ormsgpack.OPT_PASSTHROUGH_UUID
)
_JSON = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS
#: How MessagePack writes an integer from 2^63 on; some letters look like one.
_BIG = re.compile(rb"\xcf[\x80-\xff]").search
DOLLAR, BACKSLASH = b"$\\"
_NO_OPENING = bytes(set(range(256)) - set(b"[{"))


def plain_json(value: dict[str, Any]) -> bytes | None:
    """The JSON of a dictionary that is its own encoded form; none for every other: `is_plain`, much faster.

    Every document passes here. Of the two encoders one refuses all types that only resemble JSON's, the other the few
    that JSON lacks and MessagePack has; what both take is plain but for a few values, whose marks are looked for.
    """
    try:
        packed, text = ormsgpack.packb(value, None, _PACKED), orjson.dumps(value, None, _JSON)
    except TypeError:
        return None
    return text if not _is_doubtful(packed, text) or is_plain(value) else None


def _is_doubtful(packed: bytes, text: bytes) -> bool:
    """Whether there may be a value that is not plain: a NUL, a tag, a double that JSON lacks, an integer too large."""
    return (
        (DOLLAR in text and b'"$' in text)  # single bytes are found at once, two in a row are not
        or (BACKSLASH in text and b"\\u0000" in text)
        or (0x7F in packed and b"\xcb\x7f" in packed)  # NaN, infinity, and what is almost that
        or (0xFF in packed and b"\xcb\xff" in packed)
        or (0x80 in packed and b"\xcb\x80\x00" in packed)  # -0.0
        or (0xCF in packed and _BIG(packed) is not None)
        or len(text.translate(None, _NO_OPENING)) > MAX_DEPTH
    )


def is_plain(value: Any, depth: int = 0) -> bool:
    """Whether a value is its own encoded form. Exact types alone: a subclass might be more than it shows."""
    return _are_plain((value,), depth - 1)


def _are_plain(values: Iterable[Any], depth: int) -> bool:
    """Whether values that lie in something `depth` levels deep are plain."""
    for value in values:
        kind = type(value)
        if kind is str:
            if not ((value.isascii() and "\x00" not in value) or _is_text(value)):
                return False
        elif kind is int:
            if not MIN_INT <= value <= MAX_INT:
                return False
        elif kind is bool or value is None:
            continue
        elif kind is float:
            if not math.isfinite(value) or (value == 0 and math.copysign(1, value) < 0):
                return False
        elif depth + 1 >= MAX_DEPTH:
            return False
        elif kind is dict:
            if not (_are_names(value) and _are_plain(value.values(), depth + 1)):
                return False
        elif kind is not list or not _are_plain(value, depth + 1):
            return False
    return True


def _are_names(keys: Iterable[Any]) -> bool:
    """Whether keys are names as JSON has them, that stand for no tag. What was seen before is known."""
    for key in keys:
        if type(key) is str and key in _NAMES:
            continue
        if type(key) is not str or key[:1] == "$" or not _is_text(key):
            return False
        if len(_NAMES) < KNOWN_NAMES and len(key) < LONG_NAME:
            _NAMES.add(key)
    return True


#: Names of fields that were found to be plain: documents have few different ones. Bounded, lest hostile ones fill it.
_NAMES: set[str] = set()
KNOWN_NAMES, LONG_NAME = 4096, 64


def _is_text(value: str) -> bool:
    """PostgreSQL and SQLite take no NUL, and no engine a lone surrogate."""
    if "\x00" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
