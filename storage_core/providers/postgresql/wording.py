"""One wording for expressions that PostgreSQL words differently after a restore although they mean the same.

Reading its own output back, PostgreSQL moves casts into array literals (``(ARRAY['a'::varchar])::text[]`` comes back
as ``ARRAY['a'::varchar::text]``) and drops or adds brackets around single values. So casts and brackets around
single values are left out of what is hashed; names, operators, literals and structure stay.
"""

import hashlib
import re
from dataclasses import dataclass, field

TOKEN = re.compile(
    r"""(?P<space>\s+)
    | (?P<atom> [eE]'(?:[^'\\]|''|\\.)*'
      | [uUbBxXnN]?&?'(?:[^']|'')*'
      | \$(?P<tag>[A-Za-z_\x80-\uffff]?[\w]*)\$ .*? \$(?P=tag)\$
      | \d+(?:\.\d+)?(?:[eE][+-]?\d+)? )
    | (?P<name> "(?:[^"]|"")*" | [^\W\d][\w$]* )
    | (?P<cast> ::)
    | (?P<open> [(\[]) | (?P<close> [)\]])
    | (?P<other> . )""",
    re.VERBOSE | re.DOTALL,
)

#: Words of which several make one type's name.
FOLLOWERS = {
    "character": {"varying"},
    "bit": {"varying"},
    "double": {"precision"},
    "timestamp": {"with", "without", "time", "zone"},
    "time": {"with", "without", "time", "zone"},
    "interval": {"year", "month", "day", "hour", "minute", "second", "to"},
}
#: Words before a bracket that is not a call's.
KEYWORDS = {
    "and",
    "or",
    "not",
    "then",
    "else",
    "when",
    "case",
    "select",
    "where",
    "on",
    "by",
    "return",
    "check",
}


@dataclass(slots=True)
class Group:
    """A bracketed part; items are words or groups."""

    bracket: str
    items: "list[str | Group]" = field(default_factory=list)


def worded(text: str) -> str:
    """The text without casts, needless brackets and blanks."""
    root = Group("")
    stack = [root]
    tokens = [(m.lastgroup or "", m.group()) for m in TOKEN.finditer(text)]
    tokens = [("atom" if kind == "tag" else kind, word) for kind, word in tokens if kind != "space"]
    at = 0
    while at < len(tokens):
        kind, word = tokens[at]
        at += 1
        if kind == "cast":
            at = _after_type(tokens, at)
        elif kind == "open":
            stack.append(Group(word))
        elif kind == "close" and len(stack) > 1:
            group = stack.pop()
            _append(stack[-1], group)
        else:
            stack[-1].items.append(word)
    while len(stack) > 1:
        group = stack.pop()
        stack[-1].items.append(group)
    return " ".join(_flat(root))


def digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _append(parent: Group, group: Group) -> None:
    """Put a closed group into its parent, without its brackets where they hold a single value."""
    if group.bracket == "(":
        if len(group.items) == 1 and isinstance(inner := group.items[0], Group) and inner.bracket == "(":
            group = inner
        if _is_value(group.items) and not _is_call(parent.items):
            parent.items.extend(group.items)
            return
    parent.items.append(group)


def _is_value(items: "list[str | Group]") -> bool:
    if len(items) == 1:
        return isinstance(items[0], str)
    return (
        len(items) == 2
        and isinstance(items[0], str)
        and items[0].upper() == "ARRAY"
        and isinstance(items[1], Group)
        and items[1].bracket == "["
    )


def _is_call(before: "list[str | Group]") -> bool:
    """Whether what stands before a bracket makes it the bracket of a call, a list or a type."""
    if not before:
        return False
    last = before[-1]
    if isinstance(last, Group):
        return True
    return last[0] == '"' or (last[0].isidentifier() and last.lower() not in KEYWORDS)


def _flat(group: Group) -> list[str]:
    out: list[str] = []
    for item in group.items:
        if isinstance(item, str):
            out.append(item)
        else:
            out += [item.bracket, *_flat(item), ")" if item.bracket == "(" else "]"]
    return out


def _after_type(tokens: list[tuple[str, str]], at: int) -> int:
    """The position behind the type's name that begins at `at`, with its modifiers and brackets."""
    if at >= len(tokens):
        return at
    followers = FOLLOWERS.get(tokens[at][1].lower(), set())
    at += 1
    while at < len(tokens):
        kind, word = tokens[at]
        if word == "." and at + 1 < len(tokens):
            at += 2
        elif kind == "name" and word.lower() in followers:
            at += 1
        elif word == "(" and (end := _modifier_end(tokens, at)):
            at = end
        elif word == "[" and at + 1 < len(tokens) and tokens[at + 1][1] == "]":
            at += 2
        else:
            break
    return at


def _modifier_end(tokens: list[tuple[str, str]], at: int) -> int:
    """Behind ``(10,2)``; 0 where the bracket holds anything but numbers."""
    for end in range(at + 1, len(tokens)):
        word = tokens[end][1]
        if word == ")":
            return end + 1 if end > at + 1 else 0
        if not (word.isdigit() or word in ",-"):
            return 0
    return 0
