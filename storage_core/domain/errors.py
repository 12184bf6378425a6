"""Every refusal and failure the product speaks of: a stable code, a status, what happened, the way out."""

from typing import ClassVar, Self


class StorageError(Exception):
    """Base of all errors that may reach a caller.

    ``code`` is stable and documented; ``status`` is the HTTP status every door maps it to; ``detail``
    says what happened; ``hint`` says what to do; ``field`` names the offending request field, dotted.
    """

    code: ClassVar[str] = "storage_error"
    title: ClassVar[str] = "Storage error"
    status: ClassVar[int] = 500
    default_hint: ClassVar[str] = ""
    transient: ClassVar[bool] = False

    def __init__(self, detail: str, *, hint: str = "", field: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint or self.default_hint
        self.field = field


class Malformed(StorageError):
    code, title, status = "malformed", "The request cannot be read", 400


class TooLarge(Malformed):
    code, title, status = "too_large", "The body is too large", 413
    default_hint = "Send less at once."


class AddressTooLong(Malformed):
    code, title, status = "uri_too_long", "The address is too long", 414
    default_hint = "Send long values in a request's body."


class HeadersTooLarge(Malformed):
    code, title, status = "headers_too_large", "The headers are too large", 431
    default_hint = "Clear this site's cookies, or send fewer headers."


class WrongMethod(Malformed):
    code, title, status = "method_not_allowed", "This address does not know the method", 405
    default_hint = "Look at /api/docs for the method."


class InvalidRequest(StorageError):
    code, title, status = "invalid_request", "The request has a wrong value", 422


class ConfirmationRequired(InvalidRequest):
    code, title = "confirmation_required", "This needs the exact name typed"


class AddressRefused(InvalidRequest):
    code, title = "address_refused", "The address is not allowed"
    default_hint = (
        "Use a host on an allowed network; a SuperAdmin can allow further networks in the settings. "
        "Link-local and metadata addresses are never allowed."
    )


class ApprovalRequired(StorageError):
    """The two-person rule: the call was noted and waits for somebody else; repeat it once they approved."""

    code, title, status = "approval_required", "A second person must approve this", 403
    default_hint = (
        "Another administrator of this scope approves it under Settings, Approvals; then repeat it."
    )


class Unsupported(StorageError):
    code, title, status = "unsupported", "This engine cannot do that", 422


class Unauthenticated(StorageError):
    code, title, status = "unauthenticated", "Sign in first", 401
    default_hint = "Sign in, or send a valid API token as `Authorization: Bearer …`."


class WrongPassword(Unauthenticated):
    code, title = "wrong_password", "The password is wrong"
    default_hint = "Check it and try again."


class IdentityRefused(Unauthenticated):
    code, title = "identity_refused", "The identity provider's answer does not hold"
    default_hint = "Try again; if it stays, the audit log has the reason for an administrator."


class SignInExpired(Unauthenticated):
    """The attempt was begun elsewhere or too long ago, or was ended before."""

    code, title = "sign_in_expired", "The sign-in took too long, or was used already"
    default_hint = "Begin again from the sign-in page, in one window, at the console's public address."


class Forbidden(StorageError):
    code, title, status = "forbidden", "Your role does not allow this", 403
    default_hint = "Ask an administrator of this scope for a role that allows it."


class SignInAgain(Forbidden):
    """The sign-in is fine, and too long ago for what is asked: renew it and repeat the call."""

    code, title = "sign_in_again", "Confirm that it is you"
    default_hint = "Sign in again (the same session goes on), then repeat it within five minutes."


class NoRole(Forbidden):
    code, title = "no_role", "You hold no role here yet"
    default_hint = "Ask an administrator to give you one; you are listed among the users."


class UserDisabled(Forbidden):
    code, title = "user_disabled", "This user is disabled"
    default_hint = "Ask an administrator."


class PolicyRefused(Forbidden):
    code, title = "policy_refused", "The tenant's policy does not allow this"
    default_hint = "Ask an administrator to change the tenant's policy."


class CrossSite(Forbidden):
    code, title = "cross_site", "Refused: the request came from another site"
    default_hint = "Use the console's own pages, or an API token in the Authorization header."


class TenantRequired(Forbidden):
    code, title = "tenant_required", "No tenant is set"
    default_hint = "Set a tenant: `with tenant_scope(…)`, the X-Tenant-ID header, or a token of one tenant."


class TenantMismatch(Forbidden):
    code, title = "tenant_mismatch", "The request names two tenants"
    default_hint = "Leave X-Tenant-ID out, or send the tenant of your token."


class NotFound(StorageError):
    code, title, status = "not_found", "Not found", 404
    default_hint = "Check the id; what lies outside your scope is not shown either."


class Gone(StorageError):
    code, title, status = "gone", "No longer available", 410


class Conflict(StorageError):
    code, title, status = "conflict", "The current state does not allow this", 409


class NameTaken(Conflict):
    code, title = "name_taken", "The name is taken"
    default_hint = "Choose another name."


class InUse(Conflict):
    code, title = "in_use", "Something still depends on this"


class VersionConflict(Conflict):
    code, title = "version_conflict", "Somebody else was faster"
    default_hint = "Read it again and repeat the change."


class QuotaExceeded(Conflict):
    code, title = "quota_exceeded", "The quota is used up"
    default_hint = "Delete what is no longer needed, or ask an administrator for a larger quota."


class Cancelled(Conflict):
    code, title = "cancelled", "Cancelled"


class Protected(StorageError):
    code, title, status = "protected", "It is protected", 423
    default_hint = "Remove the protection first; an administrator can."


class Locked(StorageError):
    code, title, status = "locked", "Locked", 423


class TenantSuspended(Locked):
    code, title = "tenant_suspended", "The tenant is suspended"
    default_hint = "A SuperAdmin can resume it."


class WrongKey(Locked):
    code, title = "wrong_key", "The key does not open this"
    default_hint = "Start with the master key that sealed it (STORAGE_MASTER_KEY or STORAGE_MASTER_KEY_FILE)."


class TooManyRequests(StorageError):
    """`retry_after` is how many seconds to wait."""

    code, title, status = "too_many_requests", "Too many requests", 429

    def __init__(
        self, detail: str, *, hint: str = "", field: str | None = None, retry_after: int = 60
    ) -> None:
        super().__init__(detail, hint=hint or f"Wait {waiting(retry_after)} and try again.", field=field)
        self.retry_after = retry_after


def waiting(seconds: int) -> str:
    """How long to wait, as people say it; never less than that."""
    if seconds <= 90:
        return "a second" if seconds <= 1 else f"{seconds} seconds"
    return f"{-(-seconds // 60)} minutes"


class Unavailable(StorageError):
    """`not_done`: whatever was asked for has surely not been done, so that a write, too, may be repeated."""

    code, title, status = "unavailable", "Not available right now", 503
    transient = True
    not_done = False

    def undone(self) -> Self:
        """Say that what was asked for has surely not been done."""
        self.not_done = True
        return self


class TimedOut(Unavailable):
    """No answer in time: a read has ended, of a write nobody knows whether it was done."""

    code, title = "timed_out", "The engine did not answer in time"
    default_hint = "Try again; look for long transactions and slow queries on the engine."


class Unreachable(Unavailable):
    code, title = "engine_unreachable", "The server cannot be reached"
    default_hint = "Check host and port, and that the server runs and accepts connections from here."


class IssuerUnavailable(Unavailable):
    code, title = "issuer_unavailable", "The identity provider does not answer as it should"
    default_hint = "Try again in a moment; an administrator can check STORAGE_OIDC_ISSUER."


class CircuitOpen(Unavailable):
    code, title = "circuit_open", "The server failed repeatedly and is being left alone"
    not_done = True
    default_hint = "It is tried again on its own within seconds; test the provider to see what is wrong."


class NameUnresolved(StorageError):
    code, title, status = "name_unresolved", "The host name cannot be resolved", 503
    default_hint = "Check the spelling of the host name and the name servers of this machine."


class TlsMismatch(StorageError):
    code, title, status = "tls_mismatch", "The TLS settings do not fit the server", 503


class SignInRejected(StorageError):
    code, title, status = "engine_sign_in_rejected", "The server rejected the sign-in", 503
    default_hint = "Check user and password of the provider."


class MissingPrivilege(StorageError):
    code, title, status = "missing_privilege", "The provider's user lacks a privilege", 503


class EngineFailure(StorageError):
    code, title, status = "engine_failure", "The engine reported an error", 503


class StorageFull(StorageError):
    code, title, status = "storage_full", "No space left", 503
    default_hint = "Free space where the artifacts are stored, or point STORAGE_ARTIFACTS_URL elsewhere."


class StoreFailure(StorageError):
    code, title, status = "store_failure", "The artifacts store failed", 503
    default_hint = "Check that the artifacts store can be read and written."


class DamagedArtifact(StorageError):
    code, title, status = "damaged_artifact", "The stored backup is damaged", 409
    default_hint = "Restore another backup; this one no longer matches what was written."


class ArtifactMissing(StorageError):
    """The store has no artifact where the catalog knows one."""

    code, title, status = "artifact_missing", "The stored backup is not in the store", 409
    default_hint = (
        "Check that STORAGE_ARTIFACTS_URL names the store it was written to, and that the store is mounted; "
        "once it is back, verify the backup."
    )


class ToolMissing(StorageError):
    code, title, status = "tool_missing", "A program is missing", 503


class Interrupted(StorageError):
    code, title, status = "interrupted", "The work was cut off before it finished", 503
    default_hint = "Run it again."


class AuditUnavailable(Unavailable):
    code, title = "audit_unavailable", "The audit log cannot be written, so the operation is refused"


class ProofFailed(Conflict):
    code, title = "proof_failed", "The restored copy differs from the backup"
    default_hint = "Look at the proof's differences; take another backup."


class Internal(StorageError):
    code, title, status = "internal", "An unexpected error", 500
    default_hint = "Report it with the correlation id; the log has the details."


def revive(code: str, detail: str, hint: str = "") -> StorageError:
    """The error of a code, as it was before it was written down."""
    stack: list[type[StorageError]] = [StorageError]
    while stack:
        kind = stack.pop()
        if kind.code == code:
            return kind(detail, hint=hint)
        stack.extend(kind.__subclasses__())
    return Internal(detail, hint=hint)
