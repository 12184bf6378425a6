"""Who is asking: passwords, sessions and tokens become a Context; the first SuperAdmin is made here."""

import hashlib
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ..domain.audit import Phase
from ..domain.claims import Claims
from ..domain.context import Actor, ActorKind, Context, Door, system_context
from ..domain.errors import (
    Forbidden,
    Gone,
    InvalidRequest,
    NotFound,
    TenantRequired,
    Unauthenticated,
    VersionConflict,
    WrongPassword,
)
from ..domain.identity import (
    MIN_PASSWORD,
    SETUP_LINK_LIFE,
    ApiToken,
    Credential,
    CredentialKind,
    Password,
    Session,
    SetupClaim,
    User,
    UserGrant,
    UserStatus,
    session_alive,
    token_alive,
)
from ..domain.page import Clause, Query, Test
from ..domain.permission import Grant, Permission, Role, Scope, ScopeKind, Target, reach
from ..domain.tenant import Tenant, TenantStatus
from ..ports.catalog import UnitOfWork
from ..tenancy import TenantScope
from .auditing import write_audit
from .backoff import Backoff
from .kernel import Kernel, Service, active_tenant, every, raced, without_suspended
from .operation import Effect, Operation
from .request import Request
from .targets import everything

TOUCH = timedelta(minutes=1)
TOKEN_PREFIX = "sct_"  # noqa: S105 - what every token begins with


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A fresh session: the cookie's value, shown once, and who it is."""

    cookie: str
    user: User

    def __repr__(self) -> str:
        return f"SignedIn(***, {self.user.username})"


def digest(value: str) -> str:
    """SHA-256 of a bearer's secret; it has 256 random bits, so no slow hash is needed."""
    return hashlib.sha256(value.encode()).hexdigest()


def check_password(password: str, field: str = "password") -> str:
    if len(password) < MIN_PASSWORD:
        raise InvalidRequest(f"The password needs at least {MIN_PASSWORD} characters.", field=field)
    if len(password) > 1024:
        raise InvalidRequest("The password is too long.", field=field, hint="At most 1024 characters.")
    return password


