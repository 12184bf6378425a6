"""From asyncpg's, SQLAlchemy's, the socket's and TLS's errors to ours: code, what happened, the way out."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
from asyncpg import exceptions as pg
from sqlalchemy.exc import SQLAlchemyError

from ...domain.errors import (
    EngineFailure,
    InUse,
    MissingPrivilege,
    NameTaken,
    NameUnresolved,
    NotFound,
    SignInRejected,
    StorageError,
    TlsMismatch,
    Unavailable,
    Unreachable,
)
from ...domain.naming import said
from ...domain.provider import TlsMode
from .sql import ident

DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, SQLAlchemyError, OSError, EOFError)

HBA_HINT = "Add a line for this user, database and address to the server's pg_hba.conf and reload it."
HOSTNAME_MISMATCH = (62, 64)  # OpenSSL: X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH

#: What a state of the server means, in words of ours: class, message, hint.
STATES: tuple[tuple[type[asyncpg.PostgresError], type[StorageError], str], ...] = (
    (pg.InvalidPasswordError, SignInRejected, ""),
    (pg.DuplicateDatabaseError, NameTaken, ""),
    (
        pg.InsufficientPrivilegeError,
        MissingPrivilege,
        "Grant the provider's user what the message names, or use one that has it.",
    ),
    (
        pg.TooManyConnectionsError,
        Unavailable,
        "Raise the server's max_connections, or close connections that nobody needs.",
    ),
    (
        pg.LockNotAvailableError,
        InUse,
        "Another session holds a lock on a table. Wait for it to end, or end it, and run this again.",
    ),
    (
        pg.DependentObjectsStillExistError,
        InUse,
        "Objects of others depend on it: drop those first, or that they depend on it.",
    ),
    (pg.ObjectInUseError, InUse, "End what uses the database (sessions, replication slots, subscriptions)."),
    (
        pg.CannotConnectNowError,
        Unreachable,
        "The server is starting or stopping: wait a moment and try again.",
    ),
    (pg.AdminShutdownError, Unreachable, "The server was stopped or ended the session: try again."),
    (pg.CrashShutdownError, Unreachable, "The server crashed and recovers: wait a moment and try again."),
    (pg.PostgresConnectionError, Unreachable, ""),
    (pg.DiskFullError, EngineFailure, "The server's disk is full: free space there."),
    (
        pg.ReadOnlySQLTransactionError,
        EngineFailure,
        "The server is a standby or read-only: use its primary.",
    ),
)


def createdb_hint(user: str) -> str:
    return f"As an administrator: ALTER ROLE {ident(user)} CREATEDB;"


class ErrorMap:
    """Translates for one endpoint. No text that leaves here contains the password."""

    def __init__(self, host: str, port: int, user: str, tls: TlsMode, password: str | None) -> None:
        self._where = f"{host}:{port}"
        self._host, self._user, self._tls, self._password = host, user, tls, password

    def redact(self, text: str) -> str:
        return text.replace(self._password, "***") if self._password else text

    @contextmanager
    def speaking(self, database: str | None = None) -> Iterator[None]:
        """Let only domain errors pass; `database` is the one meant when the server does not know it."""
        try:
            yield
        except DRIVER_ERRORS as error:
            raise self.translate(error, database) from error

    def translate(self, error: BaseException, database: str | None = None) -> StorageError:
        return self.redacted(self._translate(unwrapped(error), database))

    def redacted(self, error: StorageError) -> StorageError:
        """The same error, without the password in its texts."""
        error.detail, error.hint = self.redact(error.detail), self.redact(error.hint)
        error.args = (error.detail,)
        return error

    def _translate(self, error: BaseException, database: str | None) -> StorageError:
        if isinstance(error, asyncpg.PostgresError):
            return self._server_said(error, database)
        if isinstance(error, socket.gaierror):
            return NameUnresolved(f"The host name {self._host} cannot be resolved.")
        if isinstance(error, ssl.SSLError):
            return self._tls_failed(error)
        if "rejected SSL upgrade" in str(error):
            return TlsMismatch(
                f"The server {self._where} does not offer TLS, and the provider demands it.",
                hint="Switch TLS on at the server (ssl = on), or set tls to disable where the network is trusted.",
            )
        if isinstance(error, TimeoutError):
            return Unreachable(f"The server {self._where} did not answer in time.")
        if isinstance(error, OSError):
            reason = error.strerror or "the connection broke"
            return Unreachable(f"The server {self._where} cannot be reached: {reason}.")
        if isinstance(error, asyncpg.InterfaceError | EOFError):
            return Unreachable(f"The connection to {self._where} was lost.")
        return EngineFailure(f"The PostgreSQL driver failed: {type(error).__name__}.")

    def _server_said(self, error: asyncpg.PostgresError, database: str | None) -> StorageError:
        said = str(error.args[0]) if error.args else type(error).__name__
        if isinstance(error, pg.InvalidCatalogNameError) or (
            # PgBouncer's way to say the same
            isinstance(error, pg.ProtocolViolationError)
            and said.startswith("database ")
            and said.endswith("does not exist")
        ):
            return self._no_database(database)
        if isinstance(error, pg.InvalidAuthorizationSpecificationError) and not isinstance(
            error, pg.InvalidPasswordError
        ):
            return self._not_let_in(said)
        if (
            isinstance(error, pg.InsufficientPrivilegeError)
            and said == "permission denied to create database"
        ):
            return MissingPrivilege(f"PostgreSQL: {said}", hint=createdb_hint(self._user))
        if isinstance(error, pg.InsufficientPrivilegeError) and database is not None and _not_let_into(said):
            grant = f"GRANT CONNECT ON DATABASE {ident(database)} TO {ident(self._user)};"
            return MissingPrivilege(f"PostgreSQL: {said}", hint=f"As its owner or an administrator: {grant}")
        for state, ours, hint in STATES:
            if isinstance(error, state):
                return ours(f"PostgreSQL: {said}", hint=hint)
        return EngineFailure(f"PostgreSQL: {said}", hint=str(getattr(error, "hint", None) or ""))

    def _no_database(self, database: str | None) -> NotFound:
        if database is not None:
            return NotFound(f"The database {said(database, 200)} does not exist on {self._where}.")
        return NotFound(
            f"The maintenance database of the provider does not exist on {self._where}.",
            hint="Set the provider's `database` to one that exists, usually postgres.",
        )

    def _not_let_in(self, said: str) -> StorageError:
        if "pg_hba.conf" not in said:
            return SignInRejected(f"PostgreSQL: {said}")
        if self._tls is TlsMode.DISABLE and ("no encryption" in said or "SSL off" in said):
            return TlsMismatch(
                f"The server {self._where} does not let {self._user} in without TLS.",
                hint="Set tls to require (or verify-full with the authority's certificate). "
                f"If the server has no TLS either: {HBA_HINT}",
            )
        return SignInRejected(f"PostgreSQL: {said}", hint=HBA_HINT)

    def _tls_failed(self, error: ssl.SSLError) -> TlsMismatch:
        if isinstance(error, ssl.SSLCertVerificationError):
            if error.verify_code in HOSTNAME_MISMATCH:
                return TlsMismatch(
                    f"The certificate of {self._where} is for another name than {self._host}.",
                    hint="Use the name in the certificate as host, or set tls to verify-ca.",
                )
            return TlsMismatch(
                f"The certificate of {self._where} cannot be trusted: {error.verify_message}.",
                hint="Set tls_ca to the certificate of the authority that signed the server's.",
            )
        return TlsMismatch(
            f"TLS with {self._where} failed: {error.reason or 'no common ground'}.",
            hint="Check that the server offers TLS 1.2 or newer.",
        )


def _not_let_into(said: str) -> bool:
    return said.startswith("permission denied for database")


def unwrapped(error: BaseException) -> BaseException:
    """The driver's own error inside SQLAlchemy's wrapping."""
    for _ in range(4):
        inner = getattr(error, "orig", None)
        if inner is None and isinstance(error.__cause__, asyncpg.PostgresError | OSError):
            inner = error.__cause__
        if not isinstance(inner, BaseException) or isinstance(error, asyncpg.PostgresError | OSError):
            break
        error = inner
    return error
