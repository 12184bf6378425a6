"""Our own metadata: SQLModel tables, Alembic migrations, units of work; SQLite or PostgreSQL."""
