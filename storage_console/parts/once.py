"""Forms with secrets in them: the browser sends them to the API itself, so nothing of them passes a page's state.

once("/api/storage/tokens/create", "Create token", field(None, "name", "Name"), …,
     show="token", told="This is the only time …", on_done=S.refresh)

Fields are sent as JSON, empty ones not at all. Names like `scopes[role]` and `scopes[tenant]` make one list, `server.host` and `server.port`
one object; one that ends in `@days` becomes a point in time so many days ahead. A field `current` is the present password: it renews the sign-in first and is sent
nowhere else. What is refused is said at its field. With `show` that part of the answer is displayed, this once.
"""

from typing import Any

import reflex as rx
from reflex_base.event import EventHandler
from reflex_base.utils.imports import ImportDict

from storage_console.parts.client import RENEW

ONCE = """
function ScOnce({action, method, verb, show, told, onDone, onCancel, children}) {
  const [said, say] = useState({}), [busy, work] = useState(false), [secret, got] = useState(""), [copied, copy] = useState(false);
  const form = useRef(null);
  const send = async (path, how, body) => {
    const answer = await fetch(path, {method: how, credentials: "same-origin",
      headers: {"content-type": "application/json"}, body: JSON.stringify(body)});
    const data = await answer.json().catch(() => ({}));
    if (answer.ok) return data;
    if (data.code === "unauthenticated") window.location.assign("/login");
    throw {...data, detail: data.detail ?? "That did not work."};
  };
  const collected = () => {
    const body = {};
    for (const [name, value] of new FormData(form.current)) {
      if (value === "" || name === "current" || name === "repeat") continue;
      if (name.endsWith("]")) (body[name.split("[")[0]] ??= []).push(value);
      else if (name.includes(".")) { const [part, field] = name.split("."); (body[part] ??= {})[field] = value; }
      else if (name.endsWith("@days")) body[name.slice(0, -5)] = new Date(Date.now() + value * 864e5).toISOString();
      else body[name] = value;
    }
    return body;
  };
  const go = async (e) => {
    e.preventDefault();
    if (busy) return;
    work(true); say({});
    for (const box of form.current.elements) box.removeAttribute("aria-invalid");
    try {
      const now = form.current.elements.current;
      if (now) await send("/api/auth/renew", "POST", {password: now.value}).catch((error) => {
        throw {...error, field: "current"}; });
      const answer = await send(action, method, collected());
      form.current.reset();
      if (show) got(answer[show]); else onDone?.();
    } catch (error) {
      say({...error, detail: error.detail ?? "The console does not answer. Try again."});
      const box = error.field && [...form.current.elements].find((b) => b.name.split(/[@[]/)[0] === error.field);
      if (box) { box.setAttribute("aria-invalid", "true"); box.focus(); }
    } finally { work(false); }
  };
  if (secret) {
    return jsx("div", {className: "sc-form"},
      jsx("div", {className: "sc-note", "data-tone": "warn", role: "status"}, jsx("div", null, told)),
      jsx("div", {className: "sc-renew-line"},
        jsx("label", {className: "sc-hidden", htmlFor: "once-secret"}, "Shown this once"),
        jsx(secret.length > 80 ? "textarea" : "input", {id: "once-secret", className: "sc-input sc-mono", readOnly: true,
          value: secret, rows: 6, onFocus: (e) => e.target.select()}),
        jsx("button", {type: "button", className: "sc-btn", onClick: async () => {
          try { await navigator.clipboard.writeText(secret); copy(true); }
          catch { document.getElementById("once-secret")?.select(); document.execCommand("copy"); copy(true); } }},
          copied ? "Copied" : "Copy")),
      jsx("div", {className: "sc-actions"},
        jsx("button", {type: "button", className: "sc-btn sc-btn-primary", onClick: () => { got(""); onDone?.(); }}, "Done")));
  }
  return jsx("form", {ref: form, className: "sc-form", onSubmit: go, autoComplete: "off"}, children,
    said.code === "sign_in_again" ? jsx(ScRenew, {resubmit: true})
    : said.code === "approval_required" ? jsx("div", {className: "sc-note", "data-tone": "warn", role: "status"},
        jsx("div", null, jsx("strong", null, "A second person approves this. "), said.detail, " ",
          jsx("a", {href: "/settings/approvals", className: "sc-text-link"}, "See what waits")))
    : said.detail ? jsx("p", {className: "sc-error", role: "alert"}, [said.detail, said.hint].filter(Boolean).join(" ")) : null,
    jsx("div", {className: "sc-actions"},
      onCancel ? jsx("button", {type: "button", className: "sc-btn", onClick: onCancel}, "Cancel") : null,
      jsx("button", {type: "submit", className: "sc-btn sc-btn-primary", disabled: busy, "aria-busy": busy}, verb)));
}
"""


def _nothing() -> tuple[()]:
    return ()


class Once(rx.Component):
    """The form; see the module's description."""

    tag = "ScOnce"
    action: rx.Var[str]
    method: rx.Var[str]
    verb: rx.Var[str]
    show: rx.Var[str]
    told: rx.Var[str]
    on_done: EventHandler[_nothing]  # pyrefly: ignore[bad-index] - how Reflex declares the arguments
    on_cancel: EventHandler[_nothing]  # pyrefly: ignore[bad-index] - the same

    def add_imports(self) -> ImportDict | list[ImportDict]:
        """What the code below uses."""
        return {"react": ["useState", "useEffect", "useRef"], "@emotion/react": ["jsx"]}

    def add_custom_code(self) -> list[str]:
        """The component itself."""
        return [RENEW, ONCE]


def once(action: Any, verb: str, *fields: rx.Component, method: str = "POST", **props: Any) -> rx.Component:
    """A form that the browser sends to the API at `action`, as JSON."""
    return Once.create(*fields, action=action, method=method, verb=verb, **props)
