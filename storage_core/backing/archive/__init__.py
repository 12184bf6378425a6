"""The sealed form of backups: members framed, compressed, encrypted. ``docs/format.md`` describes every byte."""

from .archive import SealedArchive

__all__ = ["SealedArchive"]
