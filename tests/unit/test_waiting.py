"""How long to wait: one truth for the header, the hint and the sign-in page."""

import pytest

from storage_console.login.state import message_of
from storage_core.domain.errors import TooManyRequests


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(1, "a second"), (60, "60 seconds"), (90, "90 seconds"), (91, "2 minutes"), (120, "2 minutes"), (300, "5 minutes")],
)  # fmt: skip
def test_words_and_seconds_agree(seconds: int, words: str) -> None:
    error = TooManyRequests("Too many failed sign-ins.", retry_after=seconds)
    assert error.hint == f"Wait {words} and try again."
    assert message_of(error.code, str(seconds)) == f"Too many attempts. Wait {words}, then try again."


@pytest.mark.parametrize("wait", ["", "-1", "soon", "99999", "²", "1e3"])
def test_an_address_that_says_anything_else_says_nothing(wait: str) -> None:
    assert message_of("too_many_requests", wait) == "Too many attempts. Wait a moment, then try again."
