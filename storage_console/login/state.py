"""What the sign-in page says about the attempt before."""

from urllib.parse import quote

import reflex as rx

from storage_console.session import goto, public, signed_in
from storage_core.domain.onward import local_path

MESSAGES = {  # by the code of the refusal
    "unauthenticated": "User name or password is wrong.",
    "too_many_requests": "Too many attempts. Wait five minutes, then try again.",
    "cross_site": "Signing in needs https, or http on this machine itself.",
}


LOGIN = "/api/auth/login"


class Login(rx.State):
    """The message above the form, and where the form is sent: it remembers what was asked for."""

    message: str = ""
    action: str = LOGIN

    @rx.event
    @public()
    async def load(self):
        """Reads the outcome of the last attempt; who is signed in goes on to what was asked for."""
        wanted = local_path(self.router.url.query_parameters.get("next"))
        if await signed_in(self):
            return goto(wanted)
        self.action = LOGIN if wanted == "/" else f"{LOGIN}?next={quote(wanted, safe='')}"
        failed = self.router.url.query_parameters.get("error", "")
        self.message = MESSAGES.get(failed, "Signing in failed. Try again.") if failed else ""
        return None
