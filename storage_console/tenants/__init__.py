"""Tenants: whose data it is, what they use, who is let in."""
