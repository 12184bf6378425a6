"""The connection test: name, TCP, TLS, sign-in, privileges, each with its time and its fix."""

import asyncio
import contextlib
import ssl
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import bson

from ...domain.errors import (
    MissingPrivilege,
    NameUnresolved,
    SignInRejected,
    StorageError,
    TlsMismatch,
    Unreachable,
)
from ...domain.provider import CheckStep, StepStatus, TlsMode
from .errors import GRANT_HINT, RESTORE_HINT
from .link import Link, host_and_port

STEPS = ("name", "tcp", "tls", "sign_in", "privileges")
#: What managing and backing up databases takes, on every database.
NEEDED = frozenset(
    {
        *("find", "insert", "update", "remove", "bypassDocumentValidation"),
        *("createCollection", "createIndex", "collMod", "dropCollection", "dropDatabase"),
        *("listCollections", "listIndexes", "dbStats", "collStats"),
    }
)

#: What restoring takes beyond that, by what it is needed for: MongoDB counts these collections as its own.
DATA, TIME_SERIES, FUNCTIONS = "collections", "time series", "stored functions"
RESTORING: Mapping[str, frozenset[str]] = {
    TIME_SERIES: frozenset({"insert", "bypassDocumentValidation"}),
    FUNCTIONS: frozenset({"insert"}),
}


async def resolve(link: Link) -> str:
    host, _ = host_and_port(link.endpoint)
    try:
        async with asyncio.timeout(link.patience):
            found = await link.addresses()
    except TimeoutError as error:
        raise NameUnresolved(f"The name servers did not answer for {host}.") from error
    return f"{host} is {found[0]}"


async def reach(link: Link) -> str:
    async with _connected(link, None):
        host, port = host_and_port(link.endpoint)
        return f"{host} accepts connections on port {port}"


async def shake_hands(link: Link) -> str:
    """Speak as the provider's settings say; TlsMismatch when the server speaks otherwise."""
    endpoint = link.endpoint
    if endpoint.tls is TlsMode.DISABLE:
        if await _answers(link, None):
            return "plain connection, as configured"
        if await _answers(link, _context(TlsMode.REQUIRE, None)):
            raise TlsMismatch(
                "The server accepts only TLS.", hint="Set tls to require, verify-ca or verify-full."
            )
        raise Unreachable(
            "The server closes plain connections.", hint="It may accept only TLS: check the tls mode."
        )
    try:
        if await _answers(link, _context(endpoint.tls, endpoint.tls_ca)):
            return f"TLS, {endpoint.tls}"
    except ssl.SSLCertVerificationError as error:
        raise TlsMismatch(
            f"The server's certificate does not hold: {error.verify_message}.",
            hint="Give the authority that signed it (tls_ca), or use the name the certificate was made for.",
        ) from error
    if await _answers(link, None):
        raise TlsMismatch(
            "The server does not speak TLS.", hint="Set tls to disable, or switch TLS on at the server."
        )
    raise TlsMismatch(
        "The TLS handshake failed.", hint="The server may want another TLS version or a certificate."
    )


def _context(mode: TlsMode, authority: str | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cadata=authority or None)
    except ssl.SSLError as error:
        raise TlsMismatch(
            "The provider's certificate authority cannot be read.", hint="Give it as PEM text."
        ) from error
    context.check_hostname = mode is TlsMode.VERIFY_FULL
    if mode is TlsMode.REQUIRE:
        context.verify_mode = ssl.CERT_NONE
    return context


