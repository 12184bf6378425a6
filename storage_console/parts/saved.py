"""Saved filters of a list: its filters, order and columns under a name, private or shared.

A ListState has them by itself; the toolbar shows `saved_menu(state)`.
"""

from functools import partial
from typing import Any, ClassVar
from urllib.parse import parse_qsl

import reflex as rx

from storage_console.parts.feedback import button
from storage_console.personal import SavedLine, drop_filter, save_filter, saved_filters
from storage_console.session import NO_PROBLEM, Permission, Problem, asking, attempt, requires, toast


class SavedState(rx.State, mixin=True):
    """The saved filters of one list page."""

    saved: list[SavedLine] = []
    saved_name: str = ""  # of the one that is shown right now
    saved_open: bool = False
    saved_problem: Problem = NO_PROBLEM
    address: str = ""

    _route: ClassVar[str] = ""

    async def _show(self, given: dict[str, str]) -> None:
        """Shows the list that an address's question asks for; the list has its own."""

    async def _read_saved(self) -> None:
        found, _ = await attempt(self._saved())
        self.saved = found if found is not None else self.saved
        self._name_saved()

    async def _saved(self) -> list[SavedLine]:
        return await saved_filters(await asking(self), self._route)

    def _name_saved(self) -> None:
        query = self._query()
        self.saved_name = next((s.name for s in self.saved if s.query == query and query), "")

    def _query(self) -> str:
        """The address's question without the page number, which nobody means to keep."""
        pairs = self.address.partition("?")[2].split("&")
        return "&".join(p for p in pairs if p and not p.startswith("page="))

    @rx.event
    @requires(Permission.SIGNED_IN)
    async def saved_toggle(self, shown: bool):
        """Opens or closes the list of saved filters."""
        self.saved_open, self.saved_problem = shown is True, NO_PROBLEM
        if self.saved_open:
            await self._read_saved()

    @rx.event
    @requires(Permission.SIGNED_IN)
    async def use_saved(self, id: str):
        """Shows the list as a saved filter has it."""
        chosen = next((s for s in self.saved if s.id == id), None)
        if chosen is not None:
            self.saved_open = False
            await self._show(dict(parse_qsl(chosen.query)))

    @rx.event
    @requires(Permission.SIGNED_IN)
    async def save_filter(self, data: dict[str, Any]):
        """Keeps what is shown under the name that was typed."""
        if not isinstance(data, dict):
            return None
        name, shared = str(data.get("saved_name") or "").strip(), data.get("saved_shared") == "on"
        kept, self.saved_problem = await attempt(self._keep(name, shared))
        if kept is None:
            return None
        await self._read_saved()
        self.saved_open = False
        return toast("success", f"Saved as {kept.name}")

    async def _keep(self, name: str, shared: bool) -> SavedLine:
        return await save_filter(await asking(self), self._route, name, self._query(), shared=shared)

    @rx.event
    @requires(Permission.SIGNED_IN)
    async def drop_saved(self, id: str):
        """Forgets a saved filter."""
        _, self.saved_problem = await attempt(self._drop_saved(str(id)))
        await self._read_saved()

    async def _drop_saved(self, id: str) -> None:
        await drop_filter(await asking(self), id)


def saved_menu(state: Any) -> rx.Component:
    """The button with the saved filters, and the form that saves one more."""
    nothing = rx.el.p("None yet. Save what you come back to.", class_name="sc-hint")
    listed = rx.el.ul(rx.foreach(state.saved, partial(_line, state)), class_name="sc-saved")
    return rx.popover.root(
        rx.popover.trigger(
            rx.el.button(
                rx.icon("bookmark", size=15, aria_hidden="true"),
                rx.el.span(rx.cond(state.saved_name != "", state.saved_name, "Saved"), class_name="sc-wide"),
                class_name="sc-btn sc-btn-ghost sc-saved-button",
                data_on=rx.cond(state.saved_name != "", "true", "false"),
                type="button",
                aria_label=rx.cond(
                    state.saved_name != "", "Saved filters: " + state.saved_name, "Saved filters"
                ),
            )
        ),
        rx.popover.content(
            rx.cond(state.saved.length() > 0, listed, nothing),
            _form(state),
            class_name="sc-pop sc-pop-wide",
            align="end",
            custom_attrs={"aria-label": "Saved filters"},
        ),
        open=state.saved_open,
        on_open_change=state.saved_toggle,
    )


def _line(state: Any, line: Any) -> rx.Component:
    return rx.el.li(
        rx.el.button(
            rx.cond(
                line.name == state.saved_name,
                rx.icon("check", size=14, aria_hidden="true"),
                rx.icon("bookmark", size=14, aria_hidden="true"),
            ),
            rx.el.span(line.name, class_name="sc-grow"),
            rx.el.small(line.note, class_name="sc-faint"),
            on_click=state.use_saved(line.id),
            class_name="sc-choice",
            type="button",
        ),
        rx.el.button(
            rx.icon("trash-2", size=14, aria_hidden="true"),
            on_click=state.drop_saved(line.id),
            class_name="sc-icon-btn",
            type="button",
            aria_label="Delete " + line.name,
            title=rx.cond(line.mine, "Delete", "Delete, for everybody it is shared with"),
        ),
    )


def _form(state: Any) -> rx.Component:
    wrong = rx.el.p(
        rx.icon("circle-alert", size=13, aria_hidden="true"),
        state.saved_problem.detail,
        " ",
        state.saved_problem.hint,
        class_name="sc-error",
        role="alert",
    )
    return rx.el.form(
        rx.el.div(
            rx.el.label("Save these filters, order and columns as", html_for="saved-name"),
            rx.el.input(
                custom_attrs={"id": "saved-name"},
                name="saved_name",
                class_name="sc-input",
                required=True,
                max_length=60,
                auto_complete="off",
                placeholder="Failed last night",
            ),
            class_name="sc-field",
        ),
        rx.el.label(
            rx.el.input(type="checkbox", name="saved_shared", class_name="sc-check"),
            rx.el.span("Share with those who work here"),
            class_name="sc-switch",
        ),
        rx.cond(state.saved_problem.code != "", wrong, rx.fragment()),
        rx.el.div(button("Save", look="primary", type="submit"), class_name="sc-actions"),
        on_submit=state.save_filter,
        reset_on_submit=True,
        class_name="sc-saved-form",
    )
