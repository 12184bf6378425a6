"""Signing in with an identity provider: the browser is sent there, comes back with a code, and gets a session.

Who somebody is follows from issuer and subject alone; a name or an e-mail address that happens to be the same links
nobody to anything.
"""

import asyncio
import json
import logging
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from urllib.parse import urlsplit

from ..domain.errors import (
    IdentityRefused,
    InvalidRequest,
    IssuerUnavailable,
    NameTaken,
    NoRole,
    NotFound,
    SignInAgain,
    SignInExpired,
    StorageError,
    Unauthenticated,
    UserDisabled,
    VersionConflict,
    WrongKey,
)
from ..domain.federation import (
    FLOW_LIFE,
    Flow,
    Identified,
    Identity,
    RolePolicy,
    RoleRule,
    SpentFlow,
    identity_id,
)
from ..domain.identity import FRESH_SIGN_IN, User, UserGrant, UserStatus, freshly_signed_in
from ..domain.permission import Role, ScopeKind
from ..domain.secret import Binding
from ..ports.catalog import UnitOfWork
from ..ports.issuer import Issuer
from .kernel import Kernel, Service, raced
from .scopes import grants_of, read_scope
from .sign_in import SignedIn, SignIn

log = logging.getLogger(__name__)

MAX_ONWARD = 512
NAME_LENGTH = 64
#: How long somebody who signs out waits for the provider.
LEAVE_SECONDS = 3

_PLACE = Binding(None, "sign_in", "flow", "cookie")

Wanted = tuple[Role, ScopeKind, str | None]


@dataclass(frozen=True, slots=True)
class Provider:
    """The configured provider: its port, what its button says, what its groups mean here, who signs out there too."""

    issuer: Issuer
    name: str
    policy: RolePolicy
    signs_out: bool


@dataclass(frozen=True, slots=True)
class Begun:
    """Where the browser goes, and what it must bring back (a cookie's value)."""

    address: str
    cookie: str

    def __repr__(self) -> str:
        return "Begun(***)"


@dataclass(frozen=True, slots=True)
class Arrived:
    """The end of a flow: a fresh session, or none where a running one was renewed; and where the person goes on."""

    signed: SignedIn | None
    onward: str


