"""Beanie's documents in a tenant's own database, any number of tenants at once in one process.

Beanie binds a class to one database. Here a model stays unbound, and each tenant's database gets a class of its own
below it: a plain Python class that shares everything with the model but the collection it is bound to, and the classes
of the same database that its links lead to. Documents that are read or made through it are of it, so that what is done
with them later goes to the same database, whatever tenant is in force by then.
"""

from abc import ABCMeta
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary, WeakValueDictionary

from beanie import BackLink, Document, View
from beanie import Link as DocumentLink
from beanie.odm.actions import ActionRegistry
from beanie.odm.fields import LinkInfo
from beanie.odm.utils.init import Initializer
from pymongo.asynchronous.change_stream import AsyncCollectionChangeStream
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase

from ..domain.errors import Conflict, InvalidRequest, TenantMismatch, TenantRequired, Unavailable, Unsupported
from ..domain.naming import said
from ..domain.tenant import Tenant
from ..tenancy import optional_tenant

if TYPE_CHECKING:
    from .door import Standing
    from .link import Link

D = TypeVar("D", bound=Document)
Database = AsyncDatabase[dict[str, Any]]

#: Where a class of a tenant's database knows what it is bound to.
PLACE = "storage_place"
#: Models that are prepared, of this process; the classes below them are not among their subclasses.
_prepared: set[type[Document]] = set()
#: What plain models mean inside a tenant's scope, by the scope.
_scoped: WeakValueDictionary[tuple[str, str | None], "Family"] = WeakValueDictionary()

#: Whose document is being made: what lies inside it is bound alike.
_making: ContextVar["Family | None"] = ContextVar("storage_documents", default=None)


class Nowhere:
    """The collection of a model that no tenant is in force for: whatever is asked of it is refused."""

    def __getattr__(self, name: str) -> Any:
        raise TenantRequired(
            "No tenant is set for this model.",
            hint="Use the class that storage.documents(…) answers, or the model inside tenant_scope(…) after it.",
        )


NOWHERE = Nowhere()
LINKS: tuple[type[Any], ...] = (DocumentLink, BackLink)


class Place:
    """A tenant's database, as its classes know it."""

    __slots__ = ("_database", "_link", "_stamp", "now", "tenant")

    def __init__(self, link: "Link", now: Callable[[], datetime]) -> None:
        self._link, self.now = link, now
        self.tenant: Tenant = link.standing.tenant
        self._database: Database | None = None
        self._stamp: object | None = None

    async def follow(self) -> Database:
        """Bind to the database as it stands now; refused as opening it would be."""
        found = await self._open(await self._link.current())
        self._database, self._stamp = found, self._link.stamp
        return found

    async def opened(self, standing: "Standing") -> Callable[[object], None]:
        """Make ready to go over to another way to the database, which the answer does, given the link's new stamp."""
        found = await self._open(standing)

        def move(stamp: object) -> None:
            self._database, self._stamp = found, stamp

        return move

    async def _open(self, standing: "Standing") -> Database:
        if standing.engine.documents is None:
            raise Unsupported(
                f"The provider {said(standing.provider.name)} ({standing.provider.kind}) is no MongoDB.",
                hint="Use storage.collection(…), which every engine has.",
            )
        return await standing.engine.documents.open(standing.database.physical_name)

    def collection(self, name: str) -> AsyncCollection[dict[str, Any]]:
        """A collection of the database; Unavailable where news about the tenant or the database came since `follow`."""
        if self._database is None or self._stamp is None or self._stamp is not self._link.stamp:
            raise Unavailable(
                f"Something has changed about the storage of the tenant {said(self.tenant.name)}.",
                hint="Call storage.documents(…) again: the classes that it answered before work on, or it says why not.",
            ).undone()
        return self._database[name]


