"""The networks that this host reaches already, read from the kernel's table of routes."""

import socket
from ipaddress import IPv4Network
from pathlib import Path

from warren.core.allocator import Route

TABLE = Path("/proc/net/route")
_GATEWAY = 0x2


def read(table: Path = TABLE) -> tuple[Route, ...]:
    """All but the ways to single hosts."""
    routes = (_route(line.split()) for line in table.read_text().splitlines()[1:])
    return tuple(route for route in routes if route.network.prefixlen < 32)


def _route(columns: list[str]) -> Route:
    """Interface, destination, gateway, flags, three counters, mask; addresses byte by byte."""
    destination, mask = (socket.inet_ntoa(bytes.fromhex(columns[index])[::-1]) for index in (1, 7))
    return Route(
        network=IPv4Network(f"{destination}/{mask}"),
        interface=columns[0],
        direct=not int(columns[3], 16) & _GATEWAY,
    )
