"""A pasted connection URL, taken apart in the browser: its password goes to the password field and nowhere else."""

from typing import Any

import reflex as rx
from reflex_base.event import EventHandler
from reflex_base.utils.imports import ImportDict
from reflex_components_core.base.fragment import Fragment

SCRIPT = r"""
useEffect(() => {
  const choose = %s;
  const plain = (s) => { try { return decodeURIComponent(s ?? ""); } catch { return s ?? ""; } };
  const take = (box) => {
    const form = box.form, text = box.value.trim();
    const set = (name, value) => {
      const input = form.querySelector(`[name="${name}"]`);
      if (input && value !== undefined && value !== "") input.value = value;
    };
    const file = text.match(/^(sqlite|tinydb|localfile):\/\/(\/.*)$/i);
    if (file) { choose(file[1].toLowerCase()); set("path", plain(file[2])); box.value = ""; return; }
    const m = text.match(/^(postgres(?:ql)?|mongodb)(?:\+\w+)?:\/\/(?:([^:@\/?#]*)(?::([^@]*))?@)?([^\/?#]+)(?:\/([^?#]*))?(?:\?([^#]*))?$/i);
    if (!m) return;
    const mongo = m[1].toLowerCase() === "mongodb", more = new URLSearchParams(m[6] ?? "");
    const end = m[4].split(",")[0].match(/^(\[[^\]]+\]|[^:]*)(?::(\d+))?$/);
    choose(mongo ? "mongodb" : "postgresql");
    set("host", end ? end[1].replace(/^\[|\]$/g, "") : m[4]);
    set("port", end?.[2]);
    set("user", plain(m[2]));
    set("password", plain(m[3]));
    set("database", mongo ? more.get("authSource") ?? plain(m[5]) : plain(m[5]));
    set("replica_set", more.get("replicaSet") ?? "");
    const mode = more.get("sslmode"), on = (more.get("tls") ?? more.get("ssl")) === "true";
    const known = ["disable", "require", "verify-ca", "verify-full"];
    set("tls", known.includes(mode) ? mode : on ? "verify-full" : "");
    box.value = "";
  };
  const pasted = (e) => { const t = e.target; if (t.dataset?.url) setTimeout(() => take(t), 0); };
  document.addEventListener("paste", pasted);
  document.addEventListener("change", pasted);
  return () => { document.removeEventListener("paste", pasted); document.removeEventListener("change", pasted); };
}, []);
"""


def _kind_spec(kind: rx.Var[str]) -> tuple[rx.Var[str]]:
    return (kind,)


class TakeApart(Fragment):
    """Fills a form's fields from what is put into its input marked `data-url`; tells the engine's kind."""

    on_kind: EventHandler[_kind_spec]  # pyrefly: ignore[bad-index] - how Reflex declares the arguments

    def _exclude_props(self) -> list[str]:
        return [*super()._exclude_props(), *self.event_triggers.keys(), "on_kind", "onKind"]

    def add_imports(self) -> ImportDict | list[ImportDict]:
        """What the hook uses."""
        return {"react": ["useEffect"]}

    def add_hooks(self) -> list[str | rx.Var[Any]]:
        """Listens for pastes and changes."""
        handler = rx.Var.create(self.event_triggers["on_kind"])
        return [rx.Var(SCRIPT.replace("%s", str(handler), 1))]


def take_apart(on_kind: Any) -> rx.Component:
    """Listens for pasted connection URLs anywhere on the page."""
    return TakeApart.create(on_kind=on_kind)
