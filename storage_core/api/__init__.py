"""The REST API: derived from the operations; streams and sign-in by hand."""

from .app import create_app
from .context import Callers

__all__ = ["Callers", "create_app"]