class Federation(Service):
    """Authentication by others. Not operations: these run before anybody is known, and audit themselves."""

    def __init__(self, kernel: Kernel, auth: SignIn, provider: Provider | None) -> None:
        super().__init__(kernel)
        self._auth, self._provider = auth, provider

    @property
    def offered(self) -> str | None:
        """What the sign-in button says; none where no provider is configured."""
        return self._provider.name if self._provider else None

    async def begin(self, onward: str) -> Begun:
        """Start a sign-in that ends at `onward`, a path of the console."""
        return await self._begin(onward, None)

    async def begin_renewal(self, cookie: str, onward: str) -> Begun:
        """Start proving again, in the session of the cookie, who one is; Unauthenticated without a live one."""
        session = await self._auth.session_of(cookie)
        if session is None:
            raise Unauthenticated("Your session has ended.")
        return await self._begin(onward, session.id)

    async def finish(
        self, cookie: str, said: Mapping[str, str], address: str | None, agent: str, correlation: str
    ) -> Arrived:
        """What the provider sent the browser back with, for the flow that the cookie carries.

        Raises SignInExpired, IdentityRefused, IssuerUnavailable, NoRole, UserDisabled; refusals are audited.
        """
        try:
            flow = await self._spent(cookie, said.get("state", ""))
            who = await self._identified(flow, said)
            if flow.session_id is not None:
                await self._renewed(flow.session_id, who, address, correlation)
                return Arrived(None, flow.onward)
            return Arrived(await self._signed_in(who, address, agent, correlation), flow.onward)
        except (SignInExpired, IdentityRefused, SignInAgain) as error:
            detail = f"{error.code}: {error.detail}"
            await self._auth.audited("auth.oidc", None, "", address, correlation, "refused", detail)
            raise

    async def leaving(self, user_id: str) -> str | None:
        """Where somebody who signed in at the provider signs out there too; none for others.

        A provider that does not answer keeps nobody from signing out here.
        """
        if self._provider is None or not self._provider.signs_out:
            return None
        async with self.kernel.catalog.read() as uow:
            if await uow.identities.one(user_id=user_id) is None:
                return None
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                return await self._provider.issuer.leaving(self.kernel.now())
        except (IssuerUnavailable, TimeoutError):
            log.info("the identity provider does not answer: its own session goes on")
            return None

    def _chosen(self) -> Provider:
        if self._provider is None:
            raise NotFound("No identity provider is configured.", hint="See STORAGE_OIDC_ISSUER.")
        return self._provider

    async def _begin(self, onward: str, session_id: str | None) -> Begun:
        now = self.kernel.now()
        onward = onward if len(onward) <= MAX_ONWARD else "/"
        flow = Flow(self.kernel.new_token(), now, onward, session_id)
        address = await self._chosen().issuer.address(flow, now)
        told = json.dumps([flow.secret, now.isoformat(), onward, session_id]).encode()
        return Begun(address, await self.kernel.vault.seal(told, _PLACE))

    async def _spent(self, cookie: str, state: str) -> Flow:
        """The flow of this browser, ended with this call, whatever comes of it."""
        now = self.kernel.now()
        expired = SignInExpired("The sign-in was not begun here, took too long, or was ended before.")
        self._chosen()
        try:
            secret, began, onward, session_id = json.loads(await self.kernel.vault.open(cookie, _PLACE))
        except (WrongKey, ValueError):
            raise expired from None
        flow = Flow(secret, datetime.fromisoformat(began), onward, session_id)
        # Compared as a whole: a state of another browser's flow, or of none, ends nothing.
        if state != flow.state or not now - FLOW_LIFE < flow.began_at <= now:
            raise expired
        try:
            async with self.kernel.catalog.write() as uow:
                await uow.flows.add(SpentFlow(flow.id, now))
        except NameTaken:
            raise expired from None
        return flow

    async def _identified(self, flow: Flow, said: Mapping[str, str]) -> Identified:
        if (error := said.get("error")) is not None:
            raise IdentityRefused(f"The identity provider answered {error[:64]!r}.")
        return await self._chosen().issuer.identify(
            flow, said.get("code", ""), said.get("iss"), self.kernel.now()
        )

    async def _renewed(self, session_id: str, who: Identified, address: str | None, correlation: str) -> None:
        now = self.kernel.now()
        if not freshly_signed_in(who.proved_at, now):
            raise SignInAgain("The identity provider did not ask again who you are.")

        async def proven() -> User:
            async with self.kernel.catalog.write() as uow:
                identity = await uow.identities.get(identity_id(who.issuer, who.subject))
                session = await uow.sessions.get(session_id)
                user = await uow.users.get(session.user_id) if session is not None else None
                if session is None or user is None or not self._auth.is_open(session, user):
                    raise SignInExpired("The session has ended meanwhile.")
                if identity is None or identity.user_id != user.id:
                    raise IdentityRefused("Somebody else came back than the one who is signed in.")
                await uow.sessions.save(replace(session, seen_at=now, proved_at=_proved(who, now)))
            return user

        user = await raced(proven)
        await self._auth.audited("auth.renew", user, "", address, correlation, "ok", "oidc")

    async def _signed_in(
        self, who: Identified, address: str | None, agent: str, correlation: str
    ) -> SignedIn:
        user = await raced(lambda: self._user(who))
        refusal: StorageError | None = None
        cookie = ""
        async with self.kernel.catalog.write() as uow:
            user = await uow.users.get(user.id) or user
            if user.status is not UserStatus.ACTIVE:
                refusal = UserDisabled("This user is disabled.")
            elif not await grants_of(uow, user.id):
                refusal = NoRole("You hold no role here yet.")
            else:
                proved_at = _proved(who, self.kernel.now())
                cookie = await self._auth.open_session(uow, user, proved_at, address, agent)
        result = "ok" if refusal is None else "refused"
        detail = "" if refusal is None else refusal.code
        await self._auth.audited("auth.oidc", user, "", address, correlation, result, detail)
        if refusal is not None:
            raise refusal
        return SignedIn(cookie, user)

    async def _user(self, who: Identified) -> User:
        """The user this identity is linked to, made on the first sign-in, with the roles the groups give today."""
        now, id = self.kernel.now(), identity_id(who.issuer, who.subject)
        try:
            async with self.kernel.catalog.write() as uow:
                identity = await uow.identities.get(id)
                user = await uow.users.get(identity.user_id) if identity is not None else None
                if user is None:
                    user = User(self.kernel.new_id(), await _free_name(uow, who), now, now)
                    await uow.users.add(user)
                    await uow.identities.add(Identity(id, user.id, who.issuer, who.subject, now))
                if user.status is UserStatus.ACTIVE:
                    await self._give_roles(uow, user, who)
        except NameTaken as error:  # the same person in two windows, or the name was taken just now
            raise VersionConflict("Somebody else was made at the same time.") from error
        return user

    async def _give_roles(self, uow: UnitOfWork, user: User, who: Identified) -> None:
        """Bring the grants that come from groups up to date; those that people gave stay as they are."""
        policy = self._chosen().policy
        held = await grants_of(uow, user.id)
        wanted = {w for w in [await _wanted(uow, rule) for rule in policy.given(who.groups)] if w}
        if not wanted and policy.fallback is not None and all(g.external for g in held):
            wanted = {w for w in [await _wanted(uow, policy.fallback)] if w}
        for grant in held:
            key = (grant.role, grant.scope_kind, grant.scope_id)
            if grant.external and key not in wanted:
                await uow.grants.remove(grant.id)
            elif grant.external:
                wanted.discard(key)
        for role, kind, scope_id in sorted(wanted, key=str):
            now = self.kernel.now()
            await uow.grants.add(
                UserGrant(self.kernel.new_id(), user.id, role, kind, scope_id, now, external=True)
            )


async def _wanted(uow: UnitOfWork, rule: RoleRule) -> Wanted | None:
    try:
        scope = await read_scope(uow, rule.scope)
    except InvalidRequest:
        log.warning("STORAGE_OIDC_ROLES names the scope %r, which does not exist (yet)", rule.scope)
        return None
    return rule.role, scope.kind, scope.id


async def _free_name(uow: UnitOfWork, who: Identified) -> str:
    """A name nobody has: the provider's, else with the provider behind it, else with part of the subject's hash."""
    name = unicodedata.normalize("NFKC", who.username).strip()
    name = "".join(c for c in name if c.isprintable())[:NAME_LENGTH].strip() or "user"
    host, tail = urlsplit(who.issuer).hostname or "provider", identity_id(who.issuer, who.subject)[:8]
    tries = (name, f"{name[:30]}@{host[:33]}", f"{name[:30]}@{host[:20]}-{tail}")
    for one in tries:
        if await uow.users.one(username=one) is None:
            return one
    return f"user-{identity_id(who.issuer, who.subject)[:40]}"


def _proved(who: Identified, now: datetime) -> datetime:
    """When the person proved who they are: as the provider says; without its word the sign-in is not fresh."""
    return min(who.proved_at or now - FRESH_SIGN_IN, now)
