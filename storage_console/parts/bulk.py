"""Acts on many rows: done one by one, reported row by row, with what was not eligible and why.

    class Backups(ListState, rx.State):
        _acts: ClassVar[dict[str, str]] = {"verify": "Prove backups"}      # verb: the report's title

        @staticmethod
        async def _act(ctx: Context, verb: str, id: str) -> str:           # for one row; raises StorageError
            await core().backups.verify(ctx, VerifyBackup(id=id))
            return "Proof started"

    bulk=[gated("backup.run", button("Prove again", icon="shield-check", on_click=S.bulk("verify")))]
Every ListState has it, every table shows the report. An act goes on when the report is closed, and stops when the session ends. The operation authorises each row again.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import reflex as rx

from storage_console.parts.feedback import button, progress
from storage_console.session import Context, Permission, asking, attempt, is_open, requires, toast

SHOWN = 500  # lines of the report that are displayed; the counts are of all
STEP = 10  # rows between two displays of the progress


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one row."""

    id: str
    name: str
    done: bool
    said: str


class BulkState(rx.State, mixin=True):
    """The bulk act that runs or ran last."""

    bulk_open: bool = False
    bulk_busy: bool = False
    bulk_title: str = ""
    bulk_count: int = 0
    bulk_done: int = 0
    bulk_refused: int = 0
    bulk_percent: int = 0
    bulk_lines: list[Outcome] = []
    bulk_more: int = 0
    _bulk_stop: bool = False

    _acts: ClassVar[dict[str, str]] = {}

    @staticmethod
    async def _act(ctx: Context, verb: str, id: str) -> str:
        """Does it to one row and says what happened; raises StorageError for one that is not eligible."""
        return ""

    async def _wanted(self) -> list[tuple[str, str]]:
        """Ids and names of the selected rows; the list knows them."""
        return []

    async def _acted(self) -> None:
        """Called once when all is done; the list reads its rows again."""

    @rx.event(background=True)
    @requires(Permission.SIGNED_IN)
    async def bulk(self, verb: str):
        """Does an act to every selected row and reports each."""
        async with self:
            if self.bulk_busy or verb not in self._acts:
                return
            self._begin(self._acts[verb])
            wanted, failed = await attempt(self._wanted())
            if wanted is None:
                self.bulk_busy = self.bulk_open = False
        if wanted is None:
            yield toast("error", failed.title, description=f"{failed.detail} {failed.hint}".strip())
            return
        outcomes: list[Outcome] = []
        for position, (id, name) in enumerate(wanted):
            async with self:
                self._show_outcomes(outcomes, len(wanted), every=STEP)
                if self._bulk_stop or not is_open():
                    break
                ctx, over = await attempt(asking(self))
            if ctx is None:
                outcomes += [Outcome(i, n, False, over.detail) for i, n in wanted[position:]]
                break
            said, refused = await attempt(self._act(ctx, verb, id))
            outcomes.append(
                Outcome(id, name, not refused.code, said or f"{refused.detail} {refused.hint}".strip())
            )
        async with self:
            self.bulk_busy = False
            self._show_outcomes(outcomes, len(wanted))
            await self._acted()
            closed = not self.bulk_open
        if closed:
            kind = "warning" if self.bulk_refused else "success"
            yield toast(kind, f"{self.bulk_title}: {self.bulk_done} of {len(wanted)} done")

    def _begin(self, title: str) -> None:
        self.bulk_title, self.bulk_busy, self.bulk_open, self._bulk_stop = title, True, True, False
        self.bulk_count = self.bulk_done = self.bulk_refused = self.bulk_percent = self.bulk_more = 0
        self.bulk_lines = []

    def _show_outcomes(self, outcomes: list[Outcome], count: int, every: int = 1) -> None:
        self.bulk_count = count
        if len(outcomes) % every:
            return
        self.bulk_done = sum(o.done for o in outcomes)
        self.bulk_refused = len(outcomes) - self.bulk_done
        self.bulk_percent = 100 * len(outcomes) // count if count else 100
        # What was not eligible comes first: it is what one has to look at.
        ordered = sorted(outcomes, key=lambda o: o.done)
        self.bulk_lines, self.bulk_more = ordered[:SHOWN], max(0, len(ordered) - SHOWN)

    @rx.event
    @requires(Permission.SIGNED_IN)
    def bulk_toggle(self, shown: bool):
        """Closes the report; the work goes on."""
        self.bulk_open = shown is True and self.bulk_open

    @rx.event
    @requires(Permission.SIGNED_IN)
    def bulk_halt(self):
        """Stops before the next row."""
        self._bulk_stop = True


def report(state: Any) -> rx.Component:
    """The dialog that shows a bulk act, row by row."""
    stop = rx.cond(state.bulk_busy, button("Stop", on_click=state.bulk_halt), rx.fragment())
    return rx.dialog.root(
        rx.dialog.content(
            rx.dialog.title(state.bulk_title),
            rx.dialog.description(
                rx.el.span(
                    state.bulk_done,
                    " of ",
                    state.bulk_count,
                    " done",
                    rx.cond(
                        state.bulk_refused > 0, rx.el.strong(", ", state.bulk_refused, " not eligible"), ""
                    ),
                ),
                aria_live="polite",
            ),
            rx.cond(state.bulk_busy, progress("Row by row", state.bulk_percent), rx.fragment()),
            rx.el.ul(
                rx.foreach(state.bulk_lines, _line),
                class_name="sc-found sc-report",
                tab_index=0,
                aria_label="Report",
            ),
            rx.cond(
                state.bulk_more > 0,
                rx.el.p("And ", state.bulk_more, " more that were done.", class_name="sc-hint"),
                rx.fragment(),
            ),
            rx.el.div(
                stop,
                button("Close", look="primary", on_click=state.bulk_toggle(False)),
                class_name="sc-actions",
            ),
            class_name="sc-dialog sc-dialog-wide",
        ),
        open=state.bulk_open,
        on_open_change=state.bulk_toggle,
    )


def _line(outcome: Any) -> rx.Component:
    return rx.el.li(
        rx.cond(
            outcome.done,
            rx.icon("circle-check", size=15, aria_label="Done"),
            rx.icon("circle-x", size=15, aria_label="Not eligible"),
        ),
        rx.el.span(outcome.name, class_name="sc-mono sc-report-name"),
        rx.el.span(outcome.said, class_name="sc-grow sc-faint"),
        data_tone=rx.cond(outcome.done, "ok", "bad"),
    )
