"""Guessing slows down: failed sign-ins are counted per account and per address, in the catalog, for all processes."""

import hashlib
import math
from datetime import timedelta

from ..domain.errors import NameTaken, TooManyRequests, VersionConflict
from ..domain.identity import Misses
from ..ports.catalog import UnitOfWork
from .kernel import Service, raced

WINDOW = timedelta(minutes=5)
PER_ACCOUNT = 10
PER_ADDRESS = 60


class Backoff(Service):
    """Counts from the first miss on; after the window all is forgiven.

    What is kept is a hash of the name or address, so that the table tells nobody who was guessed at.
    """

    async def check(self, uow: UnitOfWork, username: str, address: str | None) -> None:
        """TooManyRequests when account or address missed too often within the window."""
        for id, limit in _whom(username, address):
            row = await uow.misses.get(id)
            if row is not None and self._counted(row) >= limit:
                raise self._too_many(row)

    async def miss(self, username: str, address: str | None) -> None:
        """Count a failure; TooManyRequests instead where others had used the last one meanwhile.

        Checked and counted in one transaction: of many guesses at once no more pass than of guesses in turn.
        """

        async def counted() -> None:
            async with self.kernel.catalog.write() as uow:
                for id, limit in _whom(username, address):
                    await self._one_more(uow, id, limit)

        await raced(counted)

    async def forgive(self, uow: UnitOfWork, username: str) -> None:
        """The account's owner has come: its misses do not count any more, the address's still do."""
        (account, _), _ = _whom(username, None)
        await uow.misses.remove(account)

    async def _one_more(self, uow: UnitOfWork, id: str, limit: int) -> None:
        """Judged and counted by one look at the row: a second look may show what others did in between."""
        row = await uow.misses.get(id)
        if row is None:
            try:
                await uow.misses.add(Misses(id, 1, self.kernel.now()))
            except NameTaken as error:  # another process counted its first one just now
                raise VersionConflict("Somebody else counted at the same time.") from error
            return
        count = self._counted(row)
        if count >= limit:
            raise self._too_many(row)
        began_at = row.began_at if count else self.kernel.now()
        await uow.misses.save(Misses(id, count + 1, began_at))

    def _counted(self, row: Misses | None) -> int:
        return 0 if row is None or self._over(row) else row.count

    def _over(self, row: Misses) -> bool:
        return self.kernel.now() - row.began_at >= WINDOW

    def _too_many(self, row: Misses) -> TooManyRequests:
        left = row.began_at + WINDOW - self.kernel.now()
        return TooManyRequests(
            "Too many failed sign-ins.", retry_after=max(1, math.ceil(left.total_seconds()))
        )


def _whom(username: str, address: str | None) -> tuple[tuple[str, int], tuple[str, int]]:
    return (_id("account", username.lower()), PER_ACCOUNT), (_id("address", address or "-"), PER_ADDRESS)


def _id(kind: str, value: str) -> str:
    return hashlib.sha256(f"{kind}:{value}".encode()).hexdigest()
