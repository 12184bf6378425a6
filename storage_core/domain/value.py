"""The canonical values of documents: what every engine holds alike, and how the rest is kept or refused.

A body is JSON: null, booleans, integers of 64 bits, finite numbers, texts, lists, dictionaries. The three modes differ
in what they do with everything else:

- ``strict`` refuses it, naming its path.
- ``tagged`` keeps it exactly, as a tag: a dictionary with one key that begins with ``$``, a superset of MongoDB's
  Extended JSON v2. Tags are the same on every engine, so queries are.
- ``lossy`` writes the nearest plain value and reports each loss.

A plain body is the encoded form of itself; `tagged` says whether a body holds tags and must be decoded.
"""

import base64
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import StrEnum
from typing import Any, NoReturn
from uuid import UUID

from .errors import InvalidRequest
from .plain import MAX_DEPTH, MAX_INT, MIN_INT, is_plain, plain_json
from .query import Path, Scalar


class Mode(StrEnum):
    """What happens to a value that plain JSON does not hold."""

    STRICT = "strict"
    TAGGED = "tagged"
    LOSSY = "lossy"


@dataclass(frozen=True, slots=True)
class Loss:
    """A value that was changed on its way in: where, and how."""

    path: str
    what: str


@dataclass(slots=True)
class Encoded:
    body: dict[str, Any]
    tagged: bool = False
    losses: tuple[Loss, ...] = ()


def encode(data: Mapping[str, Any], mode: Mode = Mode.STRICT, field: str = "data") -> Encoded:
    """A document's data as a body; InvalidRequest with the path of a value that the mode does not take."""
    if not isinstance(data, Mapping):
        _refuse(field, "is not a dictionary", "A document is a dictionary of fields.")
    if type(data) is dict and plain_json(data) is not None:
        return Encoded(data)
    return _Encoder(mode).encode(data, field)


def encode_value(value: Any, mode: Mode, field: str) -> tuple[Any, bool, tuple[Loss, ...]]:
    """One value (of a patch), whether it is tagged, and what was lost."""
    if is_plain(value):
        return value, False, ()
    encoder = _Encoder(mode)
    return encoder.value(value, field, 1), encoder.tagged, tuple(encoder.losses)


def decode(value: Any) -> Any:
    """The values behind the tags of a body or a part of it."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value and (tag := next(iter(value))).startswith("$"):
        return _DECODERS[tag](value)
    return {key: decode(item) for key, item in value.items()}


def operand(mode: Mode) -> Callable[[Path, Any], tuple[Path, Scalar]]:
    """How a filter's operands become what is stored: a tagged one is compared below its tag."""

    def at(path: Path, value: Any) -> tuple[Path, Scalar]:
        name = ".".join(path)
        if isinstance(value, (dict, list, tuple, *_SETS)):
            _refuse(
                name,
                "is compared with more than one value",
                "Compare single values, by dotted paths; or use $in.",
            )
        encoded, tagged, _ = encode_value(value, mode, name)
        if not tagged:
            return path, encoded
        tag = next(iter(encoded))
        if tag not in _ORDERED and tag not in _EQUAL:
            _refuse(name, "has no order and no equality here", "Compare another field.")
        return (*path, tag), encoded[tag]

    return at


