"""Nodes as plain data, for `-o json` and for modules."""

from dataclasses import replace

from warren.client import reports
from warren.model.views import NodeView
from warren.testing.builders import NOON, a_node


def test_a_node_tells_its_place_in_the_mesh_and_since_when_it_has_its_key() -> None:
    node = a_node("w1")
    rotated = replace(node, mesh=replace(node.mesh, key_since=NOON, seen_address="198.51.100.7"))

    shown = reports.node(NodeView(node=rotated, leader=False, reachable=False, tasks=0))

    assert shown["mesh"] == {
        "address": "10.86.0.1",
        "subnet": "10.88.1.0/24",
        "endpoint": "192.0.2.1:51820",
        "seen_address": "198.51.100.7",
        "public_key": "key of w1",
        "key_since": "2026-06-01T12:00:00.000Z",
        "rotating": False,
    }
