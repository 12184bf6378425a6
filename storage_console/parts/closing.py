"""What stands open on a page is closed when the page is left or loaded anew (see `session.AuthMiddleware`)."""

import reflex as rx


class Closing(rx.State, mixin=True):
    """A state with dialogs or the like; each that adds one closes it in `_closed`, and calls the next."""

    def _closed(self) -> None:
        """Closes what stood open when the page was left."""
