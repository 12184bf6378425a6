"""Where the Reflex command line looks for its configuration."""

from storage_console._rxconfig import config

__all__ = ["config"]
