"""Confirmations: T2 lists the effects; T3 also wants the exact name typed, a reason, and a fresh sign-in; T4 a second
person.

    class Tenants(ConfirmState, ListState, rx.State):
        @rx.event
        @requires(Permission.TENANT_DANGER)
        async def ask_delete(self, id: str):
            self._ask("delete", "Delete tenant acme", ["3 databases stop", "Undo for 7 days"],
                      name="acme", ids=[id], label="Delete tenant")        # name="" makes it T2

        async def _confirmed(self, verb: str, ids: tuple[str, ...], typed: str, reason: str):
            await core().tenants.delete(await asking(self), DeleteTenant(id=ids[0], confirm=typed))
            await self._reload()
            return toast("success", "Deleted")

    confirm(Tenants)             # once on the page

What was typed is compared again by the core: the disabled button is a courtesy. A sign-in that is too old is renewed
in the dialog, which then goes on; what needs a second person says where it waits.
"""

from typing import Any

import reflex as rx

from storage_console.parts.closing import Closing
from storage_console.parts.feedback import button
from storage_console.parts.form import typed
from storage_console.parts.refused import APPROVAL_REQUIRED, SIGN_IN_AGAIN, refused
from storage_console.session import NO_PROBLEM, Permission, Problem, attempt, requires


class ConfirmState(Closing, mixin=True):
    """The question being asked, if any."""

    confirm_open: bool = False
    confirm_busy: bool = False
    confirm_title: str = ""
    confirm_label: str = ""
    confirm_lead: str = ""
    confirm_effects: list[str] = []
    confirm_name: str = ""
    confirm_typed: str = ""
    confirm_reason: str = ""
    confirm_problem: Problem = NO_PROBLEM
    _confirm_verb: str = ""
    _confirm_ids: tuple[str, ...] = ()

    async def _confirmed(self, verb: str, ids: tuple[str, ...], typed: str, reason: str) -> Any:
        """Does it; returns events, raises StorageError."""

    def _closed(self) -> None:
        """A question does not outlive the visit it was asked in."""
        self.confirm_open, self._confirm_verb, self._confirm_ids = False, "", ()
        super()._closed()

    def _ask(
        self,
        verb: str,
        title: str,
        effects: list[str],
        *,
        label: str,
        ids: list[str] | tuple[str, ...] = (),
        name: str = "",
        lead: str = "This will happen:",
    ) -> None:
        """Opens the question. `verb` and `ids` come back to `_confirmed`; a `name` must be typed exactly."""
        self._confirm_verb, self._confirm_ids = verb, tuple(ids)
        self.confirm_title, self.confirm_label, self.confirm_effects = title, label, list(effects)
        self.confirm_lead, self.confirm_name, self.confirm_typed, self.confirm_reason = lead, name, "", ""
        self.confirm_problem, self.confirm_busy, self.confirm_open = NO_PROBLEM, False, True

    @rx.event
    @requires(Permission.SIGNED_IN)
    def confirm_type(self, text: str):
        """Takes what was typed as the name."""
        self.confirm_typed = str(text)[:300]

    @rx.event
    @requires(Permission.SIGNED_IN)
    def confirm_give_reason(self, text: str):
        """Takes the reason."""
        self.confirm_reason = str(text)[:500]

    @rx.event
    @requires(Permission.SIGNED_IN)
    def confirm_toggle(self, shown: bool):
        """Closes the question; it opens only by asking."""
        if shown is not True:
            self.confirm_open, self._confirm_verb, self._confirm_ids = False, "", ()

    @rx.event
    @requires(Permission.SIGNED_IN)
    async def confirm_go(self):
        """Does what was asked, once."""
        if self.confirm_busy or not self._confirm_verb:
            return
        if self.confirm_name and (self.confirm_typed != self.confirm_name or not self.confirm_reason.strip()):
            return
        self.confirm_busy, self.confirm_problem = True, NO_PROBLEM
        yield
        work = self._confirmed(
            self._confirm_verb, self._confirm_ids, self.confirm_typed, self.confirm_reason.strip()
        )
        done, self.confirm_problem = await attempt(work)
        self.confirm_busy = False
        if self.confirm_problem.code:
            return
        self.confirm_open, self._confirm_verb, self._confirm_ids = False, "", ()
        if done is not None:
            yield done


def confirm(state: Any, *extra: rx.Component) -> rx.Component:
    """The dialog of a page's ConfirmState; `extra` stands below the effects."""
    unsaid = (state.confirm_name != "") & (
        (state.confirm_typed != state.confirm_name) | (state.confirm_reason.strip() == "")
    )
    waits = state.confirm_problem.code == APPROVAL_REQUIRED
    return rx.alert_dialog.root(
        rx.alert_dialog.content(
            rx.alert_dialog.title(state.confirm_title),
            rx.alert_dialog.description(state.confirm_lead),
            rx.el.ul(rx.foreach(state.confirm_effects, rx.el.li), class_name="sc-effects"),
            *extra,
            rx.cond(state.confirm_name != "", _typing(state), rx.fragment()),
            refused(state.confirm_problem, state.confirm_go),
            rx.cond(waits, _waiting(state), _buttons(state, unsaid)),
            class_name="sc-dialog",
        ),
        open=state.confirm_open,
        on_open_change=state.confirm_toggle,
    )


def _buttons(state: Any, unsaid: Any) -> rx.Component:
    return rx.el.div(
        button("Cancel", on_click=state.confirm_toggle(False)),
        rx.cond(
            state.confirm_problem.code == SIGN_IN_AGAIN,
            rx.fragment(),  # its own button stands beside the password
            button(
                state.confirm_label,
                look="danger",
                on_click=state.confirm_go,
                busy=state.confirm_busy,
                disabled=unsaid,
            ),
        ),
        class_name="sc-actions",
    )


def _waiting(state: Any) -> rx.Component:
    return rx.el.div(
        button("Close", look="primary", on_click=state.confirm_toggle(False)), class_name="sc-actions"
    )


def _typing(state: Any) -> rx.Component:
    return rx.el.div(
        rx.el.div(
            rx.el.label("Type ", rx.el.strong(state.confirm_name, class_name="sc-mono"), " to confirm", html_for="confirm-name"),
            typed(
                id="confirm-name", class_name="sc-input sc-mono", value=state.confirm_typed, on_change=state.confirm_type,
                auto_complete="off", spell_check=False,
            ),
            class_name="sc-field",
        ),
        rx.el.div(
            rx.el.label("Reason", html_for="confirm-reason"),
            typed(
                id="confirm-reason", class_name="sc-input", value=state.confirm_reason, on_change=state.confirm_give_reason,
                auto_complete="off",
            ),
            rx.el.p("Kept in the audit log.", class_name="sc-hint"),
            class_name="sc-field",
        ),
        class_name="sc-form",
    )  # fmt: skip
