"""Private local servers of real engines."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PrivateServer:
    """A server below the home. `pid` is the server's process while it runs; paths are absolute."""

    name: str
    kind: str
    running: bool
    host: str
    port: int
    user: str
    data_dir: str
    pid: int | None = None
    provider_id: str | None = None
