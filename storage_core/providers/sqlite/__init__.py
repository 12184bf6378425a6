"""SQLite: a provider is a directory, a database is a file below it."""
