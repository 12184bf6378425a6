"""Small things only a browser can do: tick, listen for keys, keep the address, hold what scrolled, look as wanted.

ago(row.created)                                  # "3 min ago", exact local time on hover, ticking
keys("j k x Enter", State.key)                    # ignored while typing; State.key(name: str)
keys("ArrowDown Enter", Palette.key, within="[data-palette]")
address(State.address)                            # history.replaceState, when it changes
follow(State.cursor, "[data-cursor='true']")      # scrolls it into view, when it changes
appearance(Session.look)                          # theme, motion, time zone and language of dates
zones("zone-list")                                # a <datalist> of the time zones the browser knows
renew(State.go)                                   # asks for the password again, past every state, then calls on
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
    const again = () => tick(Date.now());
    window.addEventListener("sc-dates", again);
    return () => { clearInterval(timer); window.removeEventListener("sc-dates", again); };
  }, [at]);
  if (!at) { return jsx("span", {className: "sc-faint"}, empty ?? "—"); }
  const s = Math.round((now || at * 1000) / 1000 - at), past = s >= 0, n = Math.abs(s);
  const [count, unit] = n < 60 ? [n, "second"] : n < 3600 ? [Math.floor(n / 60), "minute"]
    : n < 172800 ? [Math.floor(n / 3600), "hour"] : [Math.floor(n / 86400), "day"];
  const short = {second: "s", minute: "min", hour: "h", day: "d"}[unit], text = count + " " + short;
  const {zone, language} = globalThis.scDates ?? {};
  const foreign = now && language && !language.startsWith("en");
  const exact = new Date(at * 1000);
  let title;
  if (now) {
    const style = {dateStyle: "full", timeStyle: "long"};
    try { title = exact.toLocaleString(language || undefined, {...style, timeZone: zone || undefined}); }
    catch { title = exact.toLocaleString(undefined, style); }
  }
  return jsx("time", {dateTime: exact.toISOString(), className: "sc-num sc-time", title},
    (prefix ?? "") + (foreign
      ? new Intl.RelativeTimeFormat(language, {style: "short", numeric: n < 2 ? "auto" : "always"})
        .format(n < 2 ? 0 : past ? -count : count, unit)
      : n < 2 ? "now" : past ? text + " ago" : "in " + text));
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


class Appearance(_Hook):
    """Makes the page look as its reader wants it."""

    theme: rx.Var[str]
    motion: rx.Var[str]
    zone: rx.Var[str]
    language: rx.Var[str]

    def _exclude_props(self) -> list[str]:
        return [*super()._exclude_props(), "theme", "motion", "zone", "language"]

    def add_imports(self) -> ImportDict | list[ImportDict]:
        """What the hook uses."""
        return {"react": ["useEffect", "useRef", "useContext"], "$/utils/context": ["ColorModeContext"]}

    def add_hooks(self) -> list[str | rx.Var[Any]]:
        """Follows the vars."""
        hook = f"""
const {{ setColorMode: scMode }} = useContext(ColorModeContext), scTheme = useRef(null);
useEffect(() => {{
  const theme = {self.theme!s};
  if (theme && theme !== scTheme.current) {{ scMode(theme); scTheme.current = theme; }}
  document.documentElement.dataset.motion = {self.motion!s};
  globalThis.scDates = {{zone: {self.zone!s}, language: {self.language!s}}};
  window.dispatchEvent(new Event("sc-dates"));
}}, [{self.theme!s}, {self.motion!s}, {self.zone!s}, {self.language!s}]);
"""
        return [rx.Var(hook, _var_data=rx.Var.create(self.theme)._get_all_var_data())]


def appearance(look: Any) -> rx.Component:
    """Applies a Look: theme, motion, time zone and language of dates."""
    return Appearance.create(
        theme=look.theme, motion=look.motion, zone=look.time_zone, language=look.language
    )


ZONES = """
function ScZones({name}) {
  const [zones, know] = useState([]);
  useEffect(() => know(Intl.supportedValuesOf ? ["UTC", ...Intl.supportedValuesOf("timeZone")] : ["UTC"]), []);
  return jsx("datalist", {id: name}, zones.map((z) => jsx("option", {value: z, key: z})));
}
"""


class Zones(rx.Component):
    """The time zones this browser knows, for an input's `list`."""

    tag = "ScZones"
    name: rx.Var[str]

    def add_imports(self) -> ImportDict | list[ImportDict]:
        """What the code below uses."""
        return {"react": ["useState", "useEffect"], "@emotion/react": ["jsx"]}

    def add_custom_code(self) -> list[str]:
        """The component itself."""
        return [ZONES]


