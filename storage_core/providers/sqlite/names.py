"""Names of the files beside SQLite's databases, and by which these are known."""

#: What SQLite itself lays beside a database.
COMPANIONS = ("-wal", "-shm", "-journal")
#: By what a file without a byte is known as a database: nothing in it can tell.
SUFFIXES = frozenset({".db", ".db3", ".s3db", ".sl3", ".sqlite", ".sqlite3"})
