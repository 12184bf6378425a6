"""The REST API: derived from the operations; streams and sign-in by hand."""

from ..tenancy.middleware import TenancyMiddleware
from .app import create_app
from .context import Callers
from .mounted import router

__all__ = ["Callers", "TenancyMiddleware", "create_app", "router"]
