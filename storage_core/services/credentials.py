"""Credentials of providers, changed with two live sets: the new one works before the old one stops."""

import json
import logging
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Self

from pydantic import Field, SecretStr, model_validator

from ..domain.context import Context
from ..domain.errors import Conflict, InvalidRequest, NotFound, StorageError, Unsupported, revive
from ..domain.page import MAX_LIMIT, Clause, Query, Test
from ..domain.permission import Permission
from ..domain.provider import (
    CheckStep,
    CredentialsChange,
    Endpoint,
    Provider,
    ProviderStatus,
    StepStatus,
)
from ..domain.secret import Binding, Secret
from .kernel import PREVIOUS, Service, found, opened, previous_place, put_secret, raced
from .operation import operation
from .request import ById
from .targets import provider

log = logging.getLogger(__name__)

#: How long what was used before stays good: longer than an outdated engine is kept for its next call.
GRACE = timedelta(minutes=2)
_RUNNING = ("queued", "running")


class ChangeCredentials(ById):
    """Change what a provider signs in with; tested step by step first, without a moment in which nothing works."""

    user: str | None = Field(None, min_length=1, max_length=128, examples=["console"])
    """Who signs in from now on; as before, if left out."""
    password: SecretStr | None = None
    """The password that user has on the engine already …"""
    generate: bool = Field(False, examples=[False])
    """… or make one: a second login with the same rights takes over, and the one before is locked out later."""

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.password is not None) == self.generate:
            raise ValueError("give either a password or generate")
        if self.generate and self.user is not None:
            raise ValueError("a generated set has a user of its own")
        return self


@dataclass(frozen=True, slots=True)
class _Set:
    """What a provider signs in with. `ours`: the console decides over the login, and may lock it out."""

    user: str
    password: str
    ours: bool = False

    def __repr__(self) -> str:
        return f"_Set({self.user!r}, ***)"


