"""What the sign-in page says about the attempt before."""

from urllib.parse import quote

import reflex as rx

from storage_console.core import core
from storage_console.session import goto, is_open, public, signed_in
from storage_core.domain.errors import TooManyRequests, waiting
from storage_core.domain.onward import local_path

MESSAGES = {  # by the code of the refusal
    "unauthenticated": "User name or password is wrong.",
    "identity_refused": "The identity provider's answer could not be verified. Try again.",
    "sign_in_expired": "The sign-in took too long, or was used already. Begin again.",
    "issuer_unavailable": "The identity provider does not answer. Try again in a moment.",
    "no_role": "You are known here now, but hold no role yet. Ask an administrator to give you one.",
    "user_disabled": "This user is disabled. Ask an administrator.",
    "sign_in_again": "The identity provider did not ask who you are. Sign out there, then try again.",
    "cross_site": "Signing in needs https, or http on this machine itself.",
}


LOGIN, PROVIDER = "/api/auth/login", "/api/auth/oidc"


class Login(rx.State):
    """The message above the form, where the form is sent, and the identity provider where there is one.

    Both ways remember what was asked for.
    """

    message: str = ""
    action: str = LOGIN
    provider: str = ""
    provider_action: str = PROVIDER

    @rx.event
    @public()
    async def load(self):
        """Reads the outcome of the last attempt; who is signed in goes on to what was asked for."""
        wanted = local_path(self.router.url.query_parameters.get("next"))
        if await signed_in(self):
            return goto(wanted)
        asked = "" if wanted == "/" else f"?next={quote(wanted, safe='')}"
        self.action, self.provider_action = LOGIN + asked, PROVIDER + asked
        self.provider = (core().federation.offered or "") if is_open() else ""
        failed = self.router.url.query_parameters.get("error", "")
        self.message = message_of(failed, self.router.url.query_parameters.get("wait", "")) if failed else ""
        return None


def message_of(code: str, wait: str) -> str:
    """What became of the last attempt; `wait`, in seconds, is what the address says, whoever wrote it."""
    if code == TooManyRequests.code:
        known = wait.isascii() and wait.isdigit() and len(wait) <= 4
        return f"Too many attempts. Wait {waiting(int(wait)) if known else 'a moment'}, then try again."
    return MESSAGES.get(code, "Signing in failed. Try again.")
