"""The names of services, as the records that answer for them. Pure.

    web.warren.internal                A    its virtual address
    tasks.web.warren.internal          A    every endpoint
    3.tasks.web.warren.internal        A    the endpoints in slot 3
    _http._tcp.web.warren.internal     SRV  the port named http, at web
    _http._tcp.tasks.web.…             SRV  the same, at each endpoint's own name

A name that exists always has a record of some kind: without one it would be answered by NXDOMAIN,
which resolvers remember and take for an answer to all types. So has every name between a service's
name and a longer one, `_tcp.web`: drivers/unbound.py relies on it.
"""

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network

from warren.model.assignments import Assignment, ServiceTraffic
from warren.model.services import Port
from warren.state import maps

HOST_ADDRESS = "169.254.86.53"
"""Where the name server answers its own host: the same everywhere, so that a role can write it down
before the host is a node."""
TTL = 5
SERVERS_MAX = 3
"""A resolver asks no more."""


def gateway(subnet: str) -> str:
    """A host's address on the task network: the first of its subnet, as host-local gives it."""
    return str(IPv4Network(subnet)[1])


def servers(assignment: Assignment, node_id: str) -> tuple[str, ...]:
    """Whom the tasks of a node ask: its own name server, and when it dies those of the nodes that
    follow it in a ring, so that no node answers for all others."""
    ring = sorted(assignment.peers, key=lambda peer: (peer.node_id < node_id, peer.node_id))
    subnets = (assignment.mesh.subnet, *(peer.subnet for peer in ring))
    return tuple(gateway(subnet) for subnet in subnets[:SERVERS_MAX])


class Names:
    """Works out the records of services: only of those that are not the objects of last time."""

    def __init__(self) -> None:
        self._domain = ""
        self._services: Mapping[str, ServiceTraffic] = {}
        self._records: Mapping[str, tuple[str, ...]] = {}

    def of(
        self, domain: str, services: Mapping[str, ServiceTraffic]
    ) -> Mapping[str, tuple[str, ...]]:
        """By service. Records that are equal to those of the last time stay the same object."""
        if domain != self._domain:
            self._domain, self._services, self._records = domain, {}, {}
        for name in maps.changed_keys(self._services, services):
            service = services.get(name)
            if service is None:
                self._records = maps.without(self._records, name)
                continue
            found = records(domain, service)
            if found != self._records.get(name):
                self._records = maps.put(self._records, name, found)
        self._services = services
        return self._records


def records(domain: str, service: ServiceTraffic) -> tuple[str, ...]:
    """Each as `name seconds-to-live class type value`. The same input, the same text."""
    return tuple(_records(f"{service.name}.{domain}.", service))


def _records(name: str, service: ServiceTraffic) -> Iterator[str]:
    tasks = f"tasks.{name}"
    # A service waits for its virtual address, or has no endpoint: the names exist all the same.
    yield _address(name, service.vip) if service.vip else _note(name, "no virtual address yet")
    if not service.endpoints:
        yield _note(tasks, "no endpoint")
    slots = sorted({endpoint.slot for endpoint in service.endpoints})
    for endpoint in service.endpoints:
        yield _address(tasks, endpoint.address)
        yield _address(f"{endpoint.slot}.{tasks}", endpoint.address)
    named = [port for port in service.ports if port.name]
    for protocol in sorted({port.protocol.value for port in named}):
        yield _note(f"_{protocol}.{name}", "named ports")
        yield _note(f"_{protocol}.{tasks}", "named ports")
    for port in named:
        label = f"_{port.name}._{port.protocol.value}"
        yield _server(f"{label}.{name}", port, name)
        if not slots:
            yield _note(f"{label}.{tasks}", "no endpoint")
        for slot in slots:
            yield _server(f"{label}.{tasks}", port, f"{slot}.{tasks}")


def _address(name: str, address: str) -> str:
    return f"{name} {TTL} IN A {address}"


def _server(name: str, port: Port, target: str) -> str:
    return f"{name} {TTL} IN SRV 0 0 {port.target} {target}"


def _note(name: str, text: str) -> str:
    return f'{name} {TTL} IN TXT "{text}"'
