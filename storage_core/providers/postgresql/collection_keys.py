"""What is at a path of a document, as SQL: its key, its kind, what it sorts by; and what indexes are over.

Equality and the order of texts are asked of a path's key: the beginning of its value's text, in the order of code points
whatever the database's collation is. What it does not tell (`5` may be a number or a text) a second test does, and only
where it may matter. Every write evaluates what indexes are over, so keys are no longer than they must be. The order of
numbers is jsonb's own. A number has at most two spellings in stored bodies, `5` and `5.0`, since `packed` writes all of them.
"""

from decimal import Decimal
from functools import lru_cache

from ...domain.query import Path
from ...domain.record import Index
from .collection_table import PLAIN
from .sql import literal

#: Characters of a path's key: more than any number has, few enough for an index's row.
KEPT = 350


def _walk(path: Path, named: str, numbered: str) -> str:
    """The steps to a path's value; these two operators take the last one."""
    at = "body"
    for left, part in zip(range(len(path) - 1, -1, -1), path, strict=True):
        # a list's items are reached by plain numbers alone
        plain = part.isascii() and part.isdigit() and len(part) < 10 and (part == "0" or part[0] != "0")
        operator = ("#>" if plain else "->") if left else (numbered if plain else named)
        at = f"({at} {operator} '{{{part}}}')" if plain else f"({at} {operator} {literal(part)})"
    return at


@lru_cache(4096)
def element(path: Path) -> str:
    """The value at a path, as jsonb."""
    return _walk(path, "->", "#>")


@lru_cache(4096)
def spelled(path: Path) -> str:
    """The value at a path, as text; null for null."""
    return _walk(path, "->>", "#>>")


@lru_cache(4096)
def key(path: Path) -> str:
    """A path's key; null for null and for what is not there."""
    return f"""(left({spelled(path)}, {KEPT}) collate "C")"""


def is_a(kind: str, path: Path) -> str:
    """Whether the value at a path is a string, a number, a boolean, an object or an array."""
    return f"jsonb_typeof({element(path)}) = '{kind}'"


def is_doubtful(text: str) -> bool:
    """Whether a text may be the key of another kind of value: of a number, a boolean, a dictionary, a list."""
    return text[:1] in _OTHERS or text in ("true", "false")


_OTHERS = frozenset("-0123456789[{")


def spellings(value: bool | float) -> tuple[str, ...]:
    """The keys of what equals a number or a boolean."""
    if isinstance(value, bool):
        return ("true",) if value else ("false",)
    if isinstance(value, float) and (not value.is_integer() or abs(value) >= PLAIN):
        return (format(Decimal(repr(value)), "f"),)
    return (f"{int(value)}", f"{int(value)}.0")


@lru_cache(4096)
def kind(path: Path) -> str:
    at = element(path)
    return (
        f"(case jsonb_typeof({at}) when 'number' then 1 when 'string' then 2 when 'boolean' then 3"
        f" when 'object' then 4 when 'array' then 4 else 0 end)"
    )


@lru_cache(4096)
def number(path: Path) -> str:
    at = element(path)
    return (
        f"(case jsonb_typeof({at}) when 'number' then ({at})::numeric"
        f" when 'boolean' then ({at})::boolean::int::numeric end)"
    )


@lru_cache(4096)
def words(path: Path) -> str:
    """The text at a path, whole; null where there is none."""
    return f"""(case when jsonb_typeof({element(path)}) = 'string' then {spelled(path)} end collate "C")"""


def index_columns(index: Index) -> str:
    """What finds equal values, and ranges of texts."""
    return ", ".join(map(key, index.paths))


@lru_cache(4096)
def number_key(path: Path) -> str:
    """The number at a path, as jsonb; null for all else."""
    return f"(case when {is_a('number', path)} then {element(path)} end)"


@lru_cache(4096)
def text_key(path: Path) -> str:
    """The key of the text at a path; null for all else."""
    return f"""(case when {is_a("string", path)} then left({spelled(path)}, {KEPT}) end collate "C")"""


def sorted_columns(path: Path) -> str:
    """What finds ranges of a path's numbers and has the order of numbers, then of texts: each row has one of them."""
    return f"{number_key(path)}, {text_key(path)}, id"


def unique_columns(index: Index) -> str:
    """What must differ: numbers however they are spelled, texts apart from all else, and of what is long its hash."""
    return ", ".join(
        f"(case when {is_a('number', p)} then trim_scale({element(p)}::numeric)::text"
        f" when length({spelled(p)}) >= {KEPT} then 'h' || md5({element(p)}::text)"
        f" when {is_a('string', p)} then 's' || {spelled(p)} else {spelled(p)} end collate \"C\")"
        for p in index.paths
    )
