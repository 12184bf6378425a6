"""Where the product may connect to: which texts are addresses, what an address really is, which are allowed.

Resolvers and libraries read `127.1`, `0x7f.1` and `2130706433` as 127.0.0.1, and IPv6 has half a dozen ways of carrying
an IPv4 address. Here a text is a plain address, a plain name, or refused; an address is judged by what is inside it.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from .errors import AddressRefused, InvalidRequest

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.IGNORECASE)
#: What resolvers take for a number, so that the whole text may be an address in disguise.
NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.IGNORECASE)


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in texts)


#: Never connected to, whatever the settings say: link-local with every cloud's metadata service, this network,
#: broadcast, multicast.
NEVER = _networks(
    *(
        "0.0.0.0/8",
        "169.254.0.0/16",
        "224.0.0.0/4",
        "255.255.255.255/32",
        "192.0.0.192/32",
        "100.100.100.200/32",
    ),
    *("::/128", "fe80::/10", "fec0::/10", "ff00::/8", "fd00:ec2::254/128", "fd20:ce::254/128"),
)
LOOPBACK = _networks("127.0.0.0/8", "::1/128")
PRIVATE = _networks("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
#: Carriers of an IPv4 address in their last 32 bits: mapped, compatible, translated, NAT64.
CARRIERS = _networks("::ffff:0:0/96", "::/96", "::ffff:0:0:0/96", "64:ff9b::/96")
SIX_TO_FOUR, TEREDO, LOCAL_NAT64 = _networks("2002::/16", "2001::/32", "64:ff9b:1::/48")
ISATAP = (0x00005EFE, 0x02005EFE)


@dataclass(frozen=True, slots=True)
class Rules:
    """Which addresses may be connected to besides public ones; `also` are networks allowed by name."""

    private: bool = False
    loopback: bool = False
    also: tuple[Network, ...] = ()


def networks(text: str, field: str) -> tuple[Network, ...]:
    """The networks of a list separated by commas; InvalidRequest names the one that is none."""
    found: list[Network] = []
    for part in filter(None, (p.strip() for p in text.split(","))):
        try:
            found.append(ip_network(part))
        except ValueError:
            raise InvalidRequest(
                f"{part[:60]!r} is not a network.",
                field=field,
                hint="Write networks like 10.1.0.0/16 or fd00::/8.",
            ) from None
    return tuple(found)


def plain(host: str, field: str | None = None) -> Address | str:
    """The address or the name (lower case, ASCII) that a text is; AddressRefused for everything in between."""
    name = _ascii(host, field)
    try:
        # A zone (`%eth0`) names an interface of this machine.
        found = ip_address(name) if "%" not in name else None
    except ValueError:
        found = None
    if found is not None:
        return found
    labels = name.removesuffix(".").split(".")
    if NUMBER.fullmatch(labels[-1]) or ":" in name or "%" in name:
        raise AddressRefused(
            # Not quoted: people paste whole connection strings here, passwords and all.
            "The host is an address in a form that is not read the same everywhere.",
            hint="Write it as four decimal numbers (10.0.0.7), as plain IPv6 (fd00::7), or give a host name.",
            field=field,
        )
    if len(name) > 253 or not all(LABEL.fullmatch(label) for label in labels):
        raise InvalidRequest(
            "The host is not a name or an address.",
            field=field,
            hint="One host name, without scheme and port.",
        )
    return name


def _ascii(host: str, field: str | None) -> str:
    """As name servers get to see it: other scripts' digits and dots turn into plain ones there."""
    try:
        return host.encode("idna").decode("ascii").lower()
    except UnicodeError:
        raise InvalidRequest(
            "The host is not a name or an address.",
            field=field,
            hint="One host name, without scheme and port.",
        ) from None


def carried(address: Address) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses an IPv6 address stands for; none for a plain one."""
    if isinstance(address, IPv4Address) or _in(address, LOOPBACK) or int(address) == 0:
        return ()
    bits = int(address)
    low = IPv4Address(bits & 0xFFFFFFFF)
    if _in(address, CARRIERS) or (bits >> 32) & 0xFFFFFFFF in ISATAP:
        return (low,)
    if address in SIX_TO_FOUR:
        return (IPv4Address((bits >> 80) & 0xFFFFFFFF),)
    if address in TEREDO:
        return (IPv4Address((bits >> 64) & 0xFFFFFFFF), IPv4Address(int(low) ^ 0xFFFFFFFF))
    return ()


def refusal(address: Address, rules: Rules) -> str:
    """Why an address is refused, as a noun; empty when it is allowed.

    An IPv4 address inside an IPv6 one must be public, whatever the rules: nobody needs to write another one so.
    """
    if address in LOCAL_NAT64:
        return "translated address"
    if inner := carried(address):
        return "" if all(_public(a) for a in inner) else "disguised address"
    if _in(address, NEVER):
        return "link-local, multicast or metadata address"
    if _in(address, rules.also):
        return ""
    if _in(address, LOOPBACK):
        return "" if rules.loopback else "loopback address"
    if _in(address, PRIVATE):
        return "" if rules.private else "private address"
    return "" if _public(address) else "reserved address"


def checked(host: str, found: Iterable[Address], rules: Rules, field: str | None = None) -> tuple[str, ...]:
    """The answers for a host as texts, in order; AddressRefused when a single one of them is not allowed."""
    answers = tuple(dict.fromkeys(found))
    for address in answers:
        if reason := refusal(address, rules):
            raise AddressRefused(f"{host[:80]} leads to a {reason}, which is not allowed here.", field=field)
    return tuple(str(address) for address in answers)


def _public(address: Address) -> bool:
    return address.is_global and not address.is_multicast and not _in(address, NEVER)


def _in(address: Address, group: Iterable[Network]) -> bool:
    return any(address in network for network in group)
