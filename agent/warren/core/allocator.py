"""Addresses: the place of a new node in the mesh. The lowest that is free, so it is predictable."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations

from warren.model.clusters import ClusterSpec
from warren.model.errors import FailedPrecondition, InvalidInput
from warren.model.nodes import NodeMesh


def allocate_mesh(spec: ClusterSpec, used: Iterable[NodeMesh]) -> tuple[str, str]:
    """Mesh address and task subnet for one more node. FailedPrecondition when a network is full."""
    check_networks(spec)
    taken = tuple(used)
    addresses = {mesh.address for mesh in taken}
    subnets = [IPv4Network(mesh.subnet) for mesh in taken]
    return _free_address(spec, addresses), _free_subnet(spec, subnets)


def check_networks(spec: ClusterSpec) -> None:
    """InvalidInput unless the networks are networks, apart, and can be divided."""
    networks = _networks(spec)
    tasks = networks["task_network"]
    for (name, network), (other, taken) in combinations(networks.items(), 2):
        if network.overlaps(taken):
            raise InvalidInput(f"overlaps {other} {taken}", path=f"cluster.{name}")
    if spec.task_subnet_prefix < tasks.prefixlen:
        message = f"a /{spec.task_subnet_prefix} is larger than task_network {tasks}"
        raise InvalidInput(message, path="cluster.task_subnet_prefix")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A network that a host reaches without us."""

    network: IPv4Network
    interface: str
    direct: bool
    """On the interface itself, not behind a router."""


def check_routes(spec: ClusterSpec, routes: Iterable[Route]) -> None:
    """InvalidInput if one of the cluster's networks would hide one of the host's, or be hidden.

    A wider network behind a router, a VPN's or a provider's 10.0.0.0/8 say, is none of these:
    ours are found before it.
    """
    for name, network in _networks(spec).items():
        for route in routes:
            hides = route.direct or route.network.subnet_of(network)
            if route.network.prefixlen and hides and route.network.overlaps(network):
                message = f"{network} overlaps {route.network}, which this host has on"
                raise InvalidInput(f"{message} {route.interface}", path=f"cluster.{name}")


def _networks(spec: ClusterSpec) -> dict[str, IPv4Network]:
    names = ("mesh_network", "task_network", "vip_network")
    return {name: _network(getattr(spec, name), f"cluster.{name}") for name in names}


def _network(text: str, path: str) -> IPv4Network:
    try:
        return IPv4Network(text)
    except ValueError as error:
        raise InvalidInput(f"{text!r} is not an IPv4 network: {error}", path=path) from error


def _free_address(spec: ClusterSpec, taken: set[str]) -> str:
    network = IPv4Network(spec.mesh_network)
    for address in network.hosts():
        if str(IPv4Address(address)) not in taken:
            return str(address)
    raise FailedPrecondition(f"mesh_network {network} is full: {len(taken)} nodes have an address")


def _free_subnet(spec: ClusterSpec, taken: list[IPv4Network]) -> str:
    network = IPv4Network(spec.task_network)
    for subnet in network.subnets(new_prefix=spec.task_subnet_prefix):
        if not any(subnet.overlaps(other) for other in taken):
            return str(subnet)
    raise FailedPrecondition(
        f"task_network {network} is full: {len(taken)} nodes have a /{spec.task_subnet_prefix}"
    )