class Credentials(Service):
    """The operation, and the upkeep that ends what was used before."""

    @operation("secrets.credentials", needs=Permission.PROVIDER_WRITE, on=provider())
    async def change(self, ctx: Context, request: ChangeCredentials) -> CredentialsChange:
        async with self.kernel.catalog.read() as uow:
            row = await found(uow.providers.get(request.id), "provider", request.id)
        if row.kind.is_files:
            raise Unsupported(f"{row.kind} has no sign-in.")
        if row.server is not None and not request.generate:
            raise InvalidRequest(
                "A private server's credentials are its own.", field="password", hint="Let them be generated."
            )
        await self._check_over(row.id)
        before, row = await self._present(row, ours=request.generate)
        after = await self._next(row, request)
        endpoint = replace(row.endpoint, user=after.user)
        steps, version, latency = await self._tried(row, endpoint, after.password)
        row = replace(row, endpoint=endpoint, engine_version=version, latency_ms=latency)
        row = await raced(lambda: self._switched(row, before, after))
        await self.engine_of(
            row
        )  # the new set's engine; the one before is outdated from here on, and drained
        until = self.kernel.now() + GRACE
        return CredentialsChange(row.id, after.user, request.generate, steps, until)

    async def settle(self) -> None:
        """End the sets used before, once nobody can be using them any more. What fails is left for the next round."""
        async with self.kernel.catalog.read() as uow:
            where = (Clause("collection", Test.ANY_OF, (PREVIOUS,)),)
            kept = await uow.secrets.find(Query(where, limit=MAX_LIMIT, sort="created_at"))
        for secret in kept.items:
            try:
                if await self._is_over(secret):
                    await self._end(secret)
            except StorageError as error:
                log.info("the credentials before of %s stay for now: %s", secret.owner_id, error.detail)

    async def _check_over(self, provider_id: str) -> None:
        """Two logins of ours take turns: the one before must be locked out before its turn comes again."""
        before = await self._before(provider_id)
        if before is not None and before.ours:
            raise Conflict(
                "The login used before the last change still works, for calls under way.",
                hint=f"It is locked out some {GRACE.seconds // 60} minutes after that change; then do it again.",
            )

    async def _before(self, provider_id: str) -> _Set | None:
        async def read() -> Secret | None:
            async with self.kernel.catalog.read() as uow:
                return await uow.secrets.get(previous_place(provider_id))

        kept = await opened(self.kernel.vault, read)
        return None if kept is None else _Set(**json.loads(kept))

    async def _present(self, row: Provider, *, ours: bool) -> tuple[_Set, Provider]:
        """What it signs in with now, and its row as the engine is reached by."""
        if row.server is None:
            return _Set(row.endpoint.user or "", await self.password_of(row.id) or "", ours), row
        endpoint, password = await self.kernel.servers.endpoint(row.server)
        await self.engine_of(row)  # its row follows, where the server came up elsewhere
        async with self.kernel.catalog.read() as uow:
            row = await found(uow.providers.get(row.id), "provider", row.id)
        return _Set(endpoint.user or "", password, ours), row

    async def _next(self, row: Provider, request: ChangeCredentials) -> _Set:
        if request.password is not None:
            return _Set(request.user or row.endpoint.user or "", request.password.get_secret_value())
        logins = (await self.engine_of(row)).logins
        if logins is None:
            raise Unsupported(f"{row.kind} knows no logins.")
        password = self.kernel.new_token()
        return _Set(await logins.second(password), password, ours=True)

    async def _tried(
        self, row: Provider, endpoint: Endpoint, password: str
    ) -> tuple[tuple[CheckStep, ...], str, float]:
        """Test the new set; the first failed step leaves as an error, and nothing was changed."""
        engine = self.kernel.engines.trial(row.kind, endpoint, password, own=row.server is not None)
        try:
            steps = await engine.check()
            for step in steps:
                if step.status is StepStatus.FAILED:
                    raise revive(step.code or StorageError.code, step.detail, step.fix)
            health, info = await engine.health(), await engine.info()
            return steps, info.version, health.milliseconds
        finally:
            await engine.close()

    async def _switched(self, row: Provider, before: _Set, after: _Set) -> Provider:
        """Keep the set before, and let the new one count: in one transaction, where both lie in the catalog."""
        now = self.kernel.now()
        kept = await self._sealed_previous(row.id, before, now)
        fresh = None if row.server is not None else await self.sealed_password(row.id, after.password)
        changed = replace(
            row, revision=row.revision + 1, status=ProviderStatus.ONLINE, problem=None, updated_at=now
        )
        async with self.kernel.catalog.write() as uow:
            current = await found(uow.providers.get(row.id), "provider", row.id)
            if current.revision != row.revision:
                raise Conflict("The provider's connection was changed meanwhile.", hint="Do it again.")
            await put_secret(uow, kept)
            if fresh is not None:
                await put_secret(uow, fresh)
                await uow.providers.save(changed)
        if row.server is None:
            return changed
        # One file says how a private server is signed in to: whoever looks next finds it, and its row follows.
        await self.kernel.servers.adopt(row.server, after.user, after.password)
        async with self.kernel.catalog.read() as uow:
            return await found(uow.providers.get(row.id), "provider", row.id)

    async def _sealed_previous(self, provider_id: str, before: _Set, now: datetime) -> Secret:
        value = json.dumps({"user": before.user, "password": before.password, "ours": before.ours})
        envelope = await self.kernel.vault.seal(value.encode(), _binding(provider_id))
        place = previous_place(provider_id)
        return Secret(place, None, provider_id, envelope, now, now, collection=PREVIOUS)

    async def _is_over(self, secret: Secret) -> bool:
        """Whether the grace has passed and no job that began before the switch still runs."""
        if self.kernel.now() - secret.updated_at < GRACE:
            return False
        running = (
            Clause("status", Test.ANY_OF, _RUNNING),
            Clause("started_at", Test.BEFORE, (secret.updated_at.isoformat(),)),
        )
        async with self.kernel.catalog.read() as uow:
            jobs = await uow.jobs.find(Query(running, limit=1))
        return not jobs.total and not await self.kernel.engines.drain(secret.owner_id)

    async def _end(self, secret: Secret) -> None:
        async with self.kernel.catalog.read() as uow:
            row = await uow.providers.get(secret.owner_id)
        before = await self._before(secret.owner_id)
        if row is not None and before is not None:
            await self._lock_out(row, before)
        async with self.kernel.catalog.write() as uow:
            await uow.secrets.remove(secret.id)

    async def _lock_out(self, row: Provider, before: _Set) -> None:
        """Only what is ours, and never what is signed in with: a switch may have been cut off before it counted."""
        if not before.ours:
            return
        if row.server is not None and not await self._runs(row.server):
            raise NotFound(f"The private server {row.server} is stopped.")
        engine = await self.engine_of(row)
        async with self.kernel.catalog.read() as uow:
            row = await found(uow.providers.get(row.id), "provider", row.id)
        if engine.logins is not None and row.endpoint.user != before.user:
            await engine.logins.lock_out(before.user)

    async def _runs(self, server: str) -> bool:
        return any(s.name == server and s.running for s in await self.kernel.servers.list())


def _binding(provider_id: str) -> Binding:
    return Binding(None, PREVIOUS, provider_id, previous_place(provider_id).rpartition("/")[2])
