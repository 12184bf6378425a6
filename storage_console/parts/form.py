"""Forms: labelled fields with hints and their own errors, one busy button.

    class Databases(FormState, ListState, rx.State):
        async def _save(self, data: dict[str, Any]) -> EventSpec | None:   # raise StorageError or ValidationError freely
            await core().databases.create(await asking(self), CreateDatabase(**data))
            return toast("success", "Created")

    dialog_form(Databases, "New database", "Create",
        field(Databases, "name", "Name", hint="Lower case, digits, dashes."),
        select(Databases, "provider_id", "Provider", Databases.providers),     # list[Option]
        field(Databases, "password", "Password", type="password", autocomplete="new-password"),
    )
    button("New database", on_click=Databases.form_show)

The handlers need only a signed-in caller; the operation that `_save` calls authorises. Values never enter a
var: the browser sends them once, on submit.
"""

from dataclasses import dataclass
from typing import Any

import reflex as rx

from storage_console.parts.closing import Closing
from storage_console.parts.feedback import button
from storage_console.parts.refused import refused
from storage_console.session import NO_PROBLEM, Permission, Problem, attempt, requires


def typed(wait: int = 60, **props: Any) -> rx.Component:
    """An input that a var mirrors (`value`, `on_change`): keeps what is typed, tells the server after `wait` ms."""
    return rx.debounce_input(rx.el.input(**props), debounce_timeout=wait)


@dataclass(frozen=True, slots=True)
class Option:
    """One choice of a select or filter."""

    value: str
    label: str


class FormState(Closing, mixin=True):
    """The state behind one form of a page: open, busy, errors by field."""

    form_open: bool = False
    form_busy: bool = False
    form_errors: dict[str, str] = {}
    form_problem: Problem = NO_PROBLEM

    async def _save(self, data: dict[str, Any]) -> Any:
        """Does what the form is for; returns events, raises StorageError or ValidationError."""

    def _form_reset(self, shown: bool) -> None:
        self.form_open, self.form_busy = shown, False
        self.form_errors.clear()
        self.form_problem = NO_PROBLEM

    def _closed(self) -> None:
        self._form_reset(shown=False)
        super()._closed()

    @rx.event
    @requires(Permission.SIGNED_IN)
    def form_show(self):
        """Opens the form, empty."""
        self._form_reset(shown=True)

    @rx.event
    @requires(Permission.SIGNED_IN)
    def form_toggle(self, shown: bool):
        """Opens or closes it, as dialogs report."""
        self._form_reset(shown=shown is True)

    @rx.event
    @requires(Permission.SIGNED_IN)
    async def form_submit(self, data: dict[str, Any]):
        """Saves; shows each error at its field."""
        if self.form_busy or not isinstance(data, dict):
            return
        self._form_reset(shown=self.form_open)
        self.form_busy = True
        yield
        done, found = await attempt(self._save(data))
        self.form_busy = False
        if found.code:
            self._form_failed(found)
            return
        self._form_reset(shown=False)
        if done is not None:
            yield done

    def _form_failed(self, found: Problem) -> None:
        if found.field:
            self.form_errors = {found.field: f"{found.detail} {found.hint}".strip()}
        else:
            self.form_problem = found


def _frame(name: str, label: str, control: rx.Component, hint: str, error: Any) -> rx.Component:
    return rx.el.div(
        rx.el.label(label, html_for=f"f-{name}"),
        control,
        rx.cond(
            error,
            rx.el.p(
                rx.icon("circle-alert", size=13, aria_hidden="true"),
                error,
                class_name="sc-error",
                id=f"f-{name}-note",
                role="alert",
            ),
            rx.el.p(hint, class_name="sc-hint", id=f"f-{name}-note") if hint else rx.fragment(),
        ),
        class_name="sc-field",
    )


