"""Opens the core: the one place that names concrete classes."""

from ..services.declared import OPERATIONS
from .core import Core, Registry, open_core
from .leased import leased_engines
from .lock import WorkerLock
from .sources import new_id, new_ordered_id, utc_now
from .start import migrate, setup_link, unlock
from .worker import open_worker

__all__ = [
    "OPERATIONS",
    "Core",
    "Registry",
    "WorkerLock",
    "leased_engines",
    "migrate",
    "new_id",
    "new_ordered_id",
    "open_core",
    "open_worker",
    "setup_link",
    "unlock",
    "utc_now",
]
