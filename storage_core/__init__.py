"""Multi-tenant storage: one core behind the console, the REST API, the command line and the SDK."""
