"""What pages say: browsers by their short names, roles that may, settings by readable titles."""

import pytest

from storage_console.parts import words
from storage_console.session import allowed_roles
from storage_console.settings.state import setting_row
from storage_core.services.configuration import Setting

CHROME = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
)


@pytest.mark.parametrize(
    ("agent", "said"),
    [
        (CHROME, "Chrome on Linux"),
        (CHROME + " Edg/140.0", "Edge on Linux"),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0",
            "Firefox on Windows",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) Version/19.0 Safari/604.1",
            "Safari on iPhone",
        ),
        ("python-httpx/0.28.1", "python-httpx/0.28.1"),
        ("", "unknown"),
    ],
)
def test_a_browser_is_called_by_its_short_name(agent: str, said: str) -> None:
    assert words.browser(agent) == said


def test_the_lowest_role_that_may_is_named() -> None:
    assert allowed_roles("backup.run") == "Operator or above"
    assert allowed_roles("server.manage") == "SuperAdmin"
    assert allowed_roles("secret.reveal") == ""


@pytest.mark.parametrize(
    ("value", "source", "said"),
    [
        (None, "default", "not set"),
        ("", "default", "empty"),
        ("true", "stored", "on"),
        ("set, not shown", "environment", "set, not shown"),
    ],
)
def test_a_setting_reads_like_words(value: str | None, source: str, said: str) -> None:
    row = setting_row(Setting("STORAGE_JWT_JWKS", "The keys as `JWKS`.", value, source, restart=True))
    assert (row.title, row.text, row.value) == ("JWT JWKS", "The keys as JWKS.", said)
