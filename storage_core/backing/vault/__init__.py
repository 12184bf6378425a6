"""Envelope encryption: master keys and where they are kept, wrapped keys, sealed values, the recovery key."""

from .envelope import EnvelopeVault, MasterRing
from .master import fingerprint, master_keys
from .recovery import read as read_recovery

__all__ = ["EnvelopeVault", "MasterRing", "fingerprint", "master_keys", "read_recovery"]