@contextlib.asynccontextmanager
async def _connected(
    link: Link, context: ssl.SSLContext | None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, port = host_and_port(link.endpoint)
    try:
        async with asyncio.timeout(link.patience):
            streams = await _dialled(await link.addresses(), port, context, host if context else None)
    except ssl.SSLError:
        raise
    except TimeoutError as error:
        raise Unreachable(f"{host}:{port} did not answer within {link.patience:g} s.") from error
    except OSError as error:
        raise Unreachable(f"{host}:{port} refused the connection.") from error
    try:
        yield streams
    finally:
        streams[1].close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(1):
                await streams[1].wait_closed()


async def _dialled(
    addresses: tuple[str, ...], port: int, context: ssl.SSLContext | None, name: str | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The first address that accepts a connection; the name is what its certificate must be for."""
    for address in addresses[:-1]:
        try:
            return await asyncio.open_connection(address, port, ssl=context, server_hostname=name)
        except ConnectionError:
            continue
    return await asyncio.open_connection(addresses[-1], port, ssl=context, server_hostname=name)


async def _answers(link: Link, context: ssl.SSLContext | None) -> bool:
    """Whether a server greets back over this kind of connection; raises SSLCertVerificationError only."""
    body = b"\x00\x00\x00\x00\x00" + bson.encode({"hello": 1, "$db": "admin"})
    try:
        async with _connected(link, context) as (reader, writer), asyncio.timeout(link.patience):
            writer.write(struct.pack("<iiii", 16 + len(body), 1, 0, 2013) + body)
            await writer.drain()
            return len(await reader.readexactly(16)) == 16
    except ssl.SSLCertVerificationError:
        raise
    except (OSError, TimeoutError, asyncio.IncompleteReadError, Unreachable):
        return False


async def explain(link: Link) -> StorageError | None:
    """Why a connection fails, if the network can tell."""
    try:
        for probe in (resolve, reach, shake_hands):
            await probe(link)
    except StorageError as error:
        return error
    return None


async def sign_in(link: Link) -> str:
    async with link.speaking() as client:
        status = await client.admin.command("connectionStatus")
        users = [user["user"] for user in status["authInfo"]["authenticatedUsers"]]
        if not users:
            await client.admin.command(
                {"listDatabases": 1, "nameOnly": True}
            )  # refused where sign-in is wanted
            return "the server wants no sign-in"
    if link.endpoint.user not in users:
        raise SignInRejected(f"{link.place} did not take the provider's user.")
    return f"signed in as {link.endpoint.user}"


async def privileges(link: Link) -> str:
    """What the user may do; MissingPrivilege for what managing takes. Restoring is only spoken of."""
    async with link.speaking() as client:
        names = await client.list_database_names()
        info = (await client.admin.command({"connectionStatus": 1, "showPrivileges": True}))["authInfo"]
    said = f"may manage databases; sees {len(names)}"
    if info["authenticatedUsers"]:
        held = _held(info["authenticatedUserPrivileges"])
        if missing := sorted(NEEDED - held[DATA]):
            raise MissingPrivilege(f"The user may not: {', '.join(missing)}.", hint=GRANT_HINT)
        if lacking := sorted(what for what, needs in RESTORING.items() if not needs <= held[what]):
            said += (
                f"; may not restore {' or '.join(lacking)}, so their backups stay unproven. {RESTORE_HINT}"
            )
    return said


def _held(granted: list[dict[str, Any]]) -> dict[str, set[str]]:
    """What may be done in every database: with collections, time series' buckets, stored functions."""
    held: dict[str, set[str]] = {what: set() for what in (DATA, *RESTORING)}
    for privilege in granted:
        resource, actions = privilege["resource"], {*privilege["actions"]}
        if "anyAction" in actions:
            actions |= NEEDED
        if resource.get("anyResource"):
            reached = [*held]
        elif resource.get("system_buckets") == "" and not resource.get("db"):
            reached = [TIME_SERIES]
        elif resource.get("db") == "":
            reached = {"": [DATA], "system.js": [FUNCTIONS]}.get(resource.get("collection", "-"), [])
        else:
            reached = list[str]()
        for what in reached:
            held[what] |= actions
    return held


async def run(link: Link) -> tuple[CheckStep, ...]:
    """Test step by step; after the first failure the rest is skipped."""
    probes: tuple[Callable[[], Awaitable[str]], ...] = (
        lambda: resolve(link),
        lambda: reach(link),
        lambda: shake_hands(link),
        lambda: sign_in(link),
        lambda: privileges(link),
    )
    steps: list[CheckStep] = []
    for name, probe in zip(STEPS, probes, strict=True):
        if steps and steps[-1].status is not StepStatus.PASSED:
            steps.append(CheckStep(name, StepStatus.SKIPPED, "an earlier step failed"))
            continue
        begun = time.perf_counter()
        try:
            async with asyncio.timeout(4 * link.patience):
                detail, status, fix, code = await probe(), StepStatus.PASSED, "", None
        except TimeoutError:
            late = Unreachable(f"{link.place} did not answer in time.")
            detail, status, fix, code = late.detail, StepStatus.FAILED, late.hint, late.code
        except StorageError as error:
            detail, status, fix, code = error.detail, StepStatus.FAILED, error.hint, error.code
        took = round((time.perf_counter() - begun) * 1000, 2)
        steps.append(CheckStep(name, status, detail, fix, code, took))
    return tuple(steps)