class Family:
    """The classes of one tenant's database."""

    def __init__(self, link: "Link", now: Callable[[], datetime]) -> None:
        self.place = Place(link, now)
        self.database_id = link.standing.database.id
        self._classes: dict[type[Document], type[Document]] = {}
        self._indexed: set[type[Document]] = set()

    async def bind(self, model: type[D]) -> type[D]:
        """The class of a model; its indexes, and those of the models it links to, are there."""
        if not isinstance(model, type) or not issubclass(model, Document) or issubclass(model, View):
            raise InvalidRequest("The model is no document of Beanie's.", field="model")
        model = getattr(model, PLACE + "_of", model)
        database = await self.place.follow()
        models = await _prepare(model, database)
        for one in models:
            self.of(one)
        await self._index(models, database)
        return self.of(model)

    def of(self, model: type[D]) -> type[D]:
        """The class of a prepared model."""
        made: Any = self._classes.get(model)
        if made is None:
            made = self._classes[model] = _below(model, self.place)
            links = model.get_link_fields()
            made._link_fields = links and {name: self._link(info) for name, info in links.items()}
            made._children = {name: self.of(child) for name, child in (model._children or {}).items()}
            if model in ActionRegistry._actions:
                ActionRegistry._actions[made] = ActionRegistry._actions[model]
        return made

    def _link(self, info: LinkInfo) -> LinkInfo:
        nested = info.nested_links and {name: self._link(inner) for name, inner in info.nested_links.items()}
        # classes of a circle meet again: what is being made is found among the made ones
        return info.model_copy(
            update={"document_class": self.of(info.document_class), "nested_links": nested}
        )

    def adopt(self, document: Any) -> None:
        """Bind a document, and what it links to, to this database."""
        model = type(document)
        if getattr(model, PLACE, None) is None and model in _prepared:
            object.__setattr__(document, "__class__", self.of(model))
        for name in type(document).get_link_fields() or ():
            linked = document.__dict__.get(name)
            for one in linked if isinstance(linked, list) else (linked,):
                if isinstance(one, LINKS):
                    if one.document_class in _prepared:
                        one.document_class = self.of(one.document_class)
                elif isinstance(one, Document):
                    self._adopt_linked(document, one)

    def _adopt_linked(self, document: Document, linked: Document) -> None:
        place = place_of(type(linked))
        if place is None:
            self.adopt(linked)
        elif place is not self.place:
            raise TenantMismatch(
                f"The {type(linked).__name__} {said(str(linked.id))} is in the storage of "
                f"{said(place.tenant.name)}, and the {type(document).__name__} that links to it in another one.",
                hint="Link to documents of the same database.",
            )

    async def _index(self, models: Iterable[type[Document]], database: Database) -> None:
        for model in models:
            if model not in self._indexed and model.get_settings().name:
                bound = self.of(model)
                initializer = Initializer(database=database, document_models=[model])
                initializer.inited_classes = list(model.__mro__)
                await initializer.init_indexes(bound)
                self._indexed.add(model)


async def documents(link: "Link", model: type[D], now: Callable[[], datetime]) -> type[D]:
    """The model's class in a tenant's database."""
    family = link.family
    if family is None:
        family = link.family = Family(link, now)
    bound = await family.bind(model)
    tenant, namespace = link.standing.tenant, link.standing.database.namespace
    for name in (tenant.id, tenant.name):
        for part in {namespace, None}:
            _scoped[name, part] = family if _scoped.get((name, part), family) is family else AMBIGUOUS
    return bound


class _Ambiguous(Family):
    """Stands where a tenant's scope means several databases."""

    def __init__(self) -> None:
        self.database_id = ""

    def of(self, model: type[D]) -> type[D]:
        raise Conflict(
            "The tenant in force has this model in several databases.",
            hint="Use the class that storage.documents(…) answers for one of them.",
        )

    def adopt(self, document: Any) -> None:
        """Leave it alone: whoever uses it is told."""


AMBIGUOUS = _Ambiguous()


def place_of(model: type[Document]) -> Place | None:
    """What a class is bound to."""
    found: Place | None = getattr(model, PLACE, None)
    return found


def _in_force() -> Family | None:
    """What plain models mean here: inside of a document that is being made, its database; else the tenant's in force."""
    making = _making.get()
    if making is not None:
        return making
    scope = optional_tenant()
    return None if scope is None else _scoped.get((scope.tenant, scope.namespace))


def _below(model: type[Document], place: Place) -> type[Document]:
    """A class below a model, bound to a database: made without Pydantic's machinery, whose results it inherits."""
    space = {
        "__module__": model.__module__,
        "__qualname__": model.__qualname__,
        "__doc__": model.__doc__,
        "__slots__": (),
        PLACE: place,
        PLACE + "_of": model,
        "get_pymongo_collection": classmethod(_bound_collection),
        "model_validate": classmethod(_validated),
        "watch": classmethod(_watch),
    }
    made: type[Document] = ABCMeta.__new__(type(model), model.__name__, (model,), space)
    return made