def _common(name: str, error: Any) -> dict[str, Any]:
    # As an attribute, past Reflex: a form also sends what has an `id` Reflex knows of, under that id.
    return {
        "custom_attrs": {"id": f"f-{name}"},
        "name": name,
        "aria_invalid": rx.cond(error, "true", "false"),
        "aria_describedby": f"f-{name}-note",
    }


def _error(state: Any, name: str) -> Any:
    return state.form_errors[name] if state is not None else ""


def field(state: Any, name: str, label: str, hint: str = "", **props: Any) -> rx.Component:
    """A labelled input; `props` go to the input element. `state` may be None (no errors shown)."""
    error = _error(state, name)
    props = {"type": "text", "auto_complete": "off", "spell_check": False, **props}
    return _frame(
        name, label, rx.el.input(class_name="sc-input", **{**_common(name, error), **props}), hint, error
    )


def area(state: Any, name: str, label: str, hint: str = "", **props: Any) -> rx.Component:
    """A labelled text area."""
    error = _error(state, name)
    return _frame(
        name, label, rx.el.textarea(class_name="sc-input", **{**_common(name, error), **props}), hint, error
    )


def _choice(option: Any) -> rx.Component:
    return rx.el.option(option.label, value=option.value)


def select(state: Any, name: str, label: str, options: Any, hint: str = "", **props: Any) -> rx.Component:
    """A labelled native select; `options` is a list[Option] var or a list of Options."""
    error = _error(state, name)
    if isinstance(options, (list, tuple)):
        choices: list[Any] = [rx.el.option(o.label, value=o.value) for o in options]
    else:
        choices = [rx.foreach(options, _choice)]
    return _frame(
        name,
        label,
        rx.el.select(*choices, class_name="sc-input", **{**_common(name, error), **props}),
        hint,
        error,
    )


def switch(name: str, label: str, hint: str = "", **props: Any) -> rx.Component:
    """A labelled checkbox; sent as "on" when ticked, absent otherwise."""
    return rx.el.label(
        rx.el.input(type="checkbox", name=name, class_name="sc-check", **props),
        rx.el.span(label, rx.el.small(hint, class_name="sc-hint") if hint else rx.fragment()),
        class_name="sc-switch",
    )


def group(state: Any, name: str, label: str, *controls: rx.Component, hint: str = "") -> rx.Component:
    """Several controls under one label, with one error."""
    error = _error(state, name)
    return rx.el.fieldset(
        rx.el.legend(label),
        rx.el.div(*controls, class_name="sc-ticks-in"),
        rx.cond(
            error,
            rx.el.p(
                rx.icon("circle-alert", size=13, aria_hidden="true"),
                error,
                class_name="sc-error",
                role="alert",
            ),
            rx.el.p(hint, class_name="sc-hint") if hint else rx.fragment(),
        ),
        class_name="sc-field sc-ticks",
    )


def form(state: Any, verb: str, *fields: rx.Component, cancel: Any = None) -> rx.Component:
    """The fields, the form's problem and its buttons."""
    back = [button("Cancel", on_click=cancel)] if cancel is not None else []
    return rx.el.form(
        *fields,
        refused(state.form_problem),
        rx.el.div(
            *back, button(verb, look="primary", type="submit", busy=state.form_busy), class_name="sc-actions"
        ),
        on_submit=state.form_submit,
        class_name="sc-form",
        auto_complete="off",
    )


def dialog_form(state: Any, title: str, verb: str, *fields: rx.Component, about: str = "") -> rx.Component:
    """The form in a dialog that `state.form_show` opens."""
    return rx.dialog.root(
        rx.dialog.content(
            rx.dialog.title(title),
            rx.dialog.description(about or f"{title}.", class_name="" if about else "sc-hidden"),
            form(state, verb, *fields, cancel=state.form_toggle(False)),
            class_name="sc-dialog",
        ),
        open=state.form_open,
        on_open_change=state.form_toggle,
        on_unmount=state.form_toggle(False),
    )
