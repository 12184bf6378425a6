"""The admin views at /admin: SQLAdmin's pages over our own session, roles and operations."""

from .site import install

__all__ = ["install"]
