"""What the first-run form knows while it is filled in; the password itself never enters a var."""

import re

import reflex as rx

from storage_console.core import core
from storage_console.session import is_open, public
from storage_core.domain.identity import MIN_PASSWORD

MESSAGES = {  # by the code of the refusal
    "invalid_request": f"User name: 1 to 64 characters. Password: at least {MIN_PASSWORD} characters.",
    "cross_site": "Setting up needs https, or http on this machine itself.",
}
TOKEN = re.compile(r"[A-Za-z0-9_-]{8,200}")


class Setup(rx.State):
    """The link's token, whether it can still be used, and the outcome of the last attempt."""

    token: str = ""
    message: str = ""
    loaded: bool = False
    over: bool = False
    minimum: int = MIN_PASSWORD

    @rx.event
    @public()
    async def load(self):
        """Takes token and outcome from the address, and asks whether the link still opens anything."""
        given = self.router.url.query_parameters
        token, failed = given.get("token", ""), given.get("error", "")
        self.token = token if TOKEN.fullmatch(token) else ""
        self.message = (
            MESSAGES.get(failed, "That did not work. Check the form and try again.") if failed else ""
        )
        self.over = bool(token) and is_open() and not await core().auth.setup_open(token)
        self.loaded = True
