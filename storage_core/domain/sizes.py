"""How large a request may be and how deeply its values may be nested, judged before anything descends into them."""

import re
from collections.abc import Iterable
from typing import Any

#: Bytes of a request's body; what is larger has a streaming route of its own.
MAX_BODY = 1 << 20
#: Bytes of an address's query, and of all headers together.
MAX_QUERY, MAX_HEADERS = 8192, 32_768
#: Bytes of one websocket frame.
MAX_FRAME = 1_000_000
#: Levels of objects and arrays in one another; people's documents need a handful.
MAX_DEPTH = 32

_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_NESTING: tuple[type, ...] = (dict, list, tuple)
_OTHERS = bytes(b for b in range(256) if b not in b"[]{}")


def headers_too_large(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a request's headers are more than anybody needs to say."""
    return sum(len(name) + len(value) for name, value in headers) > MAX_HEADERS


def json_too_deep(body: bytes, limit: int = MAX_DEPTH) -> bool:
    """Whether a JSON text is nested beyond `limit`; takes at most `limit` passes over its brackets.

    What is no JSON may pass: the parser says so, and has little to descend into.
    """
    brackets, run = _TEXT.sub(b"", body).translate(None, _OTHERS), re.compile(rb"[\[{]{%d}" % (limit + 1))
    for _ in range(limit):
        if run.search(brackets):
            return True
        inner = brackets.replace(b"[]", b"").replace(b"{}", b"")  # the innermost level goes
        if len(inner) == len(brackets):
            return False
        brackets = inner
    return len(brackets) > 0


def too_deep(value: Any, limit: int = MAX_DEPTH) -> bool:
    """Whether a value of dictionaries, lists and tuples is nested beyond `limit`; never recursive itself."""
    level: list[Any] = [value]
    for _ in range(limit):
        inner: list[Any] = []
        for item in level:
            inner += item.values() if isinstance(item, dict) else item if isinstance(item, _NESTING) else ()
        level = [item for item in inner if isinstance(item, _NESTING)]
        if not level:
            return False
    return True
