"""A job's progress for people at a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..domain.job import Progress


@contextmanager
def bar(*, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """A bar on stderr that goes away at the end; says nothing when quiet."""
    if quiet:
        yield lambda _progress: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        TextColumn("{task.percentage:>5.1f} %"),
        TextColumn("{task.fields[size]}"),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("queued", total=100, size="")

        def show(progress: Progress) -> None:
            shown.update(
                task,
                description=progress.stage,
                completed=progress.percent or 0,
                size=size(progress.bytes_done),
            )

        yield show


def size(count: int) -> str:
    """Bytes as people read them: 1.5 MB; nothing for nothing.

    >>> size(1_500_000)
    '1.5 MB'
    """
    value, unit = float(count), "bytes"
    for bigger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, bigger
    return "" if not count else f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
