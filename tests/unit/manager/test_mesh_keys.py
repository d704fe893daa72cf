"""What becomes of what workers say of their mesh keys, and of where they come from."""

from dataclasses import replace
from typing import Any

import pytest
from warren.manager import mesh_keys
from warren.model.nodes import Node
from warren.state.commands import (
    Command,
    FinishKeyRotation,
    OfferNodeKey,
    SetNodePublicKey,
    SetNodeSeenAddress,
)
from warren.testing.builders import NOON, a_node


def a_rotating_node(**mesh: Any) -> Node:
    node = a_node("w1")
    return replace(node, mesh=replace(node.mesh, rotating=True, **mesh))


def said(
    node: Node, public_key: str = "", next_public_key: str = "", endpoint: str = ""
) -> list[Command]:
    return mesh_keys.commands_for(
        node,
        public_key=public_key,
        next_public_key=next_public_key,
        endpoint=endpoint,
        now=NOON,
    )


def test_what_is_known_is_no_news() -> None:
    offered = a_rotating_node(next_public_key="next")

    assert said(a_node("w1"), "key of w1", endpoint="192.0.2.1:51820") == []
    assert said(a_node("w1")) == []
    assert said(offered, "key of w1", "next") == []


def test_a_host_that_was_made_anew_has_another_key() -> None:
    assert said(a_node("w1"), "other", endpoint="192.0.2.9:51820") == [
        SetNodePublicKey(node_id="w1", public_key="other", endpoint="192.0.2.9:51820")
    ]


def test_a_next_key_is_offered_only_if_somebody_asked() -> None:
    assert said(a_rotating_node(), "key of w1", "next") == [
        OfferNodeKey(node_id="w1", public_key="next")
    ]
    assert said(a_node("w1"), "key of w1", "next") == []


def test_the_next_key_in_use_ends_the_rotation() -> None:
    switching = a_rotating_node(next_public_key="next", switching=True)

    assert said(switching, "next") == [FinishKeyRotation(node_id="w1", public_key="next", now=NOON)]
    assert said(switching, "next", endpoint="192.0.2.9:51820") == [
        FinishKeyRotation(node_id="w1", public_key="next", now=NOON),
        SetNodePublicKey(node_id="w1", public_key="next", endpoint="192.0.2.9:51820"),
    ]


@pytest.mark.parametrize(
    "peer", ["unix:", "ipv4:127.0.0.1:7", "ipv4:10.86.0.1:7", "ipv6:%5B::1%5D:7", "", "odd"]
)
def test_some_ways_in_say_nothing_of_the_way_from_outside(peer: str) -> None:
    assert list(mesh_keys.seen(a_node("w1"), peer)) == []


def test_where_a_worker_comes_from_is_news_once() -> None:
    node = a_node("w1")
    (command,) = mesh_keys.seen(node, "ipv4:198.51.100.7:40001")
    known = replace(node, mesh=replace(node.mesh, seen_address="198.51.100.7"))

    assert command == SetNodeSeenAddress(node_id="w1", address="198.51.100.7")
    assert list(mesh_keys.seen(known, "ipv4:198.51.100.7:40002")) == []
