"""An operation's request as a form, and a filled-in form as the request's fields."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo
from wtforms import BooleanField, Field, Form, PasswordField, SelectField, StringField, TextAreaField
from wtforms.validators import InputRequired

from ..services.request import Request
from ..wire import bare

Choices = list[tuple[str, str]]

#: Fields of several lines; others are one line whatever their limit.
LONG = frozenset({"note", "reason", "tls_ca"})
_SHORT = {"id": "ID", "tls": "TLS", "ca": "CA"}


@dataclass(frozen=True, slots=True)
class Lookup:
    """What a field that names another thing offers: all of them, or (`url`) what a search there finds."""

    choices: Choices
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Leaf:
    """One field of a request, nested ones dotted. `group` is the nested request it belongs to."""

    name: str
    info: FieldInfo
    group: str = ""

    @property
    def kind(self) -> Any:
        return bare(self.info.annotation)

    @property
    def last(self) -> str:
        return self.name.rpartition(".")[2]

    @property
    def optional(self) -> bool:
        return NoneType in get_args(self.info.annotation)

    @property
    def label(self) -> str:
        words = [_SHORT.get(w, w) for w in self.last.removesuffix("_id").split("_")]
        text = " ".join(words)
        return text[:1].upper() + text[1:]


def leaves(request: type[Request], group: str = "") -> Iterator[Leaf]:
    """The fields people fill in; the `id` comes with the address, a single choice is none."""
    for name, info in request.model_fields.items():
        kind = bare(info.annotation)
        dotted = f"{group}.{name}" if group else name
        if isinstance(kind, type) and issubclass(kind, Request):
            yield from leaves(kind, dotted)
        elif dotted != "id" and not (get_origin(kind) is Literal and len(get_args(kind)) == 1):
            yield Leaf(dotted, info, group)


def form_of(request: type[Request], lookups: Mapping[str, Lookup]) -> type[Form]:
    """The form of a request. `lookups` are offered by fields of these names."""
    fields = {leaf.name: _field(leaf, lookups.get(leaf.last)) for leaf in leaves(request)}
    return type(f"{request.__name__}Form", (Form,), fields)


def _field(leaf: Leaf, lookup: Lookup | None) -> Any:
    required = leaf.info.is_required() and not leaf.optional
    common = {"description": leaf.info.description or "", "validators": [InputRequired()] if required else []}
    look = {"class": "form-control"}
    if lookup is not None:
        return _reference(leaf, lookup, common)
    if leaf.kind is bool and not leaf.optional:
        return BooleanField(leaf.label, description=common["description"], default=bool(leaf.info.default),
                            render_kw={"class": "form-check-input"})  # fmt: skip
    if choices := _choices(leaf):
        default = leaf.info.default
        chosen = default.value if isinstance(default, Enum) else default if isinstance(default, str) else ""
        return SelectField(leaf.label, choices=choices, default=chosen, render_kw={"class": "form-select"}, **common)  # fmt: skip
    if leaf.kind is SecretStr:
        return PasswordField(leaf.label, render_kw={**look, "autocomplete": "new-password"}, **common)
    if get_origin(leaf.kind) in (dict, list, tuple) or leaf.last in LONG:
        if get_origin(leaf.kind) is dict:
            common["description"] = f"{common['description']} One `name = value` a line."
        return TextAreaField(leaf.label, render_kw={**look, "rows": 4}, **common)
    return StringField(leaf.label, render_kw={**look, "autocomplete": "off"}, **common)


def _reference(leaf: Leaf, lookup: Lookup, common: dict[str, Any]) -> Any:
    blank = [] if leaf.info.is_required() and lookup.url is None else [("", "")]
    kw = {"class": "form-select"}
    if lookup.url is not None:
        kw |= {"data-role": "select2-ajax", "data-url": lookup.url, "data-allow-blank": "1"}
    # Whatever is sent, the operation looks it up again: an id from outside one's scope is not found there.
    return SelectField(
        leaf.label, choices=[*blank, *lookup.choices], validate_choice=False, render_kw=kw, **common
    )


def _choices(leaf: Leaf) -> Choices:
    if leaf.kind is bool:
        return [("", "as it is"), ("true", "yes"), ("false", "no")]
    kind = leaf.kind
    if isinstance(kind, type) and issubclass(kind, Enum):
        values = [str(member.value) for member in kind]
    else:
        values = [str(v) for v in get_args(kind)] if get_origin(kind) is Literal else []
    blank = [("", "")] if leaf.optional and values else []
    return [*blank, *((v, v) for v in values)]


def as_text(value: Any) -> Any:
    """A value as its form field shows it before anything is typed."""
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, (tuple, list)):
        return "\n".join(" = ".join(map(str, v)) if isinstance(v, tuple) else str(v) for v in value)
    return value if isinstance(value, bool) or value is None else str(value)


def fields_of(request: type[Request], form: Form, before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What was filled in, as the request's fields; blank fields are left out.

    With `before` (what an edit form showed) unchanged fields are left out as well, a nested request as a whole.
    """
    given = {leaf.name: (leaf, _value(leaf, form[leaf.name])) for leaf in leaves(request)}
    changed = {
        leaf.group
        for leaf, value in given.values()
        if leaf.group and before is not None and value != _value_of(leaf, before.get(leaf.name))
    }
    out: dict[str, Any] = {}
    for leaf, value in given.values():
        if value is None or (before is not None and _untouched(leaf, value, before, changed)):
            continue
        node = out
        for part in leaf.group.split(".") if leaf.group else ():
            node = node.setdefault(part, {})
        node[leaf.last] = value
    return out


def _untouched(leaf: Leaf, value: Any, before: Mapping[str, Any], changed: set[str]) -> bool:
    if leaf.group:
        return leaf.group not in changed
    return not leaf.info.is_required() and value == _value_of(leaf, before.get(leaf.name))


def _value(leaf: Leaf, field: Field) -> Any:
    if isinstance(field.data, bool):
        return field.data
    return _value_of(leaf, field.data)


def _value_of(leaf: Leaf, text: Any) -> Any:
    if text is None or isinstance(text, bool):
        return text
    if leaf.kind is SecretStr:
        return text or None  # blanks may belong to a password
    text = str(text).strip()
    if not text:
        return None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if get_origin(leaf.kind) is dict:
        pairs = (line.partition("=") for line in lines)
        return {name.strip(): value.strip() for name, _, value in pairs}
    if get_origin(leaf.kind) in (list, tuple):
        return lines
    return text.replace("\r\n", "\n")


def place(form: Form, name: str | None, message: str) -> str:
    """Put a refusal beside the field it speaks of; answers it for the head of the form where there is none."""
    if name is None or name not in form:
        return message
    form[name].errors = (*form[name].errors, message)
    return ""


def place_all(form: Form, error: ValidationError) -> str:
    """The same for every wrong field of a request; never a value, which may be a secret."""
    left = []
    for one in error.errors(include_input=False, include_url=False):
        message = str(one["msg"]).removeprefix("Value error, ")
        left.append(place(form, ".".join(str(p) for p in one["loc"]), f"{message}."))
    return " ".join(filter(None, left))
