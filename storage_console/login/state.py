"""What the sign-in page says about the attempt before."""

import reflex as rx

from storage_console.session import goto, public, signed_in

MESSAGES = {  # by the code of the refusal
    "unauthenticated": "User name or password is wrong.",
    "too_many_requests": "Too many attempts. Wait five minutes, then try again.",
    "cross_site": "Signing in needs https, or http on this machine itself.",
}


class Login(rx.State):
    """The message above the form."""

    message: str = ""

    @rx.event
    @public()
    async def load(self):
        """Reads the outcome of the last attempt; who is signed in goes on to the dashboard."""
        if await signed_in(self):
            return goto("/")
        failed = self.router.url.query_parameters.get("error", "")
        self.message = MESSAGES.get(failed, "Signing in failed. Try again.") if failed else ""
        return None