def _bound_collection(cls: Any) -> AsyncCollection[dict[str, Any]]:
    place: Place = getattr(cls, PLACE)
    return place.collection(cls.get_settings().name)


def _validated(cls: Any, obj: Any, **more: Any) -> Any:
    """Documents are of the bound class, not of the model that Pydantic knows."""
    if isinstance(obj, cls):
        return obj
    if isinstance(obj, dict):
        return cls(**obj)
    return super(cls, cls).model_validate(obj, **more)


async def _watch(cls: Any, *args: Any, **more: Any) -> AsyncCollectionChangeStream[dict[str, Any]]:
    """Changes of the collection as they happen, on a replica set: ``async with await books.watch() as stream``."""
    stream: AsyncCollectionChangeStream[dict[str, Any]] = await cls.get_pymongo_collection().watch(
        *args, **more
    )
    return stream


def _plain_collection(cls: Any) -> Any:
    """The collection that a plain model means: of the tenant in force."""
    family = _in_force()
    return NOWHERE if family is None else family.of(cls).get_pymongo_collection()


def _init(original: Callable[..., None]) -> Callable[..., None]:
    """A model's `__init__` that binds what it makes: to its class's database, else to that of the tenant in force."""

    def __init__(self: Any, *args: Any, **more: Any) -> None:
        place: Place | None = getattr(type(self), PLACE, None)
        family = _in_force() if place is None else _family_of(place)
        if family is None:
            return original(self, *args, **more)
        token = _making.set(family)
        try:
            original(self, *args, **more)
        finally:
            _making.reset(token)
        family.adopt(self)
        checked = getattr(self, "storage_adopted", None)
        if checked is not None and (found := place_of(type(self))) is not None:
            checked(found)

    return __init__


def _family_of(place: Place) -> Family | None:
    return place._link.family


async def _prepare(model: type[Document], database: Database) -> Sequence[type[Document]]:
    """Initialise a model and all it links to, once a process, without binding them. Answers them all."""
    initializer = Initializer(database=database, document_models=[model], skip_indexes=True)
    models = _linked(model, initializer, [])
    fresh = [one for one in models if one not in _prepared]
    for one in fresh:
        if (
            one.__dict__.get("_document_settings") is not None
            and one.get_settings().pymongo_collection is not None
        ):
            raise Conflict(
                f"The model {one.__name__} is bound to a database by init_beanie already.",
                field="model",
                hint="Leave init_beanie out for models that tenants use.",
            )
    if fresh:
        initializer.document_models = fresh
        await initializer
        if not isinstance(ActionRegistry._actions, WeakKeyDictionary):
            # classes of tenants come and go, and their hooks with them
            setattr(ActionRegistry, "_actions", WeakKeyDictionary(ActionRegistry._actions))  # noqa: B010 - typed as a dict
        for one in fresh:
            _unbind(one)
            _prepared.add(one)
    return models


def _linked(
    model: type[Document], initializer: Initializer, found: list[type[Document]]
) -> list[type[Document]]:
    """A model, those it links to, and those below it where they share its collection."""
    if model in found:
        return found
    found.append(model)
    for name, field in model.model_fields.items():
        info = initializer.detect_link(field, name)
        if info is not None and issubclass(info.document_class, Document):
            _linked(info.document_class, initializer, found)
    if getattr(getattr(model, "Settings", None), "is_root", False):
        for child in model.__subclasses__():
            if PLACE not in child.__dict__:
                _linked(child, initializer, found)
    return found


def _unbind(model: Any) -> None:
    settings = model.get_settings()
    settings.pymongo_collection = settings.pymongo_db = None
    if getattr(model, "storage_audited", False):
        settings.use_revision = True  # what a change is compared with
    model.get_pymongo_collection = classmethod(_plain_collection)
    model.__init__ = _init(model.__init__)


def refuse_other(document: Any, place: Place, tenant_id: str) -> None:
    """TenantMismatch for a document that is another tenant's."""
    if tenant_id and tenant_id != place.tenant.id:
        raise TenantMismatch(
            f"The {type(document).__name__} {said(str(document.id))} is another tenant's, "
            f"and this is the storage of {said(place.tenant.name)}.",
            field="tenant_id",
        )
