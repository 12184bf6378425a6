"""The `storage-console` command: the core's commands, and `up`, `web` and `desktop` beside them."""

import asyncio
import os
import signal
import socket
import sys
import urllib.request
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from storage_console import desktop as windows
from storage_console.supervisor import GaveUp, die_with_parent, supervise

if TYPE_CHECKING:
    from storage_core.settings import Settings

HERE = Path(__file__).resolve().parent
Ready = Callable[[str], Awaitable[bool]]  # called with the address; says whether that was all

host_option = click.option("--host", help="Address to listen on, instead of STORAGE_HOST.")
port_option = click.option("--port", type=click.IntRange(1, 65535), help="Port, instead of STORAGE_PORT.")


def main() -> None:
    """Entry point of `storage-console`."""
    supervised = die_with_parent()
    from storage_core.cli import build

    group = build()
    for command in (up, web, desktop):
        group.add_command(command)
    group(prog_name="storage-console", obj=supervised)


@click.command()
@host_option
@port_option
def up(host: str | None, port: int | None) -> None:
    """Start the console: web and worker together, until Ctrl-C."""
    settings = _settings(host, port)

    async def announce(address: str) -> bool:
        from storage_core.bootstrap import setup_link

        click.echo(f"Storage Console is at {address}")
        if link := await setup_link(settings):
            click.echo(f"First start: create the administrator at {link}")
        return False

    _supervise(settings, announce)


@click.command()
@host_option
@port_option
@click.pass_obj
def web(supervised: bool | None, host: str | None, port: int | None) -> None:
    """Serve pages, REST API and administration, without a worker."""
    settings = _settings(host, port)
    _claim(settings.host, settings.port)
    if not supervised:  # who supervises us has looked already
        _say_errors(lambda: _usable(settings))
    import uvicorn

    from storage_core.domain.sizes import MAX_FRAME, MAX_HEADERS
    from storage_core.telemetry import configure

    configure(settings.log_level, settings.home / "logs" / "web.log", settings.diagnostics)
    uvicorn.run(
        build_asgi(settings.home),
        host=settings.host,
        port=settings.port,
        log_config=None,  # telemetry has the say
        log_level="warning",
        access_log=False,
        server_header=False,
        ws_max_size=MAX_FRAME,
        h11_max_incomplete_event_size=2 * MAX_HEADERS,  # what is larger is not even kept to be refused
        proxy_headers=False,  # the app decides by STORAGE_TRUSTED_PROXIES
        timeout_graceful_shutdown=5,  # seconds; event streams never end by themselves
    )


@click.command()
def desktop() -> None:
    """Start the console in a window of its own, until the window closes."""
    if not windows.has_display():
        raise click.ClickException("There is no display here: use `storage-console up` and a browser.")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        settings = _settings("127.0.0.1", probe.getsockname()[1])

    async def show(address: str) -> bool:
        from storage_core.bootstrap import setup_link

        await windows.show(await setup_link(settings) or address, settings.home / "desktop")
        return True

    _supervise(settings, show)


def build_asgi(home: Path) -> Any:
    """Returns the whole console as one ASGI application, served from the frontend built into the package."""
    frontend = HERE / "_frontend"
    if not (frontend / "build" / "client").is_dir():
        raise click.ClickException("The pages are not built yet: run `python scripts/build_frontend.py`.")
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    run = home.resolve() / "run"
    run.mkdir(exist_ok=True)
    # Reflex looks for its configuration in the working directory and nowhere else, on import
    (run / "rxconfig.py").write_text("from storage_console._rxconfig import config\n", "utf-8")
    os.chdir(run)
    os.environ.update(
        {
            "REFLEX_ENV_MODE": "prod",
            "REFLEX_WEB_WORKDIR": str(frontend),
            "__REFLEX_SKIP_COMPILE": "true",
            "__REFLEX_MOUNT_FRONTEND_COMPILED_APP": "true",
            "REFLEX_TELEMETRY_ENABLED": "false",
            "REFLEX_CHECK_LATEST_VERSION": "false",
            "REFLEX_DIR": str(run / "reflex"),
            "REFLEX_STATES_WORKDIR": str(run / "states"),
            "REFLEX_UPLOADED_FILES_DIR": str(run / "uploads"),
        }
    )
    from storage_console.storage_console import app

    return app()


def _settings(host: str | None, port: int | None) -> "Settings":
    # through the environment, so that the children read the same
    if host:
        os.environ["STORAGE_HOST"] = host
    if port:
        os.environ["STORAGE_PORT"] = str(port)
    from storage_core.settings import Settings, SettingsError

    try:
        return Settings.load()
    except SettingsError as error:
        raise click.ClickException(str(error)) from error


def _claim(host: str, port: int) -> None:
    """Fails with one clear line when the address cannot be had."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, proto) as probe:
            probe.setsockopt(
                socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
            )  # lingering connections are no obstacle
            probe.bind(address)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise click.ClickException(
            f"Cannot listen on {host} port {port}: {reason}. Choose another with --port."
        ) from error


def _supervise(settings: "Settings", ready: Ready) -> None:
    from filelock import FileLock, Timeout

    from storage_core.settings import prepare_home

    _claim(settings.host, settings.port)
    prepare_home(settings)
    home = FileLock(settings.home / "console.lock", mode=0o600)
    try:
        home.acquire(timeout=0)
    except Timeout:
        raise click.ClickException(f"A console runs on {settings.home} already. Stop it first.") from None
    _say_errors(lambda: _run(settings, ready))


def _say_errors(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run, and say what is wrong in one line."""
    from storage_core.domain.errors import StorageError

    try:
        asyncio.run(work())
    except GaveUp as error:
        raise click.ClickException(f"{error}.") from error
    except StorageError as error:
        raise click.ClickException(f"{error.detail} {error.hint}".strip()) from error
    except KeyboardInterrupt:
        sys.exit(130)


async def _usable(settings: "Settings") -> None:
    """A wrong key or an unusable catalog is said once, here, not by children again and again."""
    from storage_core.bootstrap import migrate, open_core

    await migrate(settings)
    async with open_core(settings):
        pass


async def _run(settings: "Settings", ready: Ready) -> None:
    await _usable(settings)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def finish(number: signal.Signals) -> None:
        stop.set()
        loop.remove_signal_handler(number)  # a second Ctrl-C does not wait

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, finish, number)
    # -P: nothing is imported from the folder we happen to be in
    commands = {name: [sys.executable, "-P", "-m", "storage_console.cli", name] for name in ("web", "worker")}
    greeting = asyncio.create_task(_greet(_address(settings), ready, stop))
    try:
        await supervise(commands, stop, dict(os.environ))
    finally:
        failed = not greeting.cancel()
    if failed:
        greeting.result()


def _address(settings: "Settings") -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - compared, not bound
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


async def _greet(address: str, ready: Ready, stop: asyncio.Event) -> None:
    while not await asyncio.to_thread(_answers, f"{address}/health/live"):  # noqa: ASYNC110 - another process
        await asyncio.sleep(0.2)
    finished = True
    try:
        finished = await ready(address)
    finally:
        if finished:
            stop.set()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - our own address
            return bool(answer.status == 200)
    except OSError:  # not listening yet, or an HTTP error
        return False


if __name__ == "__main__":
    main()
