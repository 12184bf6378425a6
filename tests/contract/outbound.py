"""An outbound port for tests: a few names of its own that no name server knows, everything else refused."""

from dataclasses import dataclass, field

from storage_core.domain.errors import AddressRefused

HOST = "db.example"


@dataclass
class Hosts:
    """Answers for the names it knows; remembers every question."""

    known: dict[str, str]
    asked: list[str] = field(default_factory=list)

    async def addresses(self, host: str, port: int, field: str | None = None) -> tuple[str, ...]:
        self.asked.append(host)
        if host not in self.known:
            raise AddressRefused(f"{host} is not allowed.", field=field)
        return (self.known[host],)


def localhost_as(name: str = HOST, *more: str) -> Hosts:
    return Hosts(dict.fromkeys((name, *more), "127.0.0.1"))
