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
