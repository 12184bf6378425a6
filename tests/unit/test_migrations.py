"""The catalog's revisions follow each other: one first, one last, no fork."""

import re
from pathlib import Path

from storage_core.catalog import migrations


def test_each_revision_follows_the_one_before_it() -> None:
    folder = Path(next(iter(migrations.__path__)))
    files = sorted((folder / "versions").glob("[0-9]*.py"))
    before = "None"
    for number, file in enumerate(files, 1):
        text = file.read_text("utf-8")
        revision = re.search(r"^revision = (.+)$", text, re.MULTILINE)
        down = re.search(r"^down_revision = (.+)$", text, re.MULTILINE)
        assert revision is not None
        assert down is not None
        assert (revision[1], down[1]) == (f'"{number:04}"', before), file.name
        assert file.name.startswith(f"{number:04}_")
        before = revision[1]
