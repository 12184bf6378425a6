"""TinyDB: a provider is a directory, a database is a JSON file below it with a journal beside it."""
