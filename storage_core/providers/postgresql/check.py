"""Testing a connection step by step: name, tcp, tls, sign_in, privileges."""

import asyncio
import contextlib
import ssl
import time
from collections.abc import Awaitable, Callable

from ...domain.errors import StorageError
from ...domain.provider import CheckStep, StepStatus, TlsMode
from .dial import Connection, Dialer
from .errors import DRIVER_ERRORS, createdb_hint
from .tls import client_context

SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
MINIMUM_MAJOR = 13

PRIVILEGES = """
select rolsuper, rolcreatedb, rolbypassrls, pg_has_role(oid, 'pg_read_all_stats', 'member') as stats
from pg_roles where rolname = current_user
"""


class _Refused(Exception):
    """A step failed for a reason of its own."""

    def __init__(self, detail: str, fix: str, code: str) -> None:
        super().__init__(detail)
        self.detail, self.fix, self.code = detail, fix, code


class _Warned(_Refused):
    """A step passed, and something will not work."""


class Check:
    """One run of the test: each step finds what the next one needs."""

    def __init__(self, dialer: Dialer) -> None:
        self._dialer = dialer
        self._addresses: tuple[str, ...] = ()
        self._address = ""
        self._connection: Connection | None = None

    async def run(self) -> tuple[CheckStep, ...]:
        steps: list[CheckStep] = []
        work: dict[str, Callable[[], Awaitable[str | None]]] = {
            "name": self._name,
            "tcp": self._tcp,
            "tls": self._tls,
            "sign_in": self._sign_in,
            "privileges": self._privileges,
        }
        failed = False
        try:
            for name, step in work.items():
                if failed:
                    steps.append(CheckStep(name, StepStatus.SKIPPED, "An earlier step failed."))
                    continue
                steps.append(await self._step(name, step))
                failed = steps[-1].status is StepStatus.FAILED
        finally:
            if self._connection is not None:
                self._connection.terminate()
        return tuple(steps)

    async def _step(self, name: str, step: Callable[[], Awaitable[str | None]]) -> CheckStep:
        began = time.perf_counter()

        def took() -> float:
            return round((time.perf_counter() - began) * 1000, 1)

        try:
            detail = await step()
        except _Refused as refused:
            status = StepStatus.WARNING if isinstance(refused, _Warned) else StepStatus.FAILED
            return CheckStep(name, status, refused.detail, refused.fix, refused.code, took())
        except StorageError as error:
            return CheckStep(name, StepStatus.FAILED, error.detail, error.hint, error.code, took())
        except DRIVER_ERRORS as error:
            ours = self._dialer.errors.translate(error)
            return CheckStep(name, StepStatus.FAILED, ours.detail, ours.hint, ours.code, took())
        if detail is None:
            return CheckStep(name, StepStatus.SKIPPED, "TLS is off for this provider.", milliseconds=took())
        return CheckStep(name, StepStatus.PASSED, detail, milliseconds=took())

    async def _name(self) -> str:
        self._addresses = await self._dialer.addresses()
        return f"{self._dialer.host} is {', '.join(self._addresses)}."

    async def _tcp(self) -> str:
        for address in self._addresses:
            try:
                async with asyncio.timeout(self._dialer.connect_seconds):
                    _, writer = await asyncio.open_connection(address, self._dialer.port)
            except OSError:  # refused, unreachable and too slow alike: the next address may do
                if address == self._addresses[-1]:
                    raise
                continue
            await _closed(writer)
            self._address = address
            break
        return f"{self._address} accepts connections on port {self._dialer.port}."

    async def _tls(self) -> str | None:
        context = client_context(self._dialer.endpoint, self._dialer.host)
        if context is None:
            return None
        async with asyncio.timeout(self._dialer.connect_seconds):
            reader, writer = await asyncio.open_connection(self._address, self._dialer.port)
            try:
                writer.write(SSL_REQUEST)
                if await reader.readexactly(1) != b"S":
                    raise ConnectionError("rejected SSL upgrade")
                await writer.start_tls(context, server_hostname=self._dialer.host)
                session = writer.get_extra_info("ssl_object")
                version = session.version() if isinstance(session, ssl.SSLObject) else "TLS"
            finally:
                await _closed(writer)
        how = "checked" if self._dialer.verifies else "not checked"
        if self._dialer.endpoint.tls is TlsMode.VERIFY_CA:
            how = "checked, its name is not"
        return f"{version}; the server's certificate is {how}."

    async def _sign_in(self) -> str:
        self._connection, _ = await self._dialer.dial(address=self._address)
        version = self._connection.get_server_version()
        if version.major < MINIMUM_MAJOR:
            raise _Refused(
                f"PostgreSQL {version.major} is older than what is supported.",
                f"Upgrade the server to {MINIMUM_MAJOR} or newer.",
                "unsupported",
            )
        return f"Signed in as {self._dialer.user} to PostgreSQL {version.major}.{version.minor}."

    async def _privileges(self) -> str:
        assert self._connection is not None  # noqa: S101 - the step before made it
        row = await self._connection.fetchrow(PRIVILEGES)
        count = await self._connection.fetchval("select count(*) from pg_database")
        user = self._dialer.user
        if row is None or not (row["rolsuper"] or row["rolcreatedb"]):
            raise _Warned(
                f"{user} may not create databases (databases.create): databases can be adopted and backed up; making"
                " and restoring one is refused, and backups are proven on the proof provider or stay unproven.",
                createdb_hint(user),
                "missing_privilege",
            )
        if row["rolsuper"]:
            return f"Superuser; sees {count} databases."
        notes = "owners, grants and some kinds of objects cannot be restored by it"
        if not row["rolbypassrls"]:
            notes += "; tables under other users' row security cannot be backed up by it"
        return f"May create databases, sees {count}; not a superuser: {notes}."


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(2):
            await writer.wait_closed()