def moment(value: datetime) -> str:
    """UTC, always with microseconds: such texts sort as the moments do."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f").rjust(26, "0") + "Z"


class _Encoder:
    def __init__(self, mode: Mode) -> None:
        self._mode = mode
        self.tagged = False
        self.losses: list[Loss] = []

    def encode(self, data: Mapping[str, Any], field: str) -> Encoded:
        keys = [key for key in data if not isinstance(key, str) or key[:1] == "$"]
        if keys:
            _refuse(
                field,
                f"has a field {keys[0]!r}",
                "Names of a document's fields are texts and do not begin with $.",
            )
        body = {self._key(key, field): self.value(item, f"{field}.{key}", 1) for key, item in data.items()}
        return Encoded(body, self.tagged, tuple(self.losses))

    def value(self, value: Any, path: str, depth: int) -> Any:
        if depth > MAX_DEPTH:
            _refuse(path, f"lies more than {MAX_DEPTH} levels deep", "Store it in a flatter form.")
        if type(value) is list:
            return [self.value(item, f"{path}.{i}", depth + 1) for i, item in enumerate(value)]
        if type(value) is dict:
            return self._dict(value, path, depth)
        if is_plain(value):
            return value
        if self._mode is Mode.STRICT:
            _refuse(path, f"is {_said(value)}, which JSON does not hold", WAY_OUT)
        if self._mode is Mode.LOSSY:
            return self._lossy(value, path, depth)
        self.tagged = True
        return self._tag(value, path, depth)

    def _dict(self, value: dict[Any, Any], path: str, depth: int) -> Any:
        if all(type(key) is str and key[:1] != "$" and is_plain(key) for key in value):
            return {key: self.value(item, f"{path}.{key}", depth + 1) for key, item in value.items()}
        if self._mode is Mode.STRICT:
            _refuse(path, "has names that are not texts, or that begin with $", WAY_OUT)
        if self._mode is Mode.TAGGED:
            self.tagged = True
            pairs = [
                [self.value(k, f"{path}.{k}", depth + 2), self.value(v, f"{path}.{k}", depth + 2)]
                for k, v in value.items()
            ]
            return {"$map": pairs}
        out = {}
        for key, item in value.items():
            name = self._key(key, path)
            if name in out:
                _refuse(f"{path}.{name}", "would be there twice", WAY_OUT)
            out[name] = self.value(item, f"{path}.{name}", depth + 1)
        return out

    def _key(self, key: Any, path: str) -> str:
        if isinstance(key, str) and is_plain(str(key)) and key[:1] != "$":
            return str(key)
        if self._mode is not Mode.LOSSY:
            _refuse(f"{path}.{str(key)!r}", "is a name that no engine takes", "Use texts without NUL.")
        text = key if isinstance(key, str) else str(key)
        name = _clean(text).lstrip("$") or "_"
        self._lost(f"{path}.{name}", f"the name {key!r} became {name!r}")
        return name

    def _lost(self, path: str, what: str) -> None:
        self.losses.append(Loss(path, what))

    def _tag(self, value: Any, path: str, depth: int) -> Any:
        for kind, tag in _TAGS:
            if type(value) is kind:
                return tag(value)
        if type(value) in _MANY:
            items = sorted(value, key=repr) if isinstance(value, _SETS) else value
            return {
                _MANY[type(value)]: [
                    self.value(item, f"{path}.{i}", depth + 1) for i, item in enumerate(items)
                ]
            }
        _refuse(
            path, f"is {_said(value)}, which is not a value of documents", "Turn it into plain values first."
        )

    def _lossy(self, value: Any, path: str, depth: int) -> Any:
        if isinstance(value, str):
            self._lost(path, "characters that are no text were replaced")
            return _clean(value)
        if isinstance(value, int):
            self._lost(path, "an integer beyond 64 bits became a text")
            return str(int(value))
        if isinstance(value, float):
            self._lost(path, f"{value!r} became {'0.0' if value == 0 else 'null'}")
            return 0.0 if value == 0 else None if not math.isfinite(value) else float(value)
        if isinstance(value, Decimal):
            return self._number(value, path)
        if isinstance(value, bytes | bytearray | memoryview):
            self._lost(path, "bytes became base64")
            return base64.b64encode(bytes(value)).decode()
        if isinstance(value, datetime | date | time):
            self._lost(path, f"a {type(value).__name__} became a text")
            return moment(value) if isinstance(value, datetime) and value.tzinfo else value.isoformat()
        if isinstance(value, timedelta):
            self._lost(path, "a timedelta became seconds")
            return value.total_seconds()
        if isinstance(value, (tuple, *_SETS)):
            self._lost(path, f"a {type(value).__name__} became a list")
            items = value if isinstance(value, tuple) else sorted(value, key=repr)
            return [self.value(item, f"{path}.{i}", depth + 1) for i, item in enumerate(items)]
        if isinstance(value, UUID):
            self._lost(path, f"a {type(value).__name__} became a text")
            return str(value)
        _refuse(
            path, f"is {_said(value)}, which is not a value of documents", "Turn it into plain values first."
        )

    def _number(self, value: Decimal, path: str) -> Any:
        number = float(value)
        if not math.isfinite(number):
            self._lost(path, f"Decimal {value} became null")
            return None
        self._lost(path, f"Decimal {value} became {number!r}")
        return number if number else 0.0


WAY_OUT = 'Convert it, or open the collection with values="tagged" (kept exactly) or values="lossy" (every loss reported).'


def _double(value: float) -> dict[str, Any]:
    if math.isnan(value):
        return {"$numberDouble": "NaN"}
    if math.isinf(value):
        return {"$numberDouble": "Infinity" if value > 0 else "-Infinity"}
    return {"$numberDouble": "-0.0"}


def _datetime(value: datetime) -> dict[str, Any]:
    """The instant, and how far its clock was from UTC where it was; without a zone, what the clock said."""
    if value.tzinfo is None:
        return {"$localDate": value.isoformat(timespec="microseconds"), "fold": value.fold}
    offset = value.utcoffset()
    if not offset:
        return {"$date": moment(value)}
    return {"$date": moment(value), "offset": offset // _MICROSECOND}


def _text(value: str) -> dict[str, Any]:
    return {"$text": base64.b64encode(value.encode("utf-8", "surrogatepass")).decode()}


def _binary(value: bytes) -> dict[str, Any]:
    return {"$binary": base64.b64encode(value).decode()}


def _time(value: time) -> dict[str, Any]:
    offset = value.utcoffset()
    tagged: dict[str, Any] = {
        "$time": value.replace(tzinfo=None).isoformat(timespec="microseconds"),
        "fold": value.fold,
    }
    return tagged if offset is None else {**tagged, "offset": offset // _MICROSECOND}


_MICROSECOND = timedelta(microseconds=1)


def _duration(value: timedelta) -> dict[str, Any]:
    """Microseconds; beyond 64 bits (292 000 years) as text, which has no order."""
    count = value // _MICROSECOND
    return {"$duration": count} if MIN_INT <= count <= MAX_INT else {"$longDuration": str(count)}


_TAGS: tuple[tuple[type, Callable[[Any], dict[str, Any]]], ...] = (
    (datetime, _datetime),
    (Decimal, lambda value: {"$numberDecimal": str(value)}),
    (UUID, lambda value: {"$uuid": str(value)}),
    (bytes, _binary),
    (bytearray, lambda value: {"$bytes": base64.b64encode(value).decode()}),
    (int, lambda value: {"$integer": str(value)}),
    (float, _double),
    (str, _text),
    (date, lambda value: {"$day": value.isoformat()}),
    (time, _time),
    (timedelta, _duration),
)
_SETS: tuple[type, ...] = (set, frozenset)
_MANY: Mapping[type, str] = {tuple: "$tuple", set: "$set", frozenset: "$frozenset"}
#: Tags whose contents sort as their values do, and those that can only be equal.
_ORDERED = frozenset({"$date", "$localDate", "$day", "$time", "$duration"})
_EQUAL = frozenset(
    {"$numberDecimal", "$uuid", "$binary", "$integer", "$numberDouble", "$text", "$longDuration"}
)


def _shifted(value: datetime, microseconds: int) -> datetime:
    return value.astimezone(timezone(microseconds * _MICROSECOND))


def _to_datetime(tagged: dict[str, Any]) -> datetime:
    value = datetime.fromisoformat(tagged["$date"])
    return _shifted(value, tagged["offset"]) if "offset" in tagged else value


def _to_time(tagged: dict[str, Any]) -> time:
    zone = timezone(tagged["offset"] * _MICROSECOND) if "offset" in tagged else None
    return time.fromisoformat(tagged["$time"]).replace(fold=tagged["fold"], tzinfo=zone)


_DECODERS: Mapping[str, Callable[[dict[str, Any]], Any]] = {
    "$date": _to_datetime,
    "$localDate": lambda tagged: datetime.fromisoformat(tagged["$localDate"]).replace(fold=tagged["fold"]),
    "$numberDecimal": lambda tagged: Decimal(tagged["$numberDecimal"]),
    "$uuid": lambda tagged: UUID(tagged["$uuid"]),
    "$binary": lambda tagged: base64.b64decode(tagged["$binary"]),
    "$bytes": lambda tagged: bytearray(base64.b64decode(tagged["$bytes"])),
    "$integer": lambda tagged: int(tagged["$integer"]),
    "$numberDouble": lambda tagged: float(tagged["$numberDouble"]),
    "$text": lambda tagged: base64.b64decode(tagged["$text"]).decode("utf-8", "surrogatepass"),
    "$day": lambda tagged: date.fromisoformat(tagged["$day"]),
    "$time": _to_time,
    "$duration": lambda tagged: tagged["$duration"] * _MICROSECOND,
    "$longDuration": lambda tagged: int(tagged["$longDuration"]) * _MICROSECOND,
    "$tuple": lambda tagged: tuple(decode(item) for item in tagged["$tuple"]),
    "$set": lambda tagged: {decode(item) for item in tagged["$set"]},
    "$frozenset": lambda tagged: frozenset(decode(item) for item in tagged["$frozenset"]),
    "$map": lambda tagged: {decode(key): decode(item) for key, item in tagged["$map"]},
}


def _clean(value: str) -> str:
    return value.encode("utf-8", "replace").decode().replace("\x00", "\N{REPLACEMENT CHARACTER}")


def _said(value: Any) -> str:
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, int):
        return "an integer beyond 64 bits"
    if isinstance(value, str):
        return "a text with NUL or lone surrogates"
    return f"a {type(value).__name__}"


def _refuse(field: str, why: str, hint: str) -> NoReturn:
    raise InvalidRequest(f"{field} {why}.", field=field, hint=hint)
