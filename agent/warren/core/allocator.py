"""Addresses: the place of a new node in the mesh. The lowest that is free, so it is predictable."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network

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
    """InvalidInput unless the two networks are networks, apart, and can be divided."""
    mesh = _network(spec.mesh_network, "cluster.mesh_network")
    tasks = _network(spec.task_network, "cluster.task_network")
    if mesh.overlaps(tasks):
        raise InvalidInput(f"overlaps task_network {tasks}", path="cluster.mesh_network")
    if spec.task_subnet_prefix < tasks.prefixlen:
        message = f"a /{spec.task_subnet_prefix} is larger than task_network {tasks}"
        raise InvalidInput(message, path="cluster.task_subnet_prefix")


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
