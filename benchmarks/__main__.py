"""Run benchmarks: ``python -m benchmarks [--size MB] [NAME…]``, all by default; a table, and results.json."""

import asyncio
import json
import os
import platform
import sys
import time
import traceback
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
Result = dict[str, float | str]


def names() -> list[str]:
    return sorted(path.stem for path in HERE.glob("*.py") if not path.stem.startswith("_"))


def measured(name: str, size: int) -> Result:
    """One benchmark's figures and how long it took; an error is its result, so that the others still run."""
    began = time.perf_counter()
    try:
        result: Result = asyncio.run(import_module(f"benchmarks.{name}").run(size))
    except Exception as error:  # noqa: BLE001 - whatever a benchmark raises, the next one runs
        traceback.print_exc()
        result = {"error": f"{type(error).__name__}: {error}"}
    return result | {"seconds": time.perf_counter() - began}


def shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(results: dict[str, Result]) -> Table:
    drawn = Table("benchmark", "figure")
    drawn.add_column("value", justify="right")
    for name, result in results.items():
        for figure, value in result.items():
            drawn.add_row(name, figure, shown(value))
        drawn.add_section()
    return drawn


@click.command()
@click.argument("chosen", metavar="[NAME]...", nargs=-1, type=click.Choice(names()))
@click.option("--size", default=200, show_default=True, help="Megabytes of data for each benchmark.")
def main(chosen: tuple[str, ...], size: int) -> None:
    """Run the benchmarks named, or all of them."""
    results = {name: measured(name, size) for name in chosen or names()}
    machine = {"python": platform.python_version(), "cpus": os.cpu_count(), "machine": platform.machine()}
    report = {"at": datetime.now(UTC).isoformat(), "size_mb": size, **machine, "results": results}
    (HERE / "results.json").write_text(json.dumps(report, indent=2) + "\n")
    # wide enough not to fold a figure's name where there is no terminal
    Console(width=None if sys.stdout.isatty() else 120).print(table(results))
    if failed := [name for name, result in results.items() if "error" in result]:
        raise click.ClickException(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
