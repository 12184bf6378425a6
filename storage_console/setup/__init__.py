"""The first minute: the administrator made from the one-time link."""
