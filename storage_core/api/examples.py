"""Example requests for the OpenAPI document, from the examples of the fields."""

from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo

from ..services.request import Request
from ..wire import bare

ID = "0b4f1c52-7f5e-4c9a-9a51-2f0f6b1f8e11"
SECRET = "correct horse battery staple"  # noqa: S105 - an example


def example(request: type[Request]) -> dict[str, Any]:
    """A valid request: what is required, and every field with an example that may stand beside it."""
    fields = {n: _value(n, info) for n, info in request.model_fields.items() if _shown(info)}
    while True:
        try:
            request.model_validate(fields)
        except ValidationError:
            optional = [n for n in fields if not request.model_fields[n].is_required()]
            if not optional:
                raise
            del fields[optional[-1]]
        else:
            return fields


def _shown(info: FieldInfo) -> bool:
    kind = bare(info.annotation)
    return info.is_required() or bool(info.examples) or kind is SecretStr or _nested(kind)


def _nested(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Request)


def _value(name: str, info: FieldInfo) -> Any:
    kind = bare(info.annotation)
    if _nested(kind):
        return example(kind)
    if info.examples:
        return info.examples[0]
    if kind is SecretStr:
        return SECRET
    return ID if name.endswith("id") else name
