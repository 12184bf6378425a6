"""The command tree: derived commands, and the hand-written ones.

Nothing is imported before it is needed: `--help` knows the nouns, a noun's commands know the requests, and only a
command that runs opens a core.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import click

from ..domain.errors import ConfirmationRequired, InvalidRequest, StorageError
from . import output

if TYPE_CHECKING:
    from ..services.operation import Operation

NOUNS = {
    "approvals": "What waits for a second person.",
    "audit": "The audit log.",
    "backups": "Backups, proven by restores.",
    "collections": "Collections of documents in databases.",
    "databases": "Databases of tenants.",
    "engines": "Private local servers.",
    "filters": "Saved filters of the console's lists.",
    "grants": "Who holds which role in which scope.",
    "jobs": "Long work.",
    "notifications": "Whom the console tells what happened.",
    "preferences": "How you want the console.",
    "providers": "Registered engines.",
    "records": "Documents and rows of databases.",
    "secrets": "Keys, passwords and who sealed them.",
    "sessions": "Browser sign-ins.",
    "settings": "What the console was started with, and options.",
    "tenants": "Tenants.",
    "tokens": "API tokens.",
    "users": "Users.",
}

REFUSED, BAD_USAGE = 1, 2


class Noun(click.Group):
    """One noun's commands, made from its operations when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        self._build()
        return super().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        self._build()
        return super().get_command(ctx, cmd_name)

    def _build(self) -> None:
        if self.commands:
            return
        from ..services.declared import OPERATIONS

        mine = {op.verb: op for op in OPERATIONS if op.noun == self.name}
        made = _engine_commands(mine) if self.name == "engines" else map(_command, mine.values())
        for command in made:
            self.add_command(command)


def build() -> click.Group:
    """The whole tree of commands of the core."""
    root = click.Group("storage-console", help="Run multi-tenant storage: back up, prove, restore.")
    for noun, text in NOUNS.items():
        root.add_command(Noun(noun, help=text))
    root.add_command(click.Command("openapi", callback=_openapi, help="Print the OpenAPI document."))
    root.add_command(_migrate_command())
    root.add_command(_unlock_command())
    root.add_command(click.Command("worker", callback=_worker, help="Execute jobs until stopped."))
    return root


