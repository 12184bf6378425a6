"""Encrypted collections: declared once, kept with their keys, carried to restored copies."""

from collections.abc import Callable
from dataclasses import replace

from pydantic import Field

from ..domain.context import Context
from ..domain.encryption import (
    EncryptedCollection,
    Encryption,
    checked_fields,
    collection_binding,
    shown,
)
from ..domain.errors import Conflict, InvalidRequest, NameTaken
from ..domain.naming import said
from ..domain.page import Clause, Test
from ..domain.permission import Permission
from ..domain.record import checked_collection
from ..ports.catalog import UnitOfWork
from .collections import collections_of
from .databases import Databases
from .kernel import Kernel, Service, every
from .operation import operation
from .request import ById
from .targets import database


class EncryptCollection(ById):
    """Keep a new collection of a database encrypted, from its first document on."""

    collection: str = Field(max_length=48, examples=["people"])
    """The collection; it must not exist yet."""
    fields: tuple[str, ...] = Field((), max_length=50, examples=[["ssn", "address.street"]])
    """The fields to seal, as dotted paths; none seals whole documents."""
    searchable: tuple[str, ...] = Field((), max_length=20, examples=[["ssn"]])
    """Sealed fields that can be looked up by equality: who reads the database sees which of them are equal."""


class Encryptions(Service):
    """Encrypted collections' operations."""

    def __init__(self, kernel: Kernel, databases: Databases) -> None:
        super().__init__(kernel)
        self._databases = databases

    @operation("databases.encrypt", needs=Permission.DATABASE_WRITE, on=database())
    async def encrypt(self, ctx: Context, request: EncryptCollection) -> EncryptedCollection:
        name = checked_collection(request.collection)
        checked_fields(request.fields, request.searchable)
        row, engine = await self._databases.opened(request.id)
        if row.tenant_id is None:
            raise InvalidRequest("Only a tenant's database has encrypted collections.", field="id")
        collections = collections_of(engine)
        origin = self.kernel.new_id()
        key = await self.kernel.vault.new_data_key(collection_binding(row.tenant_id, origin))
        made = Encryption(
            self.kernel.new_id(),
            row.tenant_id,
            row.id,
            name,
            origin,
            key.wrapped,
            self.kernel.now(),
            request.fields,
            request.searchable,
        )
        if name in await collections.names(row.physical_name):
            raise Conflict(
                f"The collection {said(name)} exists already.",
                field="collection",
                hint="Declare a new one, and copy the documents over.",
            )
        try:
            async with self.kernel.catalog.write() as uow:
                await uow.encryptions.add(made)
                await uow.publish("databases", "encrypted", row.id, row.tenant_id)
        except NameTaken:
            raise NameTaken(
                f"The collection {said(name)} is encrypted already.", field="collection"
            ) from None
        return shown(made)


async def encryptions_of(uow: UnitOfWork, database_id: str) -> tuple[Encryption, ...]:
    """The encrypted collections of a database."""
    where = (Clause("database_id", Test.ANY_OF, (database_id,)),)
    return tuple([row async for row in every(uow.encryptions, where)])


async def carry_encryptions(
    uow: UnitOfWork, source_id: str, target_id: str, new_id: Callable[[], str]
) -> None:
    """Let a restored copy open and seal as its source does. Idempotent."""
    there = {e.collection for e in await encryptions_of(uow, target_id)}
    for e in await encryptions_of(uow, source_id):
        if e.collection not in there:
            await uow.encryptions.add(replace(e, id=new_id(), database_id=target_id))
