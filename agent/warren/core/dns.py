"""The names of services, as lines of a zone file. Pure.

    web.warren.internal                A    its virtual address
    tasks.web.warren.internal          A    every endpoint
    3.tasks.web.warren.internal        A    the endpoints in slot 3
    _http._tcp.web.warren.internal     SRV  the port named http, at web
    _http._tcp.tasks.web.…             SRV  the same, at each endpoint's own name

A name that exists always has a record of some kind: without one it would be answered by NXDOMAIN,
which resolvers remember and take for an answer to all types.
"""

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network

from warren.model.assignments import Assignment, ServiceTraffic

HOST_ADDRESS = "169.254.86.53"
"""Where the name server answers its own host: the same everywhere, so that a role can write it down
before the host is a node."""
TTL = 5
SERVERS_MAX = 3
"""A resolver asks no more."""
_FOREVER = 2**31 - 1
"""Seconds until a copy of the zone would have to be renewed; there are no copies."""


def gateway(subnet: str) -> str:
    """A host's address on the task network: the first of its subnet, as host-local gives it."""
    return str(IPv4Network(subnet)[1])


def servers(assignment: Assignment, node_id: str) -> tuple[str, ...]:
    """Whom the tasks of a node ask: its own name server, and when it dies those of the nodes that
    follow it in a ring, so that no node answers for all others."""
    ring = sorted(assignment.peers, key=lambda peer: (peer.node_id < node_id, peer.node_id))
    subnets = (assignment.mesh.subnet, *(peer.subnet for peer in ring))
    return tuple(gateway(subnet) for subnet in subnets[:SERVERS_MAX])


class Zone:
    """Writes the zone; only the services that are not the objects of the last time anew."""

    def __init__(self) -> None:
        self._parts: dict[str, tuple[ServiceTraffic, str]] = {}

    def text(self, domain: str, address: str, services: Mapping[str, ServiceTraffic]) -> str:
        """The zone file. `address` is the name server's own. The same input, the same text."""
        parts: dict[str, tuple[ServiceTraffic, str]] = {}
        for name in sorted(services):
            service = services[name]
            known = self._parts.get(name)
            fits = known is not None and known[0] is service
            parts[name] = known if known is not None and fits else (service, _lines(service))
        self._parts = parts
        return head(domain, address) + "".join(text for _, text in parts.values())


def head(domain: str, address: str) -> str:
    """What every zone begins with. The serial never changes: nothing is transferred."""
    return (
        f"$ORIGIN {domain}.\n"
        f"$TTL {TTL}\n"
        f"@ SOA ns hostmaster 1 3600 600 {_FOREVER} {TTL}\n"
        f"@ NS ns\n"
        f"ns A {address}\n"
    )


def _lines(service: ServiceTraffic) -> str:
    return "".join(f"{line}\n" for line in _records(service))


def _records(service: ServiceTraffic) -> Iterator[str]:
    name, tasks = service.name, f"tasks.{service.name}"
    # A service waits for its virtual address, or has no endpoint: the names exist all the same.
    yield f"{name} A {service.vip}" if service.vip else f'{name} TXT "no virtual address yet"'
    if not service.endpoints:
        yield f'{tasks} TXT "no endpoint"'
    slots = sorted({endpoint.slot for endpoint in service.endpoints})
    for endpoint in service.endpoints:
        yield f"{tasks} A {endpoint.address}"
        yield f"{endpoint.slot}.{tasks} A {endpoint.address}"
    for port in service.ports:
        if port.name:
            label = f"_{port.name}._{port.protocol.value}"
            yield f"{label}.{name} SRV 0 0 {port.target} {name}"
            for slot in slots:
                yield f"{label}.{tasks} SRV 0 0 {port.target} {slot}.{tasks}"