def guarded(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run a command's coroutine; a refusal becomes its message and hint on stderr, and exit status 1 or 2."""
    from ..settings import SettingsError

    try:
        return asyncio.run(work())
    except StorageError as error:
        output.fail(error)
        wrong = isinstance(error, InvalidRequest) and not isinstance(error, ConfirmationRequired)
        raise SystemExit(BAD_USAGE if wrong else REFUSED) from None
    except SettingsError as error:
        click.echo(str(error), err=True)
        raise SystemExit(REFUSED) from None
    except KeyboardInterrupt:
        click.echo("Stopped.", err=True)
        raise SystemExit(REFUSED) from None


def _command(op: "Operation") -> click.Command:
    if op.stream:
        return _saving(op)
    from ..domain.job import Ticket
    from ..domain.provider import CheckStep, StepStatus
    from ..wire import immediate
    from . import params

    tested = immediate(op) == tuple[CheckStep, ...]

    def callback(as_json: bool, wait: bool = False, **values: Any) -> None:
        from .run import run

        async def work() -> Any:
            return await run(op, params.read(op.request, values), wait=wait, quiet=as_json)

        answer = guarded(work)
        output.show(answer, as_json=as_json)
        failed = tested and any(step["status"] == StepStatus.FAILED for step in answer)
        if failed or (isinstance(answer, dict) and not _holds(answer)):
            raise SystemExit(REFUSED)

    flags = [_json_flag()]
    if immediate(op) is Ticket:
        flags.append(click.Option(["--wait"], is_flag=True, help="Follow the job to its end."))
    return click.Command(
        op.verb, params=[*params.options(op.request), *flags], callback=callback, help=op.summary
    )


def _holds(answer: dict[str, Any]) -> bool:
    """Whether an answer says so itself. Entries that fit together are no success when what guards their end is gone."""
    if answer.get("ok") is True and answer.get("lost") is True:
        click.echo(
            f"What is there fits together; that nothing was cut is not proven. {answer['problem']}", err=True
        )
        return False
    return answer.get("ok") is not False


def _saving(op: "Operation") -> click.Command:
    """A command whose answer is a file."""
    from . import params

    def callback(as_json: bool, output_path: str, **values: Any) -> None:
        from .run import save

        async def work() -> Any:
            return await save(op, params.read(op.request, values), output_path)

        saved = guarded(work)
        if output_path != "-":
            output.show(saved, as_json=as_json)

    text = "Where to write the file; - for standard output."
    flags = [
        click.Option(["--output", "output_path"], required=True, metavar="FILE", help=text),
        _json_flag(),
    ]
    return click.Command(
        op.verb, params=[*params.options(op.request), *flags], callback=callback, help=op.summary
    )


def _json_flag() -> click.Option:
    return click.Option(["--json", "as_json"], is_flag=True, help="Print the answer as REST returns it.")


def _engine_commands(mine: "dict[str, Operation]") -> list[click.Command]:
    """`engines start postgresql`: kind or name is an argument; the local user also gets each server's address."""
    from . import engines

    name = click.Option(["--name"], help="The server's name; several of a kind run side by side.")
    kind = click.Argument(["kind"], type=click.Choice(["postgresql", "mongodb"]))
    which = click.Argument(["which"], metavar="NAME|KIND")

    def command(
        verb: str, work: Callable[..., Coroutine[Any, Any, Any]], *parameters: click.Parameter
    ) -> click.Command:
        def callback(as_json: bool, **values: Any) -> None:
            output.show(guarded(lambda: work(**values)), as_json=as_json)

        return click.Command(
            verb, params=[*parameters, _json_flag()], callback=callback, help=mine[verb].summary
        )

    return [
        command("start", engines.start, kind, name),
        command("stop", engines.stop, which),
        command("list", engines.list_all),
    ]


def _openapi() -> None:
    from ..api import create_app
    from ..services.declared import OPERATIONS

    def closed() -> Any:
        raise RuntimeError("no core is open while the document is printed")

    json.dump(create_app(closed, OPERATIONS).openapi(), sys.stdout, indent=2)
    click.echo()


def _migrate_command() -> click.Command:
    from . import migrate

    def callback(as_json: bool, **choice: Any) -> None:
        report = guarded(lambda: migrate.run(**choice))
        migrate.shown(report, as_json=as_json)
        if not report.ok:
            raise SystemExit(REFUSED)

    return click.Command(
        "migrate",
        callback=callback,
        params=[*migrate.parameters(), _json_flag()],
        help="Bring every tenant's tables to a revision of an application's own migrations.",
    )


def _unlock_command() -> click.Command:
    def callback(recovery: str, passphrase: str) -> None:
        from . import params

        text, word = params.given(recovery), params.given(passphrase)
        click.echo(guarded(lambda: _unlock(text, word)))

    return click.Command(
        "unlock",
        callback=callback,
        params=[
            click.Option(["--recovery"], required=True, help="The recovery key; @FILE reads it."),
            click.Option(["--passphrase"], required=True, help="Its passphrase; @FILE or @- reads it."),
        ],
        help="Put the master key of a recovery key in place, where the home has none or a wrong one.",
    )


async def _unlock(recovery: str, passphrase: str) -> str:
    from ..bootstrap import migrate, unlock
    from ..settings import Settings

    settings = Settings.load()
    await migrate(settings)
    return f"{await unlock(settings, recovery, passphrase)} holds the master key now."


def _worker() -> None:
    from ..settings import Settings
    from ..telemetry import configure
    from ..worker import serve

    async def work() -> None:
        settings = Settings.load()
        configure(settings.log_level, settings.home / "logs" / "worker.log", settings.diagnostics)
        await serve(settings)

    guarded(work)
