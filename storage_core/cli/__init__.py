"""The command line: one command for every operation, and a few of its own."""

from .commands import build

__all__ = ["build"]
