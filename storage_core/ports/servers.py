"""The private servers port: real engines below the home, for development and first steps."""

from typing import Protocol

from ..domain.provider import Endpoint
from ..domain.server import PrivateServer


class Servers(Protocol):
    """Private local servers on loopback, each held by a detached keeper process.

    `start` is idempotent: a running one is answered, a stopped one started again with its data. A server never
    outlives its keeper, however that dies. ToolMissing when the optional extra is not installed.
    """

    async def start(self, kind: str, name: str) -> PrivateServer: ...

    async def stop(self, name: str) -> PrivateServer:
        """Stop the server and its keeper; the data stays. NotFound for an unknown name."""
        ...

    async def list(self) -> tuple[PrivateServer, ...]: ...

    async def endpoint(self, name: str) -> tuple[Endpoint, str]:
        """Where a server listens and its password, starting it when it is down."""
        ...

    async def password(self, name: str) -> str:
        """The generated password, without starting anything. NotFound for an unknown name."""
        ...

    async def adopt(self, name: str, user: str, password: str) -> None:
        """Sign in to the server like this from now on, in every process. NotFound for an unknown name."""
        ...

    async def bind(self, name: str, provider_id: str) -> None:
        """Remember which provider stands for the server."""
        ...
