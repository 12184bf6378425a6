"""A tenant's storage: its collections, and what the engine offers beside them."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from ..domain.database import Database
from ..domain.encryption import EncryptedCollection
from ..domain.errors import InvalidRequest, Unsupported
from ..domain.provider import EngineKind
from ..domain.record import Ability, Index, checked_collection
from ..domain.tenant import Tenant
from ..domain.value import Mode
from ..ports.collection import Session
from ..ports.sessions import Access
from ..services.encryptions import EncryptCollection
from ..services.programs import DropCollection, IndexCollection, UnindexCollection
from ..services.request import Request
from ..tenancy import optional_tenant
from .collection import Collection, Shape
from .link import Link, TransactionTie
from .sessions import StorageSession, bound, missing_tables, no_models, unit

if TYPE_CHECKING:
    from beanie import Document

    from .document_migrations import DocumentMigration, Migrated

D = TypeVar("D", bound="Document")
Values = Literal["strict", "tagged", "lossy"]


class Storage:
    """One database of one tenant. The tenant is frozen: no call of it, or of what it gives, reaches another's data."""

    __slots__ = ("link",)

    def __init__(self, link: Link) -> None:
        self.link = link

    @property
    def tenant(self) -> Tenant:
        return self.link.standing.tenant

    @property
    def database(self) -> Database:
        return self.link.standing.database

    @property
    def kind(self) -> EngineKind:
        """The engine it is on."""
        return self.link.standing.provider.kind

    @property
    def abilities(self) -> frozenset[Ability]:
        """What its collections can beyond what all engines can."""
        return self.link.standing.collections.abilities

    def collection(self, name: str, values: Values = "strict") -> Collection:
        """A collection; it comes into being with its first document.

        :param name: 1 to 48 of a-z, 0-9 and _, beginning with a letter.
        :param values: what happens to values that JSON does not hold: ``strict`` refuses them, ``tagged`` keeps them
            exactly, ``lossy`` writes the nearest and reports each loss.
        """
        self._check()
        shape = Shape(self._create_index, self._drop_index)
        return Collection(checked_collection(name), _mode(values), self.link, self._now, shape)

    async def collections(self) -> tuple[str, ...]:
        """The names of the collections there are."""
        self._check()
        standing = await self.link.current()
        return await standing.collections.names(standing.database.physical_name)

    async def encrypt(
        self, name: str, *, fields: Sequence[str] = (), searchable: Sequence[str] = ()
    ) -> EncryptedCollection:
        """Keep a new collection encrypted from its first document on, wherever it is opened.

        :param fields: what to seal, as dotted paths; whole documents, if left out.
        :param searchable: sealed fields that ``$eq``, ``$ne``, ``$in`` and ``$nin`` can ask for.
        """
        self._check()
        request = EncryptCollection(
            id=self.database.id,
            collection=checked_collection(name),
            fields=tuple(fields),
            searchable=tuple(searchable),
        )
        made: EncryptedCollection = await self._call("databases.encrypt", request)
        self.link.stale()
        return made

    async def drop_collection(self, name: str) -> None:
        """Remove a collection with its documents and indexes; one that is not there changes nothing."""
        self._check()
        request = DropCollection(database_id=self.database.id, collection=checked_collection(name))
        await self._call("collections.drop", request)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["Transaction"]:
        """What is written inside is seen together when the block ends, or not at all when it raises.

        Unsupported where the engine has none. Conflict where another one got in the way: repeat it whole.
        """
        self._check()
        standing = await self.link.current()
        if Ability.TRANSACTIONS not in standing.collections.abilities:
            raise Unsupported(
                f"{standing.provider.kind} has no transactions here.",
                hint="Change documents one by one, with their version.",
            )
        async with standing.collections.transaction(
            standing.database.physical_name, standing.quota
        ) as session:
            tie = TransactionTie(self.link, session)
            try:
                yield Transaction(tie, session, self._now)
            finally:
                tie.stamp = None

    @asynccontextmanager
    async def session(self, access: Literal["write", "read"] = "write") -> AsyncIterator[StorageSession]:
        """A unit of work of SQLAlchemy or SQLModel on the database's tables: ``async with storage.session() as session``.

        Committed when the block ends, rolled back when it raises. Models declared with the schema ``tenant``, or with
        none, lie in the tenant's. Entering it may raise Unreachable, Unsupported where the engine keeps no tables, and
        TooManyRequests where all connections stay in use; inside, SQLAlchemy's own errors come as they are, except
        that a lost connection, a full disk and a file that stays busy are errors of `storage_core.domain.errors`.

        :param access: ``read`` changes nothing, and on SQLite waits for no writer.
        """
        self._check()
        standing = await self.link.current()
        standing.refuse_plain("tables")
        async with unit(standing, _access(access), self._now, self.link.check) as session:
            yield session

    async def documents(self, model: type[D]) -> type[D]:
        """A model of Beanie's in this database: ``books = await storage.documents(Book)``, then ``books.find(…)``,
        ``await books(title="x").insert()``, ``books.aggregate(…)``, ``await books.watch()`` as with any model.

        Its indexes are there, and the models it links to are bound alike. Documents read or made through it stay with
        this database, whatever tenant is in force later; ``Book`` itself means, inside a tenant's scope, that
        tenant's. Errors of Beanie and the driver come as they are. Once something about the tenant or the database has
        changed, Unavailable is raised until this is called again, which says what is the matter or lets all that it
        answered before work on.
        """
        self._check()
        (await self.link.current()).refuse_plain("Beanie's documents")
        from .documents import documents  # Beanie is for those who use it

        return await documents(self.link, model, self._now)

    async def migrate_documents(self, migrations: Sequence["DocumentMigration"]) -> tuple["Migrated", ...]:
        """Change documents that are stored already, step by step, each step once in this database.

        A process that is killed may be followed by another one, which goes on where it was. Conflict while another
        process is at it. Answers the steps that came to their end now.
        """
        self._check()
        from .document_migrations import migrate_documents
        from .documents import Place

        database = await Place(self.link, self._now).follow()
        return await migrate_documents(database, migrations, self._now)

    async def create_tables(self) -> None:
        """Make the tables of the registered models that are missing here. Any number of processes may call it at once.

        Tables that are there stay as they are, whatever the models say: to change them is what migrations are for.
        """
        self._check()
        standing = await self.link.current()
        source = self.link.source
        if not source.models:
            raise no_models()
        async with bound(standing, Access.READ, self._now) as connection:
            missing = await missing_tables(connection, source.models)
        if missing:
            await source.create_tables(standing)

    async def _create_index(self, collection: str, index: Index) -> None:
        paths = tuple(f"$.{'.'.join(path)}" for path in index.paths)
        request = IndexCollection(
            database_id=self.database.id,
            collection=collection,
            index=index.name,
            paths=paths,
            unique=index.unique,
        )
        await self._call("collections.index", request)

    async def _drop_index(self, collection: str, name: str) -> None:
        request = UnindexCollection(database_id=self.database.id, collection=collection, index=name)
        await self._call("collections.unindex", request)

    async def _call(self, operation: str, request: Request) -> Any:
        return await self.link.source.call(operation, request, self.tenant.id)

    @property
    def _now(self) -> Callable[[], datetime]:
        return self.link.source.now

    def _check(self) -> None:
        scope = optional_tenant()
        if scope is not None:
            self.link.check(scope)


class Transaction:
    """The collections of a transaction that is under way."""

    __slots__ = ("_now", "_session", "_tie")

    def __init__(self, tie: TransactionTie, session: Session, now: Callable[[], datetime]) -> None:
        self._tie, self._session, self._now = tie, session, now

    def collection(self, name: str, values: Values = "strict") -> Collection:
        """A collection inside the transaction, until its block ends."""
        return Collection(checked_collection(name), _mode(values), self._tie, self._now)


def _access(access: str) -> Access:
    try:
        wanted = Access(access)
    except ValueError:
        wanted = Access.SHAPE
    if wanted is Access.SHAPE:
        raise InvalidRequest(f"access is {access[:40]!r}.", field="access", hint="Use write or read.")
    return wanted


def _mode(values: str) -> Mode:
    try:
        return Mode(values)
    except ValueError:
        raise InvalidRequest(
            f"values is {values[:40]!r}.", field="values", hint="Use strict, tagged or lossy."
        ) from None
