"""The names of roles that are made for a while: whoever reads or restores a database looks past what these may do."""

import re

#: Leased to a program, and made for the records of one database; a pattern for SQL as well.
LEASE, RECORDS = "sc_lease_", "sc_records_"
PASSING = f"^({LEASE}[0-9a-f]+|{RECORDS}[0-9a-f]+_[0-9a-f]+)$"


def passing(role: str) -> bool:
    """Whether a role of this name is one of them."""
    return re.search(PASSING, role) is not None
