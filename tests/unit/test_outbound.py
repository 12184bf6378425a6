"""The outbound guard: no spelling of an address, no answer of a name server and no redirect gets around it."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest

from storage_core.backing.outbound import KNOWN_SECONDS, Fresh, Guard, GuardedWeb
from storage_core.domain.errors import (
    AddressRefused,
    InvalidRequest,
    NameUnresolved,
    Unavailable,
    Unreachable,
)
from storage_core.domain.outbound import Address, Rules, networks, plain, refusal
from tests.contract.mongodb.test_mongodb_tls import certificates

STRICT, LAN, LOCAL = Rules(), Rules(private=True), Rules(loopback=True)

DISGUISES = (
    *("127.1", "127.0.1", "0x7f.1", "0x7f.0.0.1", "0x7f000001", "2130706433", "017700000001", "0177.0.0.1"),
    *(
        "127.0.0.1.",
        "1.2.3.4.5",
        "256.1.1.1",
        "0",
        "0x",
        "db.example.0x7f",
        "fe80::1%eth0",
        "[::1]",
        "::1%1",
        ":::",
    ),
    *("\uff10x7f.1", "127.\uff11", "\uff11\uff12\uff17.1"),
)
EMBEDDED = (
    *(
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:0:127.0.0.1",
        "64:ff9b::a00:1",
    ),
    *("2002:a9fe:a9fe::1", "2001:0:4136:e378:8000:63bf:80ff:fffe", "2001:db8::5efe:7f00:1", "::10.0.0.1"),
    *("64:ff9b:1::7f00:1", "::ffff:169.254.169.254", "::ffff:10.0.0.1"),
)
NEVER = (
    *(
        "169.254.169.254",
        "169.254.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "100.100.100.200",
        "192.0.0.192",
    ),
    *("::", "fe80::1", "ff02::1", "fd00:ec2::254", "fec0::1"),
)


@pytest.mark.parametrize("text", DISGUISES)
def test_other_spellings_of_an_address_are_refused(text: str) -> None:
    with pytest.raises(AddressRefused) as refused:
        plain(text, "connection.host")
    assert (refused.value.code, refused.value.field) == ("address_refused", "connection.host")
    assert refused.value.hint


@pytest.mark.parametrize(
    "text", ["", "a b", "a..b", "-a", "a/b", "http://x", "x@y", "x,y", "a" * 64, "\x00", "a\n"]
)
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        plain(text)


def test_plain_names_and_addresses_pass() -> None:
    assert plain("DB_1.Example") == "db_1.example"
    assert plain("münchen.example") == "xn--mnchen-3ya.example"
    assert plain("10.0.0.7") == ip_address("10.0.0.7")
    assert plain("fd00::7") == ip_address("fd00::7")
    assert plain("\uff11\uff12\uff17.0.0.1") == ip_address("127.0.0.1"), (
        "other scripts' digits are what resolvers make of them"
    )


@pytest.mark.parametrize("text", [*EMBEDDED, *NEVER])
def test_disguised_and_link_local_addresses_are_refused_whatever_the_rules(text: str) -> None:
    everything = Rules(private=True, loopback=True, also=networks("0.0.0.0/0, ::/0", "x"))
    assert refusal(ip_address(text), everything)


def test_the_rules_say_the_rest() -> None:
    assert [bool(refusal(ip_address("10.1.2.3"), r)) for r in (STRICT, LAN, LOCAL)] == [True, False, True]
    assert [bool(refusal(ip_address("127.0.0.1"), r)) for r in (STRICT, LAN, LOCAL)] == [True, True, False]
    assert [bool(refusal(ip_address("::1"), r)) for r in (STRICT, LAN, LOCAL)] == [True, True, False]
    for public in ("8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"):
        assert refusal(ip_address(public), STRICT) == ""
    assert refusal(ip_address("198.18.0.1"), LAN)
    assert refusal(ip_address("198.18.0.1"), Rules(also=networks("198.18.0.0/15", "x"))) == ""
    with pytest.raises(InvalidRequest):
        networks("10.0.0.1/8", "x")


def names(*answers: str) -> Callable[[str, int], Awaitable[tuple[Address, ...]]]:
    """A name server that gives one answer after the other, the last one for ever; commas for several at once."""
    left = [*answers]

    async def lookup(_host: str, _port: int) -> tuple[Address, ...]:
        said = left.pop(0) if len(left) > 1 else left[0]
        return tuple(ip_address(a) for a in said.split(",") if a)

    return lookup


def guard(rules: Rules, *answers: str) -> Guard:
    async def asked() -> Rules:
        return rules

    return Guard(asked, names(*answers))


async def test_one_bad_answer_spoils_all() -> None:
    assert await guard(STRICT, "8.8.8.8,9.9.9.9,8.8.8.8").addresses("x.example", 1) == ("8.8.8.8", "9.9.9.9")
    for answers in ("8.8.8.8,10.0.0.1", "127.0.0.1", "64:ff9b::7f00:1,8.8.8.8", "169.254.169.254"):
        with pytest.raises(AddressRefused) as refused:
            await guard(STRICT, answers).addresses("x.example", 1, "connection.host")
        assert refused.value.field == "connection.host"
        assert "127." not in refused.value.detail, "what a name inside leads to is not told"
    with pytest.raises(NameUnresolved):
        await guard(STRICT, "").addresses("x.example", 1)


async def test_a_literal_is_judged_without_asking() -> None:
    assert await guard(STRICT, "").addresses("8.8.8.8", 1) == ("8.8.8.8",)
    with pytest.raises(AddressRefused):
        await guard(STRICT, "8.8.8.8").addresses("::ffff:127.0.0.1", 1)


async def test_while_nobody_can_be_asked_the_last_rules_hold_for_five_minutes() -> None:
    now, away = 0.0, False

    async def ask() -> Rules:
        if away:
            raise Unavailable("The catalog is away.")
        return LOCAL

    rules = Fresh(ask, lambda: now)
    away = True
    with pytest.raises(Unavailable):
        await rules()
    away = False
    assert await rules() == LOCAL
    now, away = KNOWN_SECONDS, True
    assert await rules() == LOCAL
    now += 1
    with pytest.raises(Unavailable):
        await rules()


async def test_many_at_once_share_the_rules_as_they_are_when_they_ask() -> None:
    rules, asked, begun, gate = LOCAL, 0, asyncio.Event(), asyncio.Event()

    async def ask() -> Rules:
        nonlocal asked
        asked, now = asked + 1, rules
        begun.set()
        await gate.wait()
        return now

    judge = Guard(ask)
    first = asyncio.gather(*(judge.addresses("127.0.0.1", 1) for _ in range(50)))
    cut_off = asyncio.create_task(judge.addresses("127.0.0.1", 1))
    await begun.wait()
    cut_off.cancel()
    rules = STRICT  # while it is being asked: whoever comes from here on goes by it
    later = asyncio.gather(*(judge.addresses("127.0.0.1", 1) for _ in range(50)), return_exceptions=True)
    await asyncio.sleep(0)  # they ask, and wait
    gate.set()
    assert set(await first) == {("127.0.0.1",)}
    assert {type(answer) for answer in await later} == {AddressRefused} and asked == 2
    with pytest.raises(asyncio.CancelledError):
        await cut_off


@asynccontextmanager
async def server(
    answer: bytes, context: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A web server of one answer on 127.0.0.1: its port and what it was sent."""
    heard: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=context)
    async with listening:
        yield listening.sockets[0].getsockname()[1], heard


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"


