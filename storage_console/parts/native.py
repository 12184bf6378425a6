"""Elements the browser handles itself, past Reflex's router and event loop: what sets cookies, what downloads."""

import reflex as rx
from reflex_components_core.el.elements.base import BaseHTML


class NativeForm(BaseHTML):
    """A form that the browser itself sends; Reflex's own forms never do."""

    tag = "form"
    action: rx.Var[str]
    method: rx.Var[str]


class NativeLink(BaseHTML):
    """A link that the browser itself follows, for what is no page."""

    tag = "a"
    href: rx.Var[str]
    download: rx.Var[str]
