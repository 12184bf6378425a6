"""MongoDB as an engine: users' databases, backed up document by document in one snapshot."""