async def test_the_connection_goes_to_the_address_that_was_judged() -> None:
    # the second look at the name would lead to metadata: there is none
    async with server(OK) as (port, heard):
        web = GuardedWeb(guard(LOCAL, "127.0.0.1", "169.254.169.254"))
        assert await web.send("POST", f"http://hook.example:{port}/x?y=1", body=b"{}") == (200, b"hi")
        assert heard[0].startswith(b"POST /x?y=1 HTTP/1.1\r\n")
        assert f"host: hook.example:{port}".encode() in heard[0].lower()
        with pytest.raises(AddressRefused):
            await web.send("POST", f"http://hook.example:{port}/")
        await web.close()
    assert len(heard) == 1


async def test_tls_verifies_the_name_while_the_address_is_pinned(tmp_path: Path) -> None:
    authority = certificates(tmp_path, "hook.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.server_file)
    trusting = ssl.create_default_context(cadata=authority.pem)
    async with server(OK, context) as (port, _):
        web = GuardedWeb(guard(LOCAL, "127.0.0.1"), verify=trusting)
        assert await web.send("GET", f"https://hook.example:{port}/") == (200, b"hi")
        with pytest.raises(Unreachable):
            await web.send("GET", f"https://other.example:{port}/")
        await web.close()


async def test_redirects_are_not_followed_and_answers_are_bounded() -> None:
    moved = b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"
    endless = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 3_000_000
    web = GuardedWeb(guard(LOCAL, "127.0.0.1"))
    async with server(moved) as (port, _):
        assert (await web.send("GET", f"http://hook.example:{port}/"))[0] == 302
    async with server(endless) as (port, _):
        assert len((await web.send("GET", f"http://hook.example:{port}/"))[1]) == 1 << 20
    await web.close()


@pytest.mark.parametrize(
    "url",
    ["ftp://x.example/", "//x.example", "x.example", "https://", "https://a@b.example/", "https://x.example\\@y.example/",
     "https://x.example:99999/", "https://x .example/", "https://x.example/\n", "javascript:1"],
)  # fmt: skip
async def test_what_is_no_web_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await GuardedWeb(guard(LOCAL, "127.0.0.1")).send("GET", url)
    assert refused.value.field == "url"


async def test_plain_http_stays_on_this_machine() -> None:
    with pytest.raises(AddressRefused):
        await GuardedWeb(guard(STRICT, "8.8.8.8")).send("GET", "http://hook.example/")
