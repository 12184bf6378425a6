"""PostgreSQL: asyncpg for the work, PostgreSQL's own programs for dump and restore."""
