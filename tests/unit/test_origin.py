"""Whose page a request comes from, and whose word on https counts."""

from typing import Any

import pytest

from storage_console.security import Message, Outer, Scope, Trust, forwarded
from storage_core.domain.origin import same_origin
from storage_core.tenancy.middleware import TRUSTED_PROXY

HOST = "console.example"
PROXY = "10.0.0.1"


@pytest.mark.parametrize(
    ("origin", "secure", "same"),
    [
        ("http://console.example", False, True),
        ("HTTP://Console.Example", False, True),
        ("https://console.example", True, True),
        ("https://console.example", False, False),
        ("http://console.example", True, False),
        ("https://console.example:443", True, False),
        ("null", False, False),
        ("", False, False),
        (None, True, False),
    ],
)
def test_an_origin_is_ours_in_scheme_name_and_port(origin: str | None, secure: bool, same: bool) -> None:
    assert same_origin(origin, HOST, secure=secure) is same
    assert not same_origin(origin, None, secure=secure)


@pytest.mark.parametrize(
    ("client", "said", "scheme", "visitor"),
    [
        (PROXY, {"x-forwarded-proto": "https", "x-forwarded-for": "1.2.3.4"}, "wss", "1.2.3.4"),
        (PROXY, {"x-forwarded-proto": "HTTPS ", "x-forwarded-for": f"6.6.6.6, 1.2.3.4, {PROXY}"}, "wss", "1.2.3.4"),
        (PROXY, {}, "ws", PROXY),
        ("1.2.3.4", {"x-forwarded-proto": "https", "x-forwarded-for": "127.0.0.1"}, "ws", "1.2.3.4"),
    ],
)  # fmt: skip
def test_only_a_trusted_proxy_says_who_visits_and_how(
    client: str, said: dict[str, str], scheme: str, visitor: str
) -> None:
    scope = {"type": "websocket", "scheme": "ws", "client": (client, 1)}
    seen = forwarded(scope, said, frozenset({PROXY}))
    assert (seen["scheme"], seen["client"][0]) == (scheme, visitor)
    assert (TRUSTED_PROXY in seen) is (client == PROXY)


@pytest.mark.parametrize(
    ("client", "origin", "let_in"),
    [
        (PROXY, f"https://{HOST}", True),
        (PROXY, f"http://{HOST}", False),
        ("1.2.3.4", f"https://{HOST}", False),
        ("1.2.3.4", f"http://{HOST}", True),
    ],
)
async def test_behind_a_proxy_that_speaks_tls_pages_are_on_https_and_nowhere_else(
    client: str, origin: str, let_in: bool
) -> None:
    reached: list[Scope] = []

    async def inner(scope: Scope, receive: Any, send: Any) -> None:
        reached.append(scope)

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    given = {"host": HOST, "origin": origin, "x-forwarded-proto": "https"}
    scope = {
        "type": "websocket", "scheme": "ws", "path": "/_event/", "query_string": b"", "client": (client, 1),
        "headers": [(k.encode(), v.encode()) for k, v in given.items()],
    }  # fmt: skip
    await Outer(inner, lambda: Trust(frozenset({HOST}), frozenset({PROXY})))(scope, receive, send)
    assert bool(reached) is let_in
    assert [m["code"] for m in sent] == ([] if let_in else [1008])
