"""Small inline drawings without a chart library.

sparkline(row.path)          # the state prepares it: row.path = spark_path([3, 5, 4, 8])
heartbeat(row.beats)         # list[Beat]: one bar per check, newest last; Beat("ok", "12:00 · 4 ms")
meter(S.used_percent, "of 10 GB used")
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import reflex as rx

WIDTH, HEIGHT = 96, 24


@dataclass(frozen=True, slots=True)
class Beat:
    """One check's outcome (ok, warn, bad or off) and what hovering says."""

    tone: str
    title: str


def spark_path(values: Sequence[float], width: int = WIDTH, height: int = HEIGHT) -> str:
    """The `d` of a line through the values, scaled to the box; empty below two values."""
    if len(values) < 2:
        return ""
    low, high = min(values), max(values)
    reach = (high - low) or 1.0
    step = width / (len(values) - 1)
    points = (
        f"{i * step:.1f},{height - 2 - (v - low) / reach * (height - 4):.1f}" for i, v in enumerate(values)
    )
    return "M" + " L".join(points)


def sparkline(path: Any, label: Any = "Trend") -> rx.Component:
    """A small line; `path` comes from `spark_path`."""
    return rx.el.svg(
        rx.el.path(d=path, fill="none", stroke="currentColor", stroke_width="1.5", stroke_linejoin="round"),
        view_box=f"0 0 {WIDTH} {HEIGHT}",
        width=str(WIDTH),
        height=str(HEIGHT),
        role="img",
        aria_label=label,
        class_name="sc-spark",
    )


def heartbeat(beats: Any, label: Any = "Recent checks") -> rx.Component:
    """A strip of bars, one per check."""

    def bar(beat: Any) -> rx.Component:
        return rx.el.i(data_tone=beat.tone, title=beat.title)

    return rx.el.div(
        rx.foreach(beats, bar),
        class_name="sc-beats",
        role="img",
        aria_label=label,
    )


def meter(percent: Any, label: Any) -> rx.Component:
    """A filled share with its words."""
    return rx.el.div(
        rx.el.div(
            rx.el.div(style={"width": f"{percent}%"}),
            class_name="sc-bar",
            role="progressbar",
            aria_valuenow=percent,
            aria_valuemin=0,
            aria_valuemax=100,
            aria_label=label,
        ),
        rx.el.span(label, class_name="sc-faint sc-num"),
        class_name="sc-progress",
    )
