"""From the filter language to MongoDB's, with the meaning of `domain.query` and the use of indexes.

MongoDB looks into lists wherever a path meets one. So each condition says beside its test that neither the value nor
anything on the way is a list; indexes are used for the test, the rest is looked at afterwards. Where a part of a path
is a number, it may be a list's position: an expression walks the path exactly, and the test beside it, which finds
more, uses the indexes.
"""

import math
from collections.abc import Mapping
from typing import Any

from bson import MaxKey

from ...domain.plain import MAX_INT, MIN_INT
from ...domain.query import (
    All,
    Any_,
    Compare,
    Exists,
    Member,
    Node,
    Not,
    Op,
    Own,
    Path,
    Regex,
    Scalar,
    Text,
)
from .collection_form import BODY, is_position, key_of, stamp

Condition = dict[str, Any]

NEVER: Condition = {"_id": {"$in": []}}
OPERATORS: Mapping[Op, str] = {op: str(op) for op in Op}
OWN_KEYS = {"id": "_id", "version": "version", "created_at": "created_at", "updated_at": "updated_at"}
IS_LIST = {"$type": "array"}
NO_LIST = {"$not": IS_LIST}
#: Comes after every key a tag may have beside its own.
LAST = {"z": MaxKey()}


def condition(node: Node | None) -> Condition:
    """The filter of a find."""
    match node:
        case None:
            return {}
        case Compare(path, op, value):
            return _compare(path, op, value)
        case All(nodes):
            return {"$and": [condition(n) for n in nodes]} if nodes else {}
        case Any_(nodes):
            return {"$or": [condition(n) for n in nodes]} if nodes else NEVER
        case Not(inner):
            return {"$nor": [condition(inner)]}
        case Member(path, values):
            return _member(path, values)
        case Exists(path):
            if _is_plain(path):
                return _with_way(path, {key_of(path): {"$exists": True}})
            return {"$expr": {"$ne": [{"$type": walked(path)}, "missing"]}}
        case Own(name, op, value):
            return {OWN_KEYS[name]: {OPERATORS[op]: own_value(name, value)}}
        case Regex(path, pattern):
            return _regex(path, pattern)
        case Text(words):
            return {"$text": {"$search": words}}


def own_value(name: str, value: Any) -> Any:
    """An operand of one of the document's own fields as it is stored."""
    if name in ("created_at", "updated_at"):
        return stamp(value)
    if name == "version" and not MIN_INT <= value <= MAX_INT:
        return math.inf if value > 0 else -math.inf
    return value


def _is_plain(path: Path) -> bool:
    """Whether a condition can name the path with dots; a tag at its end may."""
    return not any(not part or "." in part or part.isdigit() for part in path)


def _with_way(path: Path, test: Condition) -> Condition:
    """The test, and that nothing on the way is a list."""
    for end in range(1, len(path)):
        test[key_of(path[:end])] = NO_LIST
    return test


def _compare(path: Path, op: Op, value: Scalar) -> Condition:
    if value is None:
        return _null(path)
    test = {OPERATORS[op]: value}
    if not _is_plain(path):
        return _walking(path, test, _compared(path, op, value))
    found = _with_way(path, {key_of(path): {**test, **NO_LIST}})
    if len(path) > 1 and path[-1][0] == "$":
        found[key_of(path[:-1])] = {**_tag_range(path[-1], op, value), **NO_LIST}
    return found


def _tag_range(tag: str, op: Op, value: Scalar) -> Condition:
    """A test of the whole tag that finds at least what is meant: an index over the field serves it."""
    low, high = {tag: value}, {tag: value, **LAST}
    match op:
        case Op.EQ:
            return {"$gte": low, "$lte": high}
        case Op.LT:
            return {"$lt": low}
        case Op.LTE:
            return {"$lte": high}
        case _:
            return {"$gte": low}


def _null(path: Path) -> Condition:
    """Null, or not there; behind a list nothing is there."""
    if not _is_plain(path):
        return {"$expr": {"$lte": [walked(path), None]}}
    here: Condition = {key_of(path): {"$eq": None, **NO_LIST}}
    if len(path) == 1:
        return here
    return {"$or": [here, *({key_of(path[:end]): IS_LIST} for end in range(1, len(path)))]}


def _member(path: Path, values: tuple[Scalar, ...]) -> Condition:
    some = [value for value in values if value is not None]
    nulls = [_null(path)] if len(some) < len(values) else []
    if not some:
        return nulls[0] if nulls else NEVER
    test: Condition = {"$in": some}
    if _is_plain(path):
        found = _with_way(path, {key_of(path): {**test, **NO_LIST}})
    else:
        found = _walking(path, test, {"$in": [walked(path), [{"$literal": value} for value in some]]})
    return {"$or": [found, *nulls]} if nulls else found


def _regex(path: Path, pattern: str) -> Condition:
    test: Condition = {"$regex": pattern}
    if _is_plain(path):
        return _with_way(path, {key_of(path): {**test, **NO_LIST}})
    matched = {"$regexMatch": {"input": "$$text", "regex": {"$literal": pattern}}}
    is_text = {"$eq": [{"$type": "$$text"}, "string"]}
    return {"$expr": {"$let": {"vars": {"text": walked(path)}, "in": {"$cond": [is_text, matched, False]}}}}


def _walking(path: Path, test: Condition, exact: Condition) -> Condition:
    """An exact expression, and beside it a test for indexes where MongoDB's dotted form can say the path."""
    if any(not part or "." in part for part in path):
        return {"$expr": exact}
    return {"$and": [{key_of(path): test}, {"$expr": exact}]}


def _compared(path: Path, op: Op, value: Scalar) -> Condition:
    if op is Op.EQ:
        return {"$eq": [walked(path), {"$literal": value}]}
    kinds = ["string"] if isinstance(value, str) else ["int", "long", "double"]
    test = {
        "$and": [{"$in": [{"$type": "$$found"}, kinds]}, {OPERATORS[op]: ["$$found", {"$literal": value}]}]
    }
    return {"$let": {"vars": {"found": walked(path)}, "in": test}}


def walked(path: Path) -> Any:
    """An expression for what lies at a path, exactly as `query.value_at` walks it."""
    first, *rest = path
    if first and first[0] != "$" and "." not in first:
        found: Any = f"${BODY}.{first}"  # a body is never a list
    else:
        found = {"$getField": {"field": {"$literal": first}, "input": f"${BODY}"}}
    for part in rest:
        inner: Any = {"$getField": {"field": {"$literal": part}, "input": "$$at"}}
        missing: Any = "$$REMOVE"
        if is_position(part):
            missing = {"$cond": [{"$isArray": "$$at"}, {"$arrayElemAt": ["$$at", int(part)]}, missing]}
        step = {"$cond": [{"$eq": [{"$type": "$$at"}, "object"]}, inner, missing]}
        found = {"$let": {"vars": {"at": found}, "in": step}}
    return found
