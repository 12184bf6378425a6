"""From PyMongo's errors to the product's: what happened and the way out, never a URI or a password."""

import re
from typing import Any

from pymongo.errors import (
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    DocumentTooLarge,
    InvalidName,
    NetworkTimeout,
    NotPrimaryError,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WaitQueueTimeoutError,
)

from ...domain.errors import (
    Conflict,
    EngineFailure,
    Interrupted,
    InvalidRequest,
    MissingPrivilege,
    NameTaken,
    NotFound,
    SignInRejected,
    StorageError,
    StorageFull,
    TimedOut,
    Unavailable,
    Unreachable,
)

GRANT_HINT = "Grant the provider's user the roles readWriteAnyDatabase and dbAdminAnyDatabase on admin."
RESTORE_HINT = "Grant the provider's user the role restore on admin."
SIGN_IN_HINT = "Check user and password of the provider, and the database the user was created in."

#: The read lost its place: the collection was dropped, renamed, rolled over, or the server gave up the cursor.
LOST_CURSOR = frozenset({43, 136, 175, 237})
UNAUTHORIZED = 13
#: Transactions that met: of the server's code, and of its label for whatever ended one.
WRITE_CONFLICT, COLLIDED = 112, "TransientTransactionError"
#: A document as sent, or as an update would leave it.
TOO_LARGE = frozenset({10334, 17419, 17420})
TOO_LONG = frozenset({50, 262})
DUPLICATE_KEY = frozenset({11000, 11001})


def is_unsent(error: PyMongoError) -> bool:
    """Whether what was asked for has surely not reached a server."""
    return isinstance(error, ServerSelectionTimeoutError | WaitQueueTimeoutError)


def is_collision(error: PyMongoError) -> bool:
    """Whether another transaction got in the way."""
    return error.has_error_label(COLLIDED) or getattr(error, "code", None) == WRITE_CONFLICT


def is_too_large(error: PyMongoError) -> bool:
    return isinstance(error, DocumentTooLarge) or getattr(error, "code", None) in TOO_LARGE


def translate(error: PyMongoError, place: str) -> StorageError:
    """The product's error for a driver error at `place` (``host:port``)."""
    if isinstance(error, OperationFailure) and is_collision(error):
        return Conflict(
            "Another transaction changed the same documents.", hint="Repeat the transaction whole."
        )
    if is_too_large(error):
        return InvalidRequest(
            "The document is larger than the 16 MB that MongoDB keeps.",
            field="data",
            hint="Store it in parts, or its large values as files.",
        )
    if isinstance(error, BulkWriteError):
        return _bulk(error)
    if isinstance(error, NotPrimaryError):
        return Unreachable(
            f"{place} is not the primary of its replica set.",
            hint="Give the provider the replica set's name.",
        )
    if isinstance(error, OperationFailure):
        return _refused(error, place)
    if isinstance(error, WaitQueueTimeoutError):
        return Unavailable(f"All connections to {place} are busy.", hint="Try again in a moment.")
    if isinstance(error, ServerSelectionTimeoutError) and "AuthenticationFailed" in str(error):
        return SignInRejected(f"{place} rejected the provider's user or password.", hint=SIGN_IN_HINT)
    if isinstance(error, ServerSelectionTimeoutError) and "replica set" in str(error).lower():
        return Unreachable(
            f"No usable member of the replica set answered at {place}.",
            hint="Check the replica set's name, that it has a primary, and that its members' addresses are reachable.",
        )
    if isinstance(error, NetworkTimeout):
        return TimedOut(f"{place} did not answer in time.")
    if isinstance(error, ConnectionFailure):
        return Unreachable(f"The connection to {place} failed.")
    if isinstance(error, InvalidName):
        return InvalidRequest("MongoDB refuses the name.", field="name")
    if isinstance(error, ConfigurationError):
        return EngineFailure(
            f"The driver refuses the settings of {place}.", hint="Check the provider's connection."
        )
    return EngineFailure(f"MongoDB's driver reported {type(error).__name__}.")


def _said(error: OperationFailure) -> str:
    reason = str((error.details or {}).get("errmsg") or "no reason given")
    reason = re.sub(r"execute command \{ (\w+):.*", r"execute \1", reason, flags=re.DOTALL)
    return f"MongoDB answered {error.code}: {reason}"[:300]


def _bulk(error: BulkWriteError) -> StorageError:
    errors: list[dict[str, Any]] = (error.details or {}).get("writeErrors") or [{"errmsg": "no reason given"}]
    first = errors[0]
    if first.get("code") == UNAUTHORIZED:
        return MissingPrivilege(str(first.get("errmsg") or "A write was refused.")[:300], hint=GRANT_HINT)
    if first.get("code") in DUPLICATE_KEY:
        return Conflict(
            "A document's key is there twice.", hint="A unique index and the data do not fit together."
        )
    return EngineFailure(f"MongoDB refused a document ({first.get('code')}): {first.get('errmsg', '')}"[:300])


def _refused(error: OperationFailure, place: str) -> StorageError:
    said = _said(error)
    match error.code:
        case 11 | 18:
            return SignInRejected(f"{place} rejected the provider's user or password.", hint=SIGN_IN_HINT)
        case 13 if "requires authentication" in said:
            return SignInRejected(
                f"{place} wants a sign-in.", hint="Give the provider a user and a password."
            )
        case 13:
            return MissingPrivilege(said, hint=GRANT_HINT)
        case 26:
            return NotFound(said)
        case 48 | 13297:
            return NameTaken(said, field="name")
        case 73:
            return InvalidRequest(said, field="name")
        case 14031:
            return StorageFull(said, hint="Free space on the MongoDB server's disk.")
        case 239:
            return EngineFailure(
                "The server no longer keeps the moment this read began at.",
                hint="Raise minSnapshotHistoryWindowInSeconds on the server above the time a backup takes.",
            )
        case 246:
            return Conflict(
                "A collection or index was changed while the snapshot was read.",
                hint="Run it again afterwards.",
            )
        case code if code in TOO_LONG:
            return TimedOut(said)
        case code if code in LOST_CURSOR:
            return Interrupted(f"The read lost its place. {said}", hint="Run it again.")
        case code if code in DUPLICATE_KEY:
            return Conflict("A key is there twice.", hint="A unique index and the data do not fit together.")
        case _:
            return EngineFailure(said)
