"""Limits on a field's value, written in its annotation and checked by the manifest parser.

`replicas: Annotated[int, Range(0, 10_000)]` — the type says what it is, the constraint what it may
be. `check` returns the sentence that refuses the value, or None.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network


@dataclass(frozen=True, slots=True)
class Range:
    """A number between `low` and `high`, both included."""

    low: float
    high: float

    def check(self, value: object) -> str | None:
        assert isinstance(value, int | float)
        if self.low <= value <= self.high:
            return None
        return f"{value} is not between {self.low} and {self.high}"


@dataclass(frozen=True, slots=True)
class Pattern:
    """Text that matches `regex` as a whole; `meaning` tells the user what is accepted."""

    regex: str
    meaning: str

    def check(self, value: object) -> str | None:
        assert isinstance(value, str)
        if re.fullmatch(self.regex, value):
            return None
        return f"{value!r} is not {self.meaning}"


@dataclass(frozen=True, slots=True)
class NotEmpty:
    """Text or a list with something in it."""

    def check(self, value: object) -> str | None:
        return None if value else "must not be empty"


@dataclass(frozen=True, slots=True)
class Network:
    """An IPv4 address, or a network of them."""

    def check(self, value: object) -> str | None:
        assert isinstance(value, str)
        try:
            network = ip_network(value, strict=False)
        except ValueError:
            return f"{value!r} is not an IPv4 address or network, such as 192.0.2.0/24"
        if isinstance(network, IPv6Network):
            return f"{value!r} is IPv6, and services have IPv4 addresses only"
        if value not in _spellings(network):
            return f"{value!r} is not a network: is {network} meant?"
        return None


def _spellings(network: IPv4Network) -> tuple[str, ...]:
    """How it may be written: a mask of 32 bits may be left out."""
    alone = (str(network.network_address),) if network.prefixlen == 32 else ()
    return (str(network), *alone)


DNS_LABEL = Pattern(
    r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
    "a DNS label (lower-case letters, digits and inner hyphens, at most 63)",
)
"""RFC 1123: names become host names, cgroup names and interface names."""

DNS_NAME = Pattern(
    r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*",
    "a DNS name (lower-case labels, divided by dots)",
)

Constraint = Range | Pattern | NotEmpty | Network
