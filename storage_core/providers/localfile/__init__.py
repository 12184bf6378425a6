"""Local files: a provider is a directory, a database is a folder below it with one file per document."""
