"""Browser sessions: who is signed in, ended from afar."""

from dataclasses import replace

from pydantic import Field

from ..domain.context import Context
from ..domain.errors import Forbidden
from ..domain.identity import SESSION_ABSOLUTE, SESSION_IDLE, SESSION_KEPT, CredentialKind, Session
from ..domain.page import Clause, Page, Query, Reach, Test
from ..domain.permission import Permission
from .kernel import Service, found
from .operation import Effect, Suspended, operation
from .request import ById, ListRequest
from .scopes import only_managed, visible_owners
from .targets import own

BATCH = 100


class ListSessions(ListRequest):
    """List open browser sessions: your own, or all for those who manage users."""

    user_id: str | None = Field(None, max_length=80, examples=["0b4f1c52-7f5e-4c9a-9a51-2f0f6b1f8e11"])
    """Filter: whose."""


class RevokeSession(ById):
    """End a browser session at once."""


class Sessions(Service):
    """The browser sessions' operations."""

    @operation(
        "sessions.list",
        needs=Permission.SIGNED_IN,
        on=own("session"),
        effect=Effect.READ,
        sensitive=True,
        while_suspended=Suspended.PEOPLE,
    )
    async def list(self, ctx: Context, request: ListSessions) -> Page[Session]:
        now = self.kernel.now()
        alive = (
            Clause("revoked_at", Test.ANY_OF, (None,)),
            Clause("seen_at", Test.FROM, ((now - SESSION_IDLE).isoformat(),)),
            Clause("created_at", Test.FROM, ((now - SESSION_ABSOLUTE).isoformat(),)),
        )
        async with self.kernel.catalog.read() as uow:
            return await uow.sessions.find(
                request.query(Reach(everything=True), await visible_owners(uow, ctx), alive)
            )

    @operation(
        "sessions.revoke", needs=Permission.SIGNED_IN, on=own("session"), while_suspended=Suspended.PEOPLE
    )
    async def revoke(self, ctx: Context, request: RevokeSession) -> Session:
        async with self.kernel.catalog.write() as uow:
            session = await found(uow.sessions.get(request.id), "session", request.id)
            await only_managed(uow, ctx, session.user_id, "session", request.id)
            if ctx.narrowed:
                raise Forbidden("A narrowed token does not end sign-ins.", hint="Sign in to the console.")
            session = replace(session, revoked_at=session.revoked_at or self.kernel.now())
            await uow.sessions.save(session)
            await uow.publish("sessions", "ended", session.id, None)  # its pages notice at once
        return session


class EndedSessions(Service):
    """Upkeep, no operation: what nobody can sign in with any more goes, with what it was known by."""

    async def forget(self) -> None:
        before = self.kernel.now() - SESSION_ABSOLUTE - SESSION_KEPT
        ended = Query(
            (Clause("created_at", Test.BEFORE, (before.isoformat(),)),), sort="created_at", limit=BATCH
        )
        while True:
            async with self.kernel.catalog.read() as uow:
                old = (await uow.sessions.find(ended)).items
            if not old:
                return
            async with self.kernel.catalog.write() as uow:
                for session in old:
                    credential = await uow.credentials.one(subject_id=session.id, kind=CredentialKind.SESSION)
                    if credential is not None:
                        await uow.credentials.remove(credential.id)
                    await uow.sessions.remove(session.id)