def zones(name: str) -> rx.Component:
    """A <datalist> of that id."""
    return Zones.create(name=name)


RENEW = """
function ScRenew({onDone, resubmit}) {
  const [said, say] = useState(""), [busy, work] = useState(false), [elsewhere, ask] = useState(false), box = useRef(null);
  useEffect(() => {
    box.current?.focus();
    fetch("/api/auth/me", {credentials: "same-origin"}).then((answer) => answer.json())
      .then((me) => ask(me.renewed_by === "oidc")).catch(() => {});
  }, []);
  if (elsewhere) {
    const goOn = (e) => { if (resubmit) e.target.closest("form")?.requestSubmit(); else onDone?.(); };
    return jsx("div", {className: "sc-renew", role: "group", "aria-label": "Confirm that it is you"},
      jsx("p", null, jsx("strong", null, "Confirm that it is you. "), "Your sign-in is older than five minutes."),
      jsx("div", {className: "sc-renew-line"},
        jsx("a", {className: "sc-btn", target: "_blank", rel: "noopener",
          href: "/api/auth/oidc/renew?next=" + encodeURIComponent(window.location.pathname)}, "Confirm in a new tab"),
        jsx("button", {type: "button", className: "sc-btn", onClick: goOn}, "Go on")));
  }
  const go = async () => {
    const password = box.current?.value;
    if (!password || busy) return;
    work(true); say("");
    try {
      const answer = await fetch("/api/auth/renew", {method: "POST", credentials: "same-origin",
        headers: {"content-type": "application/json"}, body: JSON.stringify({password})});
      if (answer.ok) {
        const form = box.current.closest("form");
        box.current.value = "";
        if (resubmit) form?.requestSubmit(); else onDone?.();
        return;
      }
      const told = await answer.json().catch(() => ({}));
      if (told.code === "unauthenticated") { window.location.assign("/login"); return; }
      say([told.detail ?? "That did not work.", told.hint].filter(Boolean).join(" "));
      box.current.select();
    } catch { say("The console does not answer. Try again."); } finally { work(false); }
  };
  return jsx("div", {className: "sc-renew", role: "group", "aria-label": "Confirm that it is you"},
    jsx("p", null, jsx("strong", null, "Confirm that it is you. "), "Your sign-in is older than five minutes."),
    jsx("div", {className: "sc-renew-line"},
      jsx("label", {className: "sc-hidden", htmlFor: "renew-password"}, "Your password"),
      jsx("input", {id: "renew-password", ref: box, type: "password", autoComplete: "current-password",
        className: "sc-input", placeholder: "Your password", "aria-invalid": said ? "true" : "false",
        "aria-describedby": "renew-said",
        onKeyDown: (e) => { if (e.key === "Enter") { e.preventDefault(); e.stopPropagation(); go(); } }}),
      jsx("button", {type: "button", className: "sc-btn", onClick: go, disabled: busy}, "Confirm")),
    jsx("p", {id: "renew-said", className: "sc-error", role: "alert"}, said));
}
"""


def _nothing() -> tuple[()]:
    return ()


class Renew(rx.Component):
    """Proves again who is there. The password goes from the field to the sign-in route and nowhere else."""

    tag = "ScRenew"
    resubmit: rx.Var[bool]
    on_done: EventHandler[_nothing]  # pyrefly: ignore[bad-index] - how Reflex declares the arguments

    def add_imports(self) -> ImportDict | list[ImportDict]:
        """What the code below uses."""
        return {"react": ["useState", "useEffect", "useRef"], "@emotion/react": ["jsx"]}

    def add_custom_code(self) -> list[str]:
        """The component itself."""
        return [RENEW]


def renew(on_done: Any = None) -> rx.Component:
    """Asks for the password; then calls `on_done`, or without one sends the form it stands in again."""
    return Renew.create(resubmit=True) if on_done is None else Renew.create(on_done=on_done, resubmit=False)
