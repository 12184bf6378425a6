"""Patches Reflex's generated `state.js`, so that one build serves any address under a strict CSP."""

import dataclasses
import re
from typing import Any

from reflex_base import constants
from reflex_base.environment import environment
from reflex_base.plugins import Plugin

# Each text goes in right after its anchor. The first replaces the backend address baked in at build time;
# the second gives handlers a toast and a page load that need no `eval`.
PATCHES = [
    (
        "const endpoint = new URL(url_str);\n",
        """/*sc*/ if (typeof window !== "undefined") {
    const tls = window.location.protocol === "https:";
    endpoint.protocol = endpoint.protocol.startsWith("ws") ? (tls ? "wss:" : "ws:") : window.location.protocol;
    endpoint.hostname = window.location.hostname; endpoint.port = window.location.port;
    return endpoint; } /*cs*/
""",
    ),
    (
        "  // Handle special events\n",
        """/*sc*/ if (event.name == "_sc_toast") {
    refs["__toast"]?.[event.payload.kind]?.(event.payload.message, event.payload.options ?? {}); return; }
  if (event.name == "_sc_goto") { window.location.assign(event.payload.path); return; } /*cs*/
""",
    ),
]


def _patch(source: str) -> str:
    source = re.sub(r"/\*sc\*/.*?/\*cs\*/\n", "", source, flags=re.DOTALL)  # .web persists between builds
    for index, (anchor, text) in enumerate(PATCHES):
        if index == 0 and environment.REFLEX_ENV_MODE.get() == constants.Env.DEV:
            continue  # development serves page and websocket from two ports
        if source.count(anchor) != 1:
            raise RuntimeError(f"Reflex's state.js changed; patch anchor not found once: {anchor.strip()}")
        source = source.replace(anchor, anchor + text)
    return source


@dataclasses.dataclass
class ConsoleFrontendPlugin(Plugin):
    """Applies PATCHES on every compile and fails the build when an anchor is gone."""

    def pre_compile(self, **context: Any) -> None:
        """Registers the patch with Reflex's compiler."""
        context["add_modify_task"]("utils/state.js", _patch)
