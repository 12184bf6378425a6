"""Whose page a request comes from, and whose word on https counts."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from storage_console.security import Message, Outer, Scope, Trust, forwarded
from storage_core.domain.errors import TooManyRequests
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


@dataclass
class Asked:
    """The outermost layer and what it let through."""

    many: int = 1
    reached: list[Scope] = field(default_factory=list)
    arrived: list[str | None] = field(default_factory=list)

    async def connect(self, client: str, origin: str, proto: str = "https") -> bool:
        """Whether a websocket is let in; what is not is closed."""
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "websocket.connect"}

        async def send(message: Message) -> None:
            sent.append(message)

        given = {"host": HOST, "origin": origin, "x-forwarded-proto": proto}
        scope = {
            "type": "websocket", "scheme": "ws", "path": "/_event/", "query_string": b"", "client": (client, 1),
            "headers": [(k.encode(), v.encode()) for k, v in given.items()],
        }  # fmt: skip
        before = len(self.reached)
        trust = Trust(frozenset({HOST}), frozenset({PROXY}))
        await Outer(self._inner, lambda: trust, self._arrive)(scope, receive, send)
        let_in = len(self.reached) > before
        assert [m["code"] for m in sent] == ([] if let_in else [1008])
        return let_in

    async def _inner(self, scope: Scope, receive: Any, send: Any) -> None:
        self.reached.append(scope)

    async def _arrive(self, address: str | None) -> None:
        self.arrived.append(address)
        if len(self.arrived) > self.many:
            raise TooManyRequests("Too many.")


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
    assert await Asked().connect(client, origin) is let_in


async def test_an_address_cannot_connect_for_ever() -> None:
    asked = Asked(many=2)
    let_in = [await asked.connect("1.2.3.4", f"http://{HOST}") for _ in range(4)]
    assert let_in == [True, True, False, False]
    assert asked.arrived == ["1.2.3.4"] * 4
