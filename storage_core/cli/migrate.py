"""`migrate`: every tenant's tables to one Alembic revision, from where the application's revisions lie."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..domain.errors import Conflict
from . import output

if TYPE_CHECKING:
    from ..domain.migration import MigrationReport, TenantMigration


def parameters() -> list[click.Parameter]:
    return [
        click.Option(
            ["--scripts"],
            required=True,
            type=click.Path(path_type=Path),
            help="The directory that holds `versions`, or an alembic.ini; its env.py is not used.",
        ),
        click.Option(["--name"], help="The database of each tenant; its default one, if left out."),
        click.Option(["--tenant", "tenants"], multiple=True, help="This tenant alone; may be repeated."),
        click.Option(["--revision"], default="head", show_default=True, help="Where to go."),
        click.Option(
            ["--concurrency"],
            type=click.IntRange(1, 64),
            default=8,
            show_default=True,
            help="Databases at once.",
        ),
        click.Option(
            ["--stamp"],
            is_flag=True,
            help="Only note the revision: what it makes is there already.",
        ),
    ]


async def run(scripts: Path, stamp: bool = False, **choice: Any) -> "MigrationReport":
    """Migrate on this machine's home; each database is told of on standard error when it is done."""
    from ..storage import StorageFactory

    if os.environ.get("STORAGE_URL"):
        raise Conflict(
            "migrate runs an application's own revisions, and those are here, not on the server.",
            hint="Run it where the console's home is, without STORAGE_URL.",
        )
    async with StorageFactory.open() as factory:
        return await (factory.stamp if stamp else factory.migrate)(scripts, heard=_told, **choice)


def shown(report: "MigrationReport", *, as_json: bool) -> None:
    items = [asdict(item) for item in report.items]
    if as_json:
        output.show({"target": report.target, "ok": report.ok, "items": items}, as_json=True)
        return
    rows = [
        {
            "tenant": item["tenant"],
            "database": item["database"],
            "namespace": item["namespace"],
            "status": item["outcome"],
            "from": item["before"],
            "to": item["after"],
            "seconds": item["seconds"],
        }
        for item in items
    ]
    output.show({"items": rows, "next": None, "total": len(rows)}, as_json=False)


def _told(item: "TenantMigration") -> None:
    where = "/".join(part for part in (item.tenant, item.namespace, item.database) if part)
    step = f" {item.before or 'nothing'} to {item.after}" if item.before != item.after else ""
    why = f": {item.error} {item.hint or ''}".rstrip() if item.error else ""
    click.echo(output.plain(f"{where} {item.outcome}{step}{why}"), err=True)
