"""Where in the mesh a new node comes, and which networks a cluster can have."""

from ipaddress import IPv4Network

import pytest
from warren.core.allocator import Route, allocate_mesh, check_routes
from warren.model.clusters import ClusterSpec
from warren.model.errors import FailedPrecondition, InvalidInput
from warren.model.nodes import NodeMesh


def mesh(address: str, subnet: str) -> NodeMesh:
    return NodeMesh(public_key="", endpoint="", address=address, subnet=subnet)


def test_the_first_node_gets_the_first_address_and_subnet() -> None:
    assert allocate_mesh(ClusterSpec(), ()) == ("10.86.0.1", "10.88.0.0/24")


def test_the_lowest_free_ones_are_taken() -> None:
    used = [mesh("10.86.0.1", "10.88.0.0/24"), mesh("10.86.0.3", "10.88.2.0/25")]

    assert allocate_mesh(ClusterSpec(), used) == ("10.86.0.2", "10.88.1.0/24")


def test_says_which_network_is_full() -> None:
    small = ClusterSpec(mesh_network="10.0.0.0/30", task_network="10.1.0.0/24")
    one = mesh("10.0.0.1", "10.1.0.0/24")
    with pytest.raises(FailedPrecondition, match=r"^task_network 10\.1\.0\.0/24 is full: 1 "):
        allocate_mesh(small, [one])

    with pytest.raises(FailedPrecondition, match=r"^mesh_network 10\.0\.0\.0/30 is full: 2 "):
        allocate_mesh(small, [one, mesh("10.0.0.2", "10.1.0.0/25")])


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        (ClusterSpec(mesh_network="10.86.0.0/33"), "cluster.mesh_network"),
        (ClusterSpec(task_network="tasks"), "cluster.task_network"),
        (ClusterSpec(mesh_network="10.89.0.0/16"), "cluster.mesh_network"),
        (ClusterSpec(vip_network="10.86.7.0/24"), "cluster.mesh_network"),
        (ClusterSpec(vip_network="10.88.0.0/13"), "cluster.task_network"),
        (ClusterSpec(vip_network="vips"), "cluster.vip_network"),
        (ClusterSpec(task_network="10.88.0.0/25"), "cluster.task_subnet_prefix"),
    ],
)
def test_names_the_setting_that_is_wrong(spec: ClusterSpec, path: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        allocate_mesh(spec, ())

    assert caught.value.path == path


@pytest.mark.parametrize(
    ("network", "direct", "clash"),
    [
        ("10.92.3.0/24", False, "10.92.0.0/16 overlaps 10.92.3.0/24"),
        ("10.92.3.0/24", True, "10.92.0.0/16 overlaps 10.92.3.0/24"),
        ("10.64.0.0/10", True, "10.86.0.0/16 overlaps 10.64.0.0/10"),
        ("10.0.0.0/8", False, ""),
        ("0.0.0.0/0", True, ""),
        ("192.0.2.0/24", True, ""),
    ],
)
def test_names_the_network_of_the_host_that_would_clash(
    network: str, direct: bool, clash: str
) -> None:
    route = Route(network=IPv4Network(network), interface="docker0", direct=direct)
    if not clash:
        check_routes(ClusterSpec(), [route])
        return
    with pytest.raises(InvalidInput) as caught:
        check_routes(ClusterSpec(), [route])

    assert str(caught.value).endswith(f"{clash}, which this host has on docker0")
