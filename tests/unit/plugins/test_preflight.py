"""The parts of preflight that need no host."""

import os
import socket

import pytest
from ansible_collections.warren.core.plugins.action.warren_preflight import difference
from ansible_collections.warren.core.plugins.modules import warren_preflight


@pytest.mark.parametrize(
    ("read", "skew"),
    [(100.0, 0.0), (104.0, 0.0), (110.0, 0.0), (410.0, 300.0), (-200.0, -300.0)],
)
def test_only_what_no_delay_explains_is_held_against_a_clock(read: float, skew: float) -> None:
    assert difference(read, asked=100.0, answered=110.0) == skew


def test_a_port_that_is_taken_is_named_with_its_holder() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]

        found = warren_preflight.port_problems("udp", [port])

    assert len(found) == 1
    assert found[0].startswith(f"port {port}/udp is taken by ")
    assert f"(pid {os.getpid()})" in found[0]


def test_a_free_port_is_no_problem() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    assert warren_preflight.port_problems("tcp", [port]) == []


ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t0000000A\t010200C0\t0003\t0\t0\t0\t000000FF\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
docker0\t00035C0A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
*\t0003580A\t00000000\t0201\t0\t0\t0\t00FFFFFF\t0\t0\t0
warren0\t0000580A\t00000000\t0001\t0\t0\t0\t0000FCFF\t0\t0\t0
"""


def test_networks_that_overlap_are_named_with_what_they_overlap() -> None:
    networks = {"mesh": "10.86.0.0/16", "tasks": "10.88.0.0/14", "vips": "10.92.0.0/16"}

    assert warren_preflight.network_problems(networks, ROUTES) == [
        "vips 10.92.0.0/16 overlaps 10.92.3.0/24, which it has on docker0"
    ]
    assert warren_preflight.network_problems({**networks, "mesh": "10.91.0.0/16"}, "") == [
        "mesh 10.91.0.0/16 overlaps tasks 10.88.0.0/14"
    ]
    assert warren_preflight.network_problems({"mesh": "ten"}, "") == [
        "mesh is not an IPv4 network: Expected 4 octets in 'ten'"
    ]
