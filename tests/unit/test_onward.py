"""Going on after a sign-in: to pages of our own only."""

import pytest

from storage_core.domain.onward import local_path


@pytest.mark.parametrize(
    "path", ["/", "/admin/", "/admin/database/list?search=a%20b&sort=asc", "/backups/1#top"]
)
def test_our_own_pages_are_gone_on_to(path: str) -> None:
    assert local_path(path) == path


@pytest.mark.parametrize(
    "path",
    [None, "", "admin", "//evil.example", "/\\evil.example", "\\\\evil.example", "https://evil.example",
     "javascript:alert(1)", "/\t/evil.example", "/\n/evil.example", " /admin", "/\u202eadmin",
     "/..//evil.example", "/.//evil.example", "/a//b"],
)  # fmt: skip
def test_everything_else_leads_home(path: str | None) -> None:
    assert local_path(path) == "/"