class SignIn(Service):
    """Authentication. Not operations: these run before anybody is known, and audit themselves."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self._backoff = Backoff(kernel)

    async def login(
        self, username: str, password: str, address: str | None, agent: str, correlation: str
    ) -> SignedIn:
        """Check a password and open a session. Unknown users take as long as known ones and read the same."""
        async with self.kernel.catalog.read() as uow:
            await self._backoff.check(uow, username, address)
            user = await uow.users.one(username=username)
            stored = await uow.passwords.get(user.id) if user else None
        fits = await self.kernel.passwords.verify(password[:1024], stored.hash if stored else None)
        if user is None or not fits or user.status is not UserStatus.ACTIVE:
            await self._backoff.miss(username, address)
            await self.audited("auth.login", user, username, address, correlation, "refused")
            raise Unauthenticated("User name or password is wrong.", hint="Check both and try again.")
        async with self.kernel.catalog.write() as uow:
            # Again, now that it is known: many guesses at once must not all pass before the first one counts.
            await self._backoff.check(uow, username, address)
            await self._backoff.forgive(uow, username)
            current = await uow.users.get(user.id)
            if current is None or current.status is not UserStatus.ACTIVE:
                raise Unauthenticated("User name or password is wrong.", hint="Check both and try again.")
            cookie = await self.open_session(uow, current, self.kernel.now(), address, agent)
        await self.audited("auth.login", user, username, address, correlation, "ok")
        return SignedIn(cookie, user)

    async def open_session(
        self, uow: UnitOfWork, user: User, proved_at: datetime, address: str | None, agent: str
    ) -> str:
        """A new session of a user who was just found to be who they say; answers its cookie's value."""
        now, cookie = self.kernel.now(), self.kernel.new_token()
        session = Session(self.kernel.new_id(), user.id, now, now, proved_at, address, agent[:300])
        await uow.users.save(replace(user, last_sign_in_at=now))
        await uow.sessions.add(session)
        await uow.credentials.add(Credential(digest(cookie), CredentialKind.SESSION, session.id, now))
        return cookie

    async def session_of(self, cookie: str) -> Session | None:
        """The live session behind a cookie."""
        async with self.kernel.catalog.read() as uow:
            session, _ = await self._session(uow, cookie)
        return session

    def is_open(self, session: Session, user: User) -> bool:
        """Whether a session still stands for its user."""
        return session_alive(session, self.kernel.now()) and user.status is UserStatus.ACTIVE

    async def has_password(self, user_id: str) -> bool:
        """Whether a user can prove with a password who they are; the others ask their identity provider."""
        async with self.kernel.catalog.read() as uow:
            return await uow.passwords.get(user_id) is not None

    async def renew(self, cookie: str, password: str, address: str | None, correlation: str) -> datetime:
        """Prove again who one is, in the same session; answers when. Guesses count like those at the sign-in.

        The session keeps its id and cookie: a fresh proof makes nobody somebody else, and every open page of it
        carries the cookie in its connection. Whoever holds a copy gains the minutes of freshness, and no more.
        Raises Unauthenticated without a live session, WrongPassword, TooManyRequests.
        """
        async with self.kernel.catalog.read() as uow:
            session, user = await self._session(uow, cookie)
            if session is None or user is None:
                raise Unauthenticated("Your session has ended.")
            await self._backoff.check(uow, user.username, address)
            stored = await uow.passwords.get(user.id)
        fits = await self.kernel.passwords.verify(password[:1024], stored.hash if stored else None)
        if not fits:
            await self._backoff.miss(user.username, address)
            await self.audited("auth.renew", user, "", address, correlation, "refused")
            raise WrongPassword("The password is wrong.")

        async def proven() -> datetime:
            now = self.kernel.now()
            async with self.kernel.catalog.write() as uow:
                await self._backoff.check(uow, user.username, address)
                await self._backoff.forgive(uow, user.username)
                current, _ = await self._session(uow, cookie)
                if current is None:
                    raise Unauthenticated("Your session has ended.")
                await uow.sessions.save(replace(current, seen_at=now, proved_at=now))
            return now

        proved_at = await raced(proven)
        await self.audited("auth.renew", user, "", address, correlation, "ok")
        return proved_at

    async def logout(self, cookie: str, correlation: str) -> str | None:
        """End a session and answer whose it was; does nothing for one that is unknown or over."""
        async with self.kernel.catalog.write() as uow:
            credential = await uow.credentials.get(digest(cookie))
            session = await uow.sessions.get(credential.subject_id) if credential else None
            if session is None or session.revoked_at is not None:
                return None
            await uow.sessions.save(replace(session, revoked_at=self.kernel.now()))
            await uow.publish("sessions", "ended", session.id, None)  # other tabs notice at once
            user = await uow.users.get(session.user_id)
        await self.audited("auth.logout", user, "", session.address, correlation, "ok")
        return session.user_id

    async def by_cookie(
        self, cookie: str, door: Door, address: str | None, correlation: str, *, touch: bool = True
    ) -> Context | None:
        """The caller behind a session cookie, none when it is not (or no longer) valid.

        With `touch` the session counts as used now; without, it goes on idling (a page that refreshes itself).
        """
        now = self.kernel.now()
        async with self.kernel.catalog.read() as uow:
            session, user = await self._session(uow, cookie)
            if session is None or user is None:
                return None
            grants = await self._grants(uow, user.id)
        if touch and now - session.seen_at > TOUCH:
            with suppress(VersionConflict):  # another request of the same session noted it just now
                async with self.kernel.catalog.write() as uow:
                    current = await uow.sessions.get(session.id)
                    if current is not None:
                        await uow.sessions.save(replace(current, seen_at=now))
        return Context(
            Actor(user.id, user.username, ActorKind.USER),
            grants,
            correlation,
            door,
            address=address,
            session_id=session.id,
            signed_in_at=session.proved_at,
        )

    async def by_token(self, value: str, address: str | None, correlation: str) -> Context | None:
        """The caller behind an API token: its owner's current rights, narrowed as the token says."""
        if not value.startswith(TOKEN_PREFIX):
            return None
        now = self.kernel.now()
        async with self.kernel.catalog.read() as uow:
            credential = await uow.credentials.get(digest(value))
            if credential is None or credential.kind is not CredentialKind.TOKEN:
                return None
            token = await uow.tokens.get(credential.subject_id)
            if token is None or not token_alive(token, now):
                return None
            user = await uow.users.get(token.user_id)
            if user is None or user.status is not UserStatus.ACTIVE:
                return None
            grants = narrowed(await self._grants(uow, user.id), token)
        if token.used_at is None or now - token.used_at > TOUCH:
            with suppress(VersionConflict):
                async with self.kernel.catalog.write() as uow:
                    current = await uow.tokens.get(token.id)
                    if current is not None:
                        await uow.tokens.save(replace(current, used_at=now))
        actor = Actor(user.id, f"{user.username} ({token.name})", ActorKind.TOKEN)
        return Context(
            actor,
            grants,
            correlation,
            Door.REST,
            token.tenant_id,
            address=address,
            expires_at=token.expires_at,
            token_id=token.id,
            narrowed=token.narrowed,
            maker_id=token.made_by if token.made_by != user.id else None,
        )

    async def by_claims(self, claims: Claims, address: str | None, correlation: str) -> Context:
        """The caller behind a verified token of another issuer: the role it says, in the tenant it says, no further.

        TenantRequired without a tenant, Forbidden without a role, NotFound for a tenant that is not there.
        """
        if claims.tenant is None:
            raise TenantRequired("The token names no tenant.", hint="Put the tenant's name into the token.")
        if claims.role is None:
            raise Forbidden(
                "The token names no role of this console.",
                hint="Put Viewer, Operator or Admin into the token.",
            )
        async with self.kernel.catalog.read() as uow:
            tenant = await _tenant_of(uow, claims.tenant)
        if tenant is None:
            raise NotFound(f"There is no tenant {claims.tenant!r}.")
        who = digest(f"{claims.issuer}\x00{claims.subject}")[:32]
        return Context(
            Actor(f"jwt:{who}", claims.subject[:80], ActorKind.TOKEN),
            (Grant(claims.role, Scope(ScopeKind.TENANT, tenant.id)),),
            correlation,
            Door.REST,
            tenant.id,
            address=address,
            expires_at=claims.expires_at,
        )

    async def in_tenant(self, ctx: Context, scope: TenantScope | None) -> Context:
        """Narrow a caller to the tenant the edge named, by id or name; NotFound outside the caller's scope."""
        if scope is None:
            return ctx
        async with self.kernel.catalog.read() as uow:
            tenant = await _tenant_of(uow, scope.tenant)
        missing = NotFound(f"There is no tenant {scope.tenant!r}.", field="X-Tenant-ID")
        if tenant is None:
            raise missing
        if ctx.tenant_id not in (None, tenant.id):
            raise missing
        if reach(Permission.SIGNED_IN, ctx.grants, tenant.id).nothing:
            raise missing
        return replace(ctx, tenant_id=tenant.id, namespace=scope.namespace)

    async def active(self, ctx: Context) -> Context:
        """The caller less what is suspended; TenantSuspended when that was all, or what the call is narrowed to."""
        async with self.kernel.catalog.read() as uow:
            if ctx.tenant_id is not None:
                await active_tenant(uow, ctx.tenant_id)
            return await without_suspended(uow, ctx)

    async def setup_token(self) -> str | None:
        """A fresh one-time token for the first SuperAdmin, none when there are users; older ones end."""
        token, now = self.kernel.new_token(), self.kernel.now()
        async with self.kernel.catalog.write() as uow:
            if await self._has_users(uow):
                return None
            for old in (await uow.setups.find(Query(limit=500))).items:
                await uow.setups.remove(old.id)
            claim = SetupClaim(self.kernel.new_id(), now)
            await uow.setups.add(claim)
            await uow.credentials.add(Credential(digest(token), CredentialKind.SETUP, claim.id, now))
        return token

    async def setup_open(self, token: str) -> bool:
        """Whether a setup link can still be used."""
        try:
            async with self.kernel.catalog.read() as uow:
                await self._open_claim(uow, token)
        except Gone:
            return False
        return True

    async def claim_setup(
        self, token: str, username: str, password: str, address: str | None, correlation: str
    ) -> User:
        """Create the first SuperAdmin with the one-time token; Gone when it was used, is old or unknown."""
        async with self.kernel.catalog.read() as uow:
            await self._open_claim(uow, token)  # first, so that strangers cannot keep the hashing busy
        checked_username(username)
        check_password(password)
        hashed = await self.kernel.passwords.hash(password)
        now = self.kernel.now()
        async with self.kernel.catalog.write() as uow:
            claim = await self._open_claim(uow, token)
            await uow.setups.save(replace(claim, claimed_at=now))
            user = await self._super_admin(uow, username, hashed)
        await self.audited("auth.setup", user, username, address, correlation, "ok")
        return user

    async def _open_claim(self, uow: UnitOfWork, token: str) -> SetupClaim:
        credential = await uow.credentials.get(digest(token))
        claim = await uow.setups.get(credential.subject_id) if credential else None
        if (
            claim is None
            or claim.claimed_at is not None
            or self.kernel.now() - claim.created_at > SETUP_LINK_LIFE
            or await self._has_users(uow)
        ):
            raise Gone(
                "The setup link was used already or is too old.", hint="Restart the console for a new one."
            )
        return claim

    async def ensure_admin(self, password: str) -> None:
        """The first start with STORAGE_ADMIN_PASSWORD: user `admin`, unless there are users already."""
        async with self.kernel.catalog.read() as uow:
            if await self._has_users(uow):
                return
        check_password(password, "STORAGE_ADMIN_PASSWORD")
        hashed = await self.kernel.passwords.hash(password)
        async with self.kernel.catalog.write() as uow:
            if await self._has_users(uow):
                return
            user = await self._super_admin(uow, "admin", hashed)
        await self.audited("auth.setup", user, "admin", None, self.kernel.new_id(), "ok")

    async def _super_admin(self, uow: UnitOfWork, username: str, hashed: str) -> User:
        now = self.kernel.now()
        user = User(self.kernel.new_id(), checked_username(username), now, now)
        await uow.users.add(user)
        await uow.passwords.add(Password(user.id, hashed, now))
        grant = UserGrant(self.kernel.new_id(), user.id, Role.SUPER_ADMIN, ScopeKind.GLOBAL, None, now)
        await uow.grants.add(grant)
        return user

    async def _has_users(self, uow: UnitOfWork) -> bool:
        return (await uow.users.find(Query(limit=1))).total > 0

    async def _session(self, uow: UnitOfWork, cookie: str) -> tuple[Session, User] | tuple[None, None]:
        """The live session behind a cookie and its active user; neither, if one of them is not (any more)."""
        credential = await uow.credentials.get(digest(cookie))
        if credential is None or credential.kind is not CredentialKind.SESSION:
            return None, None
        session = await uow.sessions.get(credential.subject_id)
        if session is None:
            return None, None
        user = await uow.users.get(session.user_id)
        return (session, user) if user is not None and self.is_open(session, user) else (None, None)

    async def _grants(self, uow: UnitOfWork, user_id: str) -> tuple[Grant, ...]:
        rows = await uow.grants.find(Query((Clause("user_id", Test.ANY_OF, (user_id,)),), limit=500))
        return tuple(Grant(g.role, Scope(g.scope_kind, g.scope_id)) for g in rows.items)

    async def audited(
        self,
        name: str,
        user: User | None,
        typed: str,
        address: str | None,
        correlation: str,
        result: str,
        detail: str = "",
    ) -> None:
        """Write what became of an attempt to say who one is; `typed` is the name where nobody is known."""
        actor = (
            Actor(user.id, user.username, ActorKind.USER) if user else Actor("", typed[:64], ActorKind.USER)
        )
        ctx = replace(system_context("sign-in", correlation), actor=actor, grants=(), address=address)
        op = Operation(name, Permission.SIGNED_IN, Request, None, Effect.CHANGE, everything("session"), "")
        phase = Phase.OUTCOME if result == "ok" else Phase.REFUSED
        target = Target("user", user.id if user else None, typed)
        await write_audit(self.kernel, op, ctx, target, Request(), phase, result, detail)


