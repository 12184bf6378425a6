"""Every handler of the console says who may call it, and every page has its place in the menu."""

import inspect
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from reflex_base.registry import RegistrationContext

from storage_console import storage_console as app_module
from storage_console.session import MARK, PUBLIC, Permission, redacted
from storage_console.shell.navigation import MENU, MORE

CONSOLE = Path(app_module.__file__).parent
#: Outside the menu: for people who are not signed in yet, and for addresses that lead nowhere.
DOORS = {"/login", "/setup", "404"}
#: What a stranger may call: only what draws those two pages.
STRANGERS = {"login.load", "setup.load"}


def handlers() -> dict[str, Any]:
    """The handlers of the console's own states, by their full names."""
    return {
        name: registered
        for name, registered in RegistrationContext.get().event_handlers.items()
        if registered.states and registered.states[0].__module__.startswith("storage_console.")
    }


def unmarked(found: dict[str, Any]) -> list[str]:
    """Those that do not say who may call them."""
    known = {PUBLIC, *Permission}
    return [
        name
        for name, registered in found.items()
        if not name.endswith(".setvar") and getattr(registered.handler.fn, MARK, None) not in known
    ]


def pages() -> list[tuple[Callable[[], Any], dict[str, Any]]]:
    return RegistrationContext.get().decorated_pages


def routes() -> list[str]:
    return [str(given["route"]) for _, given in pages()]


def test_every_handler_says_who_may_call_it() -> None:
    assert len(handlers()) > 100
    assert unmarked(handlers()) == []


def test_a_handler_without_a_mark_would_be_found() -> None:
    def public_by_accident(self: object) -> None: ...

    careless = SimpleNamespace(handler=SimpleNamespace(fn=public_by_accident))
    assert unmarked({"careless.public_by_accident": careless}) == ["careless.public_by_accident"]


def test_no_handler_of_ours_passes_for_one_of_reflex() -> None:
    # Reflex moves a state that a function defines into a module of its own, and its own states pass the gate
    strays = [
        name
        for name, registered in RegistrationContext.get().event_handlers.items()
        if registered.handler.fn.__module__.startswith("storage_console.") and name not in handlers()
    ]
    assert strays == []


def test_strangers_may_only_call_what_draws_the_two_doors() -> None:
    public = {n for n, r in handlers().items() if getattr(r.handler.fn, MARK, None) == PUBLIC}
    assert {n.rpartition("____")[2] for n in public} == STRANGERS


@pytest.mark.parametrize("name", ["login", "setup"])
def test_doors_exist(name: str) -> None:
    assert f"/{name}" in routes()


def test_every_page_of_every_folder_is_registered() -> None:
    written = {
        p.relative_to(CONSOLE).with_suffix("").as_posix().replace("/", ".")
        for p in CONSOLE.glob("*/*page.py")
    }
    registered = {
        Path(inspect.getfile(draw)).relative_to(CONSOLE).with_suffix("").as_posix().replace("/", ".")
        for draw, _ in pages()
    }
    assert registered == written


def test_no_route_is_registered_twice() -> None:
    assert [route for route, times in Counter(routes()).items() if times > 1] == []


def test_every_page_module_has_exactly_one_route() -> None:
    modules = Counter(inspect.getfile(draw) for draw, _ in pages())
    assert {m: n for m, n in modules.items() if n != 1} == {}


def test_the_menu_and_the_pages_are_the_same_places() -> None:
    lists = {r for r in routes() if "[" not in r and r not in DOORS}
    assert Counter(entry.href for entry in (*MENU, *MORE)) == Counter(lists)


def test_a_page_about_one_thing_stands_below_a_page_of_the_menu() -> None:
    places = {entry.href for entry in MENU}
    assert [r for r in routes() if "[" in r and r.partition("/[")[0] not in places] == []


def test_every_page_has_a_title_of_its_own() -> None:
    titles = [str(given["title"]) for _, given in pages()]
    assert all(title.endswith(" · Storage Console") for title in titles)
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize(
    "text",
    [
        "Event(name='x', router_data={}, payload={'data': {'anything': 'S3CRET'}})",
        "Event(name='x', payload={'data': ['S3CRET', {'a': 1}]}) [txid=1]: Traceback",
        "unknown event {'name': 'x', 'payload': {'q': 'S3CRET'}, 'router_data': {'headers': {}}}",
        '{"name": "x", "payload": ["S3CRET"]}',
        "headers: {'cookie': 'sc_session=S3CRET; other=1'}",
    ],
)
def test_what_reflex_logs_of_an_event_is_blanked(text: str) -> None:
    clean = redacted(text)
    assert "S3CRET" not in clean
    assert "***" in clean
    assert redacted("a payload of words, and cookies") == "a payload of words, and cookies"
