"""Constraints: what may be written, and which nodes meet it."""

import pytest
from warren.core.filters import NodeUsage, parse_constraint
from warren.model.nodes import NodeRole
from warren.testing.builders import a_node

NODE = a_node(
    "w1", labels={"zone": "north", "rack.id": "a b"}, roles=(NodeRole.MANAGER, NodeRole.WORKER)
)


@pytest.mark.parametrize(
    ("text", "met"),
    [
        ("node.name == w1", True),
        ("node.name!=w1", False),
        ("node.role == manager", True),
        ("node.role == worker", True),
        ("node.role != worker", False),
        ("node.arch == x86_64", True),
        ("node.arch == amd64", True),
        ("node.arch == arm64", False),
        ("node.labels.zone == north", True),
        ("node.labels.zone != north", False),
        ("node.labels.zone == south", False),
        ("node.labels.disk == ssd", False),
        ("node.labels.disk != ssd", True),
        ("node.labels.rack.id == a b", True),
        ("  node.name  ==  w1  ", True),
    ],
)
def test_a_constraint_is_met_or_not(text: str, met: bool) -> None:
    assert parse_constraint(text).passes(NodeUsage(node=NODE)) is met


@pytest.mark.parametrize(
    "text", ["", "node.zone == x", "node.name = w1", "node.name ==", "node.labels. == x", "zone"]
)
def test_says_what_a_constraint_looks_like(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a constraint: write node\.labels\.<key> == "):
        parse_constraint(text)