async def end_sessions(uow: UnitOfWork, user_id: str, now: datetime, but: str | None = None) -> None:
    """End every browser session of a user but one, for good: none comes back when the user does."""
    where = (Clause("user_id", Test.ANY_OF, (user_id,)), Clause("revoked_at", Test.ANY_OF, (None,)))
    for session in [s async for s in every(uow.sessions, where)]:
        if session.id != but:
            await uow.sessions.save(replace(session, revoked_at=now))
            await uow.publish("sessions", "ended", session.id, None)


async def _tenant_of(uow: UnitOfWork, named: str) -> Tenant | None:
    """The tenant with this id or name; none when it is deleted."""
    tenant = await uow.tenants.get(named) or await uow.tenants.one(name=named)
    return None if tenant is None or tenant.status is TenantStatus.DELETED else tenant


def checked_username(username: str) -> str:
    name = username.strip()
    if not 1 <= len(name) <= 64 or not name.isprintable():
        raise InvalidRequest("The user name needs 1 to 64 printable characters.", field="username")
    return name


def narrowed(grants: tuple[Grant, ...], token: ApiToken) -> tuple[Grant, ...]:
    """A token's rights: its owner's, at most its own role, at most its own tenant."""
    out = []
    for grant in grants:
        role, scope = grant.role, grant.scope
        if token.role is not None and token.role.rank < role.rank:
            role = token.role
        if token.tenant_id is not None:
            if scope.kind is ScopeKind.PROVIDER or scope.id not in (None, token.tenant_id):
                continue
            scope = Scope(ScopeKind.TENANT, token.tenant_id)
        out.append(Grant(role, scope))
    return tuple(out)
