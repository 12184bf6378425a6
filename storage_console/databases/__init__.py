"""Databases: what lies on the providers, one page for all and one for each."""
