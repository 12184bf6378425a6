"""Four small things only a browser can do: tick, listen for keys, keep the address, hold what scrolled.

ago(row.created)                                  # "3 min ago", exact local time on hover, ticking
keys("j k x Enter", State.key)                    # ignored while typing; State.key(name: str)
keys("ArrowDown Enter", Palette.key, within="[data-palette]")
address(State.address)                            # history.replaceState, when it changes
follow(State.cursor, "[data-cursor='true']")      # scrolls it into view, when it changes
"""

import json
from typing import Any

import reflex as rx
from reflex_base.event import EventHandler
from reflex_base.utils.imports import ImportDict
from reflex_components_core.base.fragment import Fragment

AGO = """
function ScAgo({at, empty, prefix}) {
  const [now, tick] = useState(0);
  useEffect(() => {
    tick(Date.now());
    const near = at && Math.abs(Date.now() / 1000 - at) < 90;
    const timer = setInterval(() => tick(Date.now()), near ? 1000 : 15000);
    return () => clearInterval(timer);
  }, [at]);
  if (!at) { return jsx("span", {className: "sc-faint"}, empty ?? "—"); }
  const s = Math.round((now || at * 1000) / 1000 - at), past = s >= 0, n = Math.abs(s);
  const text = n < 2 ? "now" : n < 60 ? n + " s" : n < 3600 ? Math.floor(n / 60) + " min"
    : n < 172800 ? Math.floor(n / 3600) + " h" : Math.floor(n / 86400) + " d";
  const exact = new Date(at * 1000);
  return jsx("time", {dateTime: exact.toISOString(), className: "sc-num sc-time",
    title: now ? exact.toLocaleString(undefined, {dateStyle: "full", timeStyle: "long"}) : undefined},
    (prefix ?? "") + (text === "now" ? "now" : past ? text + " ago" : "in " + text));
}
"""


class Ago(rx.Component):
    """A point in time relative to now; `at` in seconds since 1970, 0 shows `empty`."""

    tag = "ScAgo"
    at: rx.Var[float]
    empty: rx.Var[str]
    prefix: rx.Var[str]

    def add_imports(self) -> ImportDict | list[ImportDict]:
        """What the code below uses."""
        return {"react": ["useState", "useEffect"], "@emotion/react": ["jsx"]}

    def add_custom_code(self) -> list[str]:
        """The component itself."""
        return [AGO]


ago = Ago.create


def _key_spec(name: rx.Var[str]) -> tuple[rx.Var[str]]:
    return (name,)


class _Hook(Fragment):
    """A fragment that only runs a hook."""

    def _exclude_props(self) -> list[str]:
        return [*super()._exclude_props(), *self.event_triggers.keys(), "value", "on_press", "onPress"]

    def add_imports(self) -> ImportDict | list[ImportDict]:
        """What the hook uses."""
        return {"react": ["useEffect", "useRef"]}


class Keys(_Hook):
    """Calls `on_press` with the name of one of the wanted keys; `mod+k` is Ctrl or Cmd with k."""

    wanted: list[str] = []
    within: str = ""
    on_press: EventHandler[_key_spec]  # pyrefly: ignore[bad-index] - how Reflex declares the arguments

    def _exclude_props(self) -> list[str]:
        return [*super()._exclude_props(), "wanted", "within"]

    def add_hooks(self) -> list[str | rx.Var[Any]]:
        """Listens on the window."""
        handler = rx.Var.create(self.event_triggers["on_press"])
        hook = f"""
useEffect(() => {{
  const wanted = {json.dumps(self.wanted)}, within = {json.dumps(self.within)}, press = {handler};
  const fn = (e) => {{
    const t = e.target instanceof Element ? e.target : document.body;
    const name = (e.ctrlKey || e.metaKey) && !e.altKey ? "mod+" + e.key.toLowerCase() : e.key;
    if (e.isComposing || !wanted.includes(name)) return;
    if (within) {{ if (!t.closest(within)) return; }}
    else if (!name.startsWith("mod+")) {{
      if (e.altKey || t.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(t.tagName)) return;
      if (name === "Enter" && t.closest("a,button,summary,[role=button],[role=menuitem]")) return;
      if (document.querySelector("[role=dialog],[role=alertdialog],[role=menu]")) return;
    }}
    e.preventDefault();
    if (within && name === "Enter") {{ document.querySelector("[data-active='true']")?.click(); return; }}
    if (name === "/") {{ document.querySelector("[data-filter]")?.focus(); return; }}
    press(name);
  }};
  window.addEventListener("keydown", fn);
  return () => window.removeEventListener("keydown", fn);
}}, []);
"""
        return [rx.Var(hook)]


def keys(wanted: str, on_press: Any, within: str = "") -> rx.Component:
    """Listens for the keys named in `wanted`, separated by blanks."""
    return Keys.create(wanted=wanted.split(), within=within, on_press=on_press)


class Address(_Hook):
    """Shows `value` as the page's address without loading anything; not on the first display."""

    value: rx.Var[str]

    def add_hooks(self) -> list[str | rx.Var[Any]]:
        """Follows the var."""
        hook = f"""
const scAddress = useRef(null);
useEffect(() => {{
  const next = {self.value!s};
  const before = scAddress.current; scAddress.current = next;
  if (before === null || !next || next === before) return;
  if (next.split("?")[0] === window.location.pathname.replace(/(.)\\/$/, "$1"))
    window.history.replaceState(window.history.state, "", next);
}}, [{self.value!s}]);
"""
        return [rx.Var(hook, _var_data=rx.Var.create(self.value)._get_all_var_data())]


def address(value: Any) -> rx.Component:
    """Keeps the browser's address equal to the var."""
    return Address.create(value=value)


class Follow(_Hook):
    """Scrolls what the selector finds into view whenever `value` changes."""

    value: rx.Var[int]
    selector: str = ""

    def _exclude_props(self) -> list[str]:
        return [*super()._exclude_props(), "selector"]

    def add_hooks(self) -> list[str | rx.Var[Any]]:
        """Follows the var."""
        hook = f"""
useEffect(() => {{
  if ({self.value!s} >= 0) document.querySelector({json.dumps(self.selector)})?.scrollIntoView({{block: "nearest"}});
}}, [{self.value!s}]);
"""
        return [rx.Var(hook, _var_data=rx.Var.create(self.value)._get_all_var_data())]


def follow(value: Any, selector: str) -> rx.Component:
    """Keeps the found element in view."""
    return Follow.create(value=value, selector=selector)


class Same(_Hook):
    """Two inputs that must hold the same text before their form can be sent."""

    one: str = ""
    other: str = ""
    message: str = ""

    def _exclude_props(self) -> list[str]:
        return [*super()._exclude_props(), "one", "other", "message"]

    def add_hooks(self) -> list[str | rx.Var[Any]]:
        """Listens for input."""
        hook = f"""
useEffect(() => {{
  const check = () => {{
    const a = document.querySelector({json.dumps(self.one)}), b = document.querySelector({json.dumps(self.other)});
    if (a && b) b.setCustomValidity(b.value && a.value !== b.value ? {json.dumps(self.message)} : "");
  }};
  document.addEventListener("input", check);
  return () => document.removeEventListener("input", check);
}}, []);
"""
        return [rx.Var(hook)]


def same(one: str, other: str, message: str) -> rx.Component:
    """Lets the browser refuse a form whose two inputs (selectors) differ; nothing leaves the page."""
    return Same.create(one=one, other=other, message=message)
