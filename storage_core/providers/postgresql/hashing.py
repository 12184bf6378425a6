"""The hash's definition: how a table's content becomes one number, the same wherever and whenever it is read.

A row is the line that COPY writes for it as text, in the server's encoding; a table's hash is the sum of its lines'
XXH3 hashes of 64 bits, so physical order does not matter and equal pairs do not cancel out. The text tells apart what
PostgreSQL's own equality does not (-0, 1.0 and 1.00, one month and thirty days), it is what was dumped, and it stays the
same across major versions.
"""

from collections.abc import Iterable

from xxhash import xxh3_64, xxh3_64_intdigest

from ...domain.errors import Unsupported

#: The rule of the rows and what a manifest speaks of; a new number where either changes.
METHOD = "lines-1"

#: What the text of a value depends on: every session has it that writes or reads rows, pg_dump's and pg_restore's too. Of
#: those that pg_dump sets itself, the values are its own.
TEXT = {
    "search_path": "",
    "timezone": "UTC",
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "xmlbinary": "base64",
    "xmloption": "content",
    "quote_all_identifiers": "off",
}
#: What every session runs with that reads all of a database.
SESSION = {
    **TEXT,
    "row_security": "off",
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "default_transaction_read_only": "off",
}


def method_of(major: int) -> str:
    """The method of a manifest made on a server of this major version, whose wording its definitions have."""
    return f"{METHOD} postgresql-{major}"


def major_of(method: str) -> int:
    """The server whose wording a manifest's definitions have; Unsupported where its method is not ours."""
    name, _, server = method.partition(" ")
    major = server.removeprefix("postgresql-")
    if name != METHOD or not major.isdigit():
        raise Unsupported(
            f"The manifest's method {method[:80]!r} is unknown here.",
            hint="Use the version of this product that made the backup, or a newer one.",
        )
    return int(major)


class Lines:
    """Rows and hash of one table, from its text in parts of any size; no line is ever held whole."""

    def __init__(self) -> None:
        self.rows = 0
        self._sum = 0
        self._line = xxh3_64()  # of the line that has begun
        self._begun = False

    @property
    def between(self) -> bool:
        """Whether the text so far ends with the end of a line."""
        return not self._begun

    @property
    def hash(self) -> str:
        return f"{self._sum:032x}"

    def add(self, lines: list[bytes]) -> None:
        """Whole lines, without their ends."""
        self.rows += len(lines)
        self._sum += sum(map(xxh3_64_intdigest, lines))

    def feed(self, text: bytes) -> None:
        """The next of the text, cut anywhere."""
        lines = text.split(b"\n")
        last = lines.pop()
        if lines and self._begun:
            self._line.update(lines[0])
            self._end_line()
            del lines[0]
        self.add(lines)
        if last:
            self._line.update(last)
            self._begun = True

    def take_back(self, lines: Iterable[bytes]) -> None:
        """Undo lines that were no rows."""
        for line in lines:
            self.rows -= 1
            self._sum -= xxh3_64_intdigest(line)

    def _end_line(self) -> None:
        self.rows += 1
        self._sum += self._line.intdigest()
        self._line.reset()
        self._begun = False
