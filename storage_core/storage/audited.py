"""A base for an application's own documents: whose they are, when they came and changed, and their version."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, ClassVar, Self

from beanie import Document
from beanie.exceptions import DocumentNotFound, RevisionIdWasChanged

from ..domain.errors import InvalidRequest, NotFound, TenantRequired, VersionConflict
from ..domain.naming import said
from .documents import Place, place_of, refuse_other

#: What a document's own fields are called; an update of other fields does not write them.
OWN = frozenset({"tenant_id", "created_at", "updated_at", "version"})


class AuditedDocument(Document):
    """A document of Beanie's with `tenant_id`, `created_at`, `updated_at` (UTC, to the millisecond) and `version`.

    ``class Book(AuditedDocument): …``, used through ``storage.documents(Book)``. Writing a document that somebody else
    changed since it was read raises VersionConflict; one of another tenant's, given or found in the database,
    TenantMismatch; one that no tenant's storage knows, TenantRequired. Updates of many documents at once
    (``books.find(…).update(…)``) are Beanie's own and leave version and moments as they are.
    """

    storage_audited: ClassVar[bool] = True

    tenant_id: str = ""
    created_at: datetime | None = None
    updated_at: datetime | None = None
    version: int = 0

    def storage_adopted(self, place: Place) -> None:
        """Called for each document that a tenant's class makes or reads."""
        refuse_other(self, place, self.tenant_id)

    async def insert(self, *args: Any, **more: Any) -> Self:
        """Store the document, which is the tenant's from now on."""
        was = self._claimed(1)
        try:
            return await super().insert(*args, **more)
        except BaseException:
            self._put(was)
            raise

    @classmethod
    async def insert_one(cls, *args: Any, **more: Any) -> Any:
        """Store one document; with a bulk writer, when that commits."""
        if more.get("bulk_writer") is not None:
            (args[0] if args else more["document"])._claimed(1)
        return await super().insert_one(*args, **more)

    @classmethod
    async def insert_many(cls, documents: Iterable[Any], *args: Any, **more: Any) -> Any:
        """Store many documents."""
        listed = list(documents)
        for document in listed:
            document._claimed(1)
        return await super().insert_many(listed, *args, **more)

    async def save(self, *args: Any, **more: Any) -> Self:
        """Store the document as it is: a new one, or over the one that it was read from."""
        if self.version == 0:
            given = dict(zip(("session", "link_rule"), args, strict=False)) | more
            known = {name: given[name] for name in ("session", "link_rule") if name in given}
            return await self.insert(**known)
        return await super().save(*args, **more)

    async def replace(self, *args: Any, **more: Any) -> Self:
        """Store the document over the one that it was read from."""
        was = self._claimed(self.version + 1)
        try:
            return await super().replace(*args, **more)
        except (RevisionIdWasChanged, DocumentNotFound) as error:
            self._put(was)
            raise await self._overtaken() from error
        except BaseException:
            self._put(was)
            raise

    async def update(self, *args: Any, upsert: bool = False, **more: Any) -> Self:
        """Change fields of the stored document, if it is still the one that was read; `set`, `inc` and `save` end here.

        A document that is gone is not made again, whatever `upsert` says.
        """
        place = self._place()
        refuse_other(self, place, self.tenant_id)
        changes = _together(args)
        changes.setdefault("$set", {})["updated_at"] = _now(place)
        changes.setdefault("$inc", {})["version"] = 1
        try:
            return await super().update(changes, **more)
        except RevisionIdWasChanged as error:
            raise await self._overtaken() from error

    async def delete(self, *args: Any, **more: Any) -> Any:
        """Remove the document."""
        refuse_other(self, self._place(), self.tenant_id)
        return await super().delete(*args, **more)

    def _place(self) -> Place:
        place = place_of(type(self))
        if place is None:
            raise TenantRequired(
                f"No tenant's storage knows this {type(self).__name__}.",
                hint="Make it by the class that storage.documents(…) answers, or inside tenant_scope(…) after it.",
            )
        return place

    def _claimed(self, version: int) -> dict[str, Any]:
        """Make it the tenant's, with this version, as of now; answers what was there."""
        place = self._place()
        refuse_other(self, place, self.tenant_id)
        was = {name: getattr(self, name) for name in OWN} | {"revision_id": self.revision_id}
        now = _now(place)
        created = now if version == 1 else self.created_at
        self._put(
            {"tenant_id": place.tenant.id, "created_at": created, "updated_at": now, "version": version}
        )
        return was

    def _put(self, values: dict[str, Any]) -> None:
        for name, value in values.items():
            setattr(self, name, value)

    async def _overtaken(self) -> VersionConflict | NotFound:
        stored = await self.get_pymongo_collection().find_one({"_id": self.id}, {"version": 1})
        if stored is None:
            return NotFound(f"There is no {type(self).__name__} {said(str(self.id))} any more.", field="id")
        return VersionConflict(
            f"The {type(self).__name__} {said(str(self.id))} has version {stored.get('version')}, not {self.version}.",
            field="version",
        )


def _now(place: Place) -> datetime:
    """As MongoDB keeps it."""
    now = place.now()
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def _together(changes: Iterable[Any]) -> dict[str, dict[str, Any]]:
    """Several update expressions as one, without a document's own fields, which are written with each."""
    found: dict[str, dict[str, Any]] = {}
    for change in changes:
        query = getattr(change, "query", change)
        if not isinstance(query, Mapping):
            raise InvalidRequest(
                "A pipeline cannot change one audited document.",
                field="args",
                hint='Use operators: set({Book.title: "x"}), inc({Book.sold: 1}).',
            )
        for operator, values in query.items():
            kept = {key: value for key, value in values.items() if str(key) not in OWN}
            if kept:
                found.setdefault(str(operator), {}).update(kept)
    return found
