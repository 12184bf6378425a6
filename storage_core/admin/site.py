"""SQLAdmin's application with our gate in front and our operations behind."""

from collections.abc import AsyncGenerator, Callable, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

from fastapi import FastAPI
from pydantic import ValidationError
from sqladmin import Admin
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from wtforms import Form

from ..bootstrap import OPERATIONS, Core
from ..domain.errors import Forbidden, InvalidRequest, NotFound, StorageError
from ..domain.job import Ticket
from ..domain.permission import Target
from ..services.operation import Operation
from ..sheets import Cell, Format, write
from .forms import fields_of, form_of, leaves, place, place_all
from .gate import Callers, Gate, Take, Visit, visit_of
from .view import REFERENCES, Roles, View
from .views import IDENTITIES, VIEWS

HERE = Path(__file__).parent
#: What a page says after a change, by the word in its address.
DONE = {"created": "Created.", "saved": "Saved.", "deleted": "Deleted.", "begun": "Begun; a worker does it."}


def install(app: FastAPI, core: Callable[[], Core]) -> "Site":
    """Serve the views at /admin of the API's application. The core may open later."""
    return Site(app, core, app.state.callers)


class Site(Admin):
    """The admin pages. Everything SQLAdmin would do on its own to the database is taken out of the routes."""

    def __init__(self, app: FastAPI, core: Callable[[], Core], callers: Callers) -> None:
        # Bound to no engine: SQLAdmin's own sessions cannot read, let alone write.
        super().__init__(
            app,
            base_url="/admin",
            title="Storage Console",
            favicon_url="/favicon.svg",
            templates_dir=str(HERE / "templates"),
            static_files_kwargs={"directory": str(HERE / "statics")},
            middlewares=[Middleware(Gate, core=core, callers=callers, told=self.told)],
            authorization_backend=Roles(lambda: self.ours),
        )
        self.templates.env.globals["done"] = cast("Any", DONE)
        known = {op.name for op in OPERATIONS}
        for view in VIEWS:
            view.identity = IDENTITIES[view]
            view.can_create, view.can_edit, view.can_delete = (
                name in known for name in (view.creates, view.edits, view.deletes)
            )
            self.add_view(view)
        self._replace_routes()

    @property
    def ours(self) -> tuple[View, ...]:
        """The views; there are no others."""
        return tuple(v for v in self.views if isinstance(v, View))

    def _replace_routes(self) -> None:
        kept = [r for r in self.admin.router.routes if isinstance(r, Mount)]  # the static files
        self.admin.router.redirect_slashes = False
        get, form = ["GET"], ["GET", "POST"]
        self.admin.router.routes = [
            *kept,
            Route("/", self.index, name="index", methods=get),
            Route("/{identity}/list", self.list, name="list", methods=get),
            Route("/{identity}/details/{pk:path}", self.details, name="details", methods=get),
            Route("/{identity}/create", self.create, name="create", methods=form),
            Route("/{identity}/edit/{pk:path}", self.edit, name="edit", methods=form),
            Route("/{identity}/delete/{pk:path}", self.delete, name="delete", methods=form),
            Route("/{identity}/export/{export_type}", self.export, name="export", methods=get),
            Route("/{identity}/ajax/lookup", self.ajax_lookup, name="ajax_lookup", methods=get),
        ]
        self.admin.exception_handlers = {HTTPException: self._lost, StorageError: self._failed}

    async def told(self, request: Request, error: StorageError, **context: Any) -> Response:
        """A refusal or failure as a page, in the error's own words."""
        shown = {
            "status_code": error.status,
            "message": error.title,
            "detail": error.detail,
            "hint": error.hint,
        }
        correlation = getattr(request.state, "correlation_id", "")
        return await self.templates.TemplateResponse(
            request,
            "sqladmin/error.html",
            {**shown, "correlation": correlation, **context},
            status_code=error.status,
        )

    async def _failed(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, StorageError)  # noqa: S101 - what the table of handlers says
        return await self.told(request, error)

    async def _lost(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - what the table of handlers says
        if error.status_code == HTTPStatus.NOT_FOUND:
            return await self.told(request, NotFound("There is nothing at this address."))
        shown = {"status_code": error.status_code, "message": error.detail}
        return await self.templates.TemplateResponse(
            request, "sqladmin/error.html", shown, status_code=error.status_code
        )

    async def index(self, request: Request) -> Response:
        """The views with how much each holds."""
        visit = visit_of(request)
        cards = [
            (view, (await view.page(visit, {"limit": 1})).total)
            for view in self.views
            if isinstance(view, View)
        ]
        return await self.templates.TemplateResponse(request, "sqladmin/index.html", {"cards": cards})

    async def details(self, request: Request) -> Response:
        """One row."""
        view = self._view(request)
        row = await view.get_object_for_details(request)
        context = {"model_view": view, "model": row, "title": view.name}
        return await self.templates.TemplateResponse(request, view.details_template, context)

    async def create(self, request: Request) -> Response:
        """The form for a new row, and what is made of it."""
        view = self._view(request)
        return await self._form(request, view, "create", None, "created")

    async def edit(self, request: Request) -> Response:
        """The form for a change, and what is made of it."""
        view = self._view(request)
        return await self._form(request, view, "edit", await view.get_object_for_details(request), "saved")

    async def delete(self, request: Request) -> Response:
        """The page that says what goes and asks for the name, and the deletion."""
        view = self._view(request)
        return await self._form(
            request, view, "delete", await view.get_object_for_details(request), "deleted"
        )

    async def export(self, request: Request) -> Response:
        """Exactly the rows that are listed, in their order, as a file."""
        view, visit, kind = self._view(request), visit_of(request), request.path_params["export_type"]
        if kind not in view.export_types:
            raise HTTPException(404)
        asked = view.asked(request)
        await view.page(visit, {**asked, "limit": 1})  # a refusal comes before the file begins
        filters = urlencode(asked)[:1000]
        await visit.door.export(visit.ctx, Take(view=view.noun, format=Format(kind), filters=filters))
        rows: AsyncGenerator[Sequence[Cell], None] = view.rows(visit, asked)
        name = f"{view.noun}-{visit.core.kernel.now():%Y%m%d-%H%M%S}.{kind}"
        return StreamingResponse(
            write(Format(kind), view._export_prop_names, rows, view.name_plural),
            media_type=Format(kind).media_type,
            headers={"content-disposition": f'attachment; filename="{name}"'},
        )

    async def ajax_lookup(self, request: Request) -> Response:
        """Things that a form's field may name, as far as the visitor reaches."""
        view, visit = self._view(request), visit_of(request)
        field, term = request.query_params.get("name", ""), request.query_params.get("term", "")
        offered = [
            op
            for act in ("create", "edit")
            if (op := view.operation_for(visit, act)) is not None and view.may(visit, act)
        ]
        if (
            not any(leaf.name == field for op in offered for leaf in leaves(op.request))
            or field not in REFERENCES
        ):
            raise HTTPException(404)
        found = await view.search(visit, field, term)
        return JSONResponse({"results": [{"id": id, "text": name} for id, name in found]})

    def _view(self, request: Request) -> View:
        view = self._find_model_view(request.path_params["identity"])
        assert isinstance(view, View)  # noqa: S101 - there are no others
        return view

    async def _form(self, request: Request, view: View, act: str, row: Any, done: str) -> Response:
        visit = visit_of(request)
        op = view.operation_for(visit, act)
        if op is None:
            raise HTTPException(404)
        if not view.may(visit, act, row):
            await self._refuse(request, visit, op, view, row)
        before = view.shown_before(row, op.request) if act == "edit" else None
        form_class = form_of(op.request, await self._lookups(request, visit, view, op, before))
        head: StorageError | None = None
        if request.method == "POST":
            form = form_class(await request.form())
            if form.validate():
                answer = await self._tried(visit, op, form, row, before)
                if not isinstance(answer, StorageError):
                    return _onward(request, view, act, answer, done)
                head = answer
            status = head.status if head is not None else HTTPStatus.UNPROCESSABLE_ENTITY
        else:
            form, status = form_class(data=before or {}), HTTPStatus.OK
        context = {
            "model_view": view, "form": form, "act": act, "row": row, "op": op, "head": head,
            "confirm": view.title_of(row) if row is not None else "", "placed": any(f.errors for f in form),
        }  # fmt: skip
        return await self.templates.TemplateResponse(
            request, "sqladmin/form.html", context, status_code=status
        )

    async def _tried(
        self, visit: Visit, op: Operation, form: Form, row: Any, before: dict[str, Any] | None
    ) -> Any:
        """The operation's answer, or its refusal with the form telling where it is."""
        fields = fields_of(op.request, form, before)
        if "id" in op.request.model_fields:
            fields["id"] = row.id
        try:
            asked = op.request.model_validate(fields)
        except ValidationError as error:
            left = place_all(form, error)
            return InvalidRequest(left or "Some fields need another look.")
        try:
            return await visit.core.operations[op.name][1](visit.ctx, asked)
        except StorageError as error:
            place(form, error.field, error.detail)
            return error

    async def _lookups(
        self, request: Request, visit: Visit, view: View, op: Operation, before: dict[str, Any] | None
    ) -> dict[str, Any]:
        url = str(request.url_for("admin:ajax_lookup", identity=view.identity))
        out = {}
        for leaf in leaves(op.request):
            if leaf.last in REFERENCES:
                chosen = str((before or {}).get(leaf.name) or "")
                out[leaf.last] = await view.lookup(visit, leaf.last, url, chosen)
        return out

    async def _refuse(self, request: Request, visit: Visit, op: Operation, view: View, row: Any) -> None:
        error = Forbidden(f"{op.name} needs the permission {op.needs}.")
        target = view.target(row) if row is not None else (view.new_target or Target(op.noun))
        await visit.door.refuse(visit.ctx, request.url.path, target, error)
        raise error


def _onward(request: Request, view: View, act: str, answer: Any, done: str) -> Response:
    """To what was made or changed, or back to the list."""
    if act == "delete":
        url = request.url_for("admin:list", identity=view.identity)
    else:
        url = request.url_for("admin:details", identity=view.identity, pk=answer.id)
    word = "begun" if isinstance(answer, Ticket) else done
    return RedirectResponse(url.include_query_params(done=word), HTTPStatus.SEE_OTHER)
