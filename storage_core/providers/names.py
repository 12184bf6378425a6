"""Names without a guard: for programs that reach servers of their own choosing, tests and benchmarks among them."""

import asyncio
import socket

from ..domain.errors import NameUnresolved

LOOKUP_SECONDS = 10.0


class PlainNames:
    """The outbound port that refuses nothing. The product itself always hands its guard to an engine."""

    async def addresses(self, host: str, port: int, field: str | None = None) -> tuple[str, ...]:
        try:
            async with asyncio.timeout(LOOKUP_SECONDS):
                found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except TimeoutError as error:
            raise NameUnresolved(f"The name servers did not answer for {host}.", field=field) from error
        except (OSError, UnicodeError) as error:
            raise NameUnresolved(f"{host} cannot be resolved.", field=field) from error
        return tuple(dict.fromkeys(str(info[4][0]) for info in found))
