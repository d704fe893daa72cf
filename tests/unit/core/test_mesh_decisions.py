"""The mesh as the leader sees it: MTU, peers, and the steps of a key rotation."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from warren.core import mesh
from warren.core.decisions import Decision
from warren.model.assignments import Peer
from warren.model.clusters import ClusterSpec
from warren.model.nodes import Node, NodeState
from warren.state.apply import apply
from warren.state.cluster import ClusterState
from warren.state.commands import (
    AllowKeySwitch,
    Applied,
    Command,
    FinishKeyRotation,
    OfferNodeKey,
    Rejected,
    RequestKeyRotation,
)
from warren.testing.builders import NOON, a_node, a_state


def with_mtu(name: str, mtu: int) -> Node:
    node = a_node(name)
    return replace(node, description=replace(node.description, mtu=mtu))


def with_mesh(node: Node, **values: Any) -> Node:
    return replace(node, mesh=replace(node.mesh, **values))


def after(state: ClusterState, *commands: Command) -> ClusterState:
    """All of which must be accepted."""
    for command in commands:
        state, outcome = apply(state, command)
        assert isinstance(outcome, Applied), outcome
    return state


LATER = NOON + mesh.PAUSE
"""Than keys that were replaced at noon."""


class TestMtu:
    def test_the_smallest_of_the_mesh_counts(self) -> None:
        nodes = [with_mtu("w1", 1420), with_mtu("w2", 1370), with_mtu("w3", 1400)]

        assert mesh.mtu(ClusterSpec(), nodes) == 1370

    def test_a_node_that_is_down_counts_and_one_that_said_nothing_does_not(self) -> None:
        down = with_mtu("w2", 1300)
        down = replace(down, status=replace(down.status, state=NodeState.DOWN))

        assert mesh.mtu(ClusterSpec(), [with_mtu("w1", 1420), down, a_node("w3")]) == 1300

    @pytest.mark.parametrize(("said", "told"), [(576, 1280), (8920, 1420)])
    def test_it_stays_within_what_paths_carry(self, said: int, told: int) -> None:
        assert mesh.mtu(ClusterSpec(), [with_mtu("w1", said)]) == told

    def test_the_setting_of_the_cluster_overrides(self) -> None:
        assert mesh.mtu(ClusterSpec(mesh_mtu=8920), [with_mtu("w1", 1420)]) == 8920

    def test_it_is_unknown_before_any_node_has_spoken(self) -> None:
        assert mesh.mtu(ClusterSpec(), [a_node("w1")]) == 0


class TestPeer:
    def test_a_node_behind_nat_has_an_endpoint_where_it_is_seen(self) -> None:
        node = with_mesh(a_node("w1"), seen_address="198.51.100.7")

        assert mesh.peer(node) == Peer(
            node_id="w1",
            name="w1",
            public_key="key of w1",
            endpoint="192.0.2.1:51820",
            address="10.86.0.1",
            subnet="10.88.1.0/24",
            seen_endpoint="198.51.100.7:51820",
        )

    def test_a_node_seen_where_it_says_has_one_endpoint(self) -> None:
        node = with_mesh(a_node("w1"), seen_address="192.0.2.1")

        assert mesh.peer(node).seen_endpoint == ""


class TestRotation:
    def test_goes_through_its_steps_and_ends_with_the_new_key(self) -> None:
        state = a_state(nodes=[a_node("w1"), a_node("w2")])

        state = after(
            state,
            RequestKeyRotation(node_id="w1"),
            OfferNodeKey(node_id="w1", public_key="new"),
        )
        offered = state.nodes["w1"].mesh
        (allow,) = mesh.decide(state, LATER, {"w2": state.index}).commands
        state = after(state, allow, FinishKeyRotation(node_id="w1", public_key="new", now=NOON))

        assert (offered.next_public_key, offered.offered_index) == ("new", state.index - 2)
        assert state.nodes["w1"].mesh == replace(
            a_node("w1").mesh,
            public_key="new",
            offered_index=state.index - 2,
            key_since=NOON,
        )

    def test_waits_for_every_node_that_is_there(self) -> None:
        state = self._offered("w1")

        waits = Decision(awaits=frozenset({state.index}))
        assert mesh.decide(state, LATER, {"w2": state.index}) == waits
        assert mesh.decide(state, LATER, {"w2": state.index, "w3": state.index - 1}) == waits
        assert mesh.decide(state, LATER, dict.fromkeys(("w2", "w3"), state.index)) == Decision(
            commands=(AllowKeySwitch(node_id="w1", public_key="new"),)
        )

    def test_does_not_wait_for_a_node_that_is_down(self) -> None:
        state = self._offered("w1")
        w3 = state.nodes["w3"]
        w3 = replace(w3, status=replace(w3.status, state=NodeState.DOWN))
        state = replace(state, nodes={**state.nodes, "w3": w3})

        decision = mesh.decide(state, LATER, {"w2": state.index})

        assert decision.commands == (AllowKeySwitch(node_id="w1", public_key="new"),)

    def test_one_node_switches_at_a_time(self) -> None:
        state = after(
            self._offered("w1"),
            RequestKeyRotation(node_id="w2"),
            OfferNodeKey(node_id="w2", public_key="new too"),
        )
        carried = dict.fromkeys(state.nodes, 999)
        state = after(state, *mesh.decide(state, LATER, carried).commands)

        meanwhile = mesh.decide(state, LATER, carried)
        state = after(state, FinishKeyRotation(node_id="w1", public_key="new", now=NOON))

        assert meanwhile == Decision()
        assert mesh.decide(state, LATER, carried).commands == (
            AllowKeySwitch(node_id="w2", public_key="new too"),
        )

    def test_the_next_one_waits_until_all_is_quiet_again(self) -> None:
        state = self._offered("w1")
        w2 = with_mesh(state.nodes["w2"], key_since=NOON)
        state = replace(state, nodes={**state.nodes, "w2": w2})
        carried = dict.fromkeys(state.nodes, 999)

        assert mesh.decide(state, NOON + timedelta(seconds=1), carried) == Decision(wake_at=LATER)
        assert mesh.decide(state, LATER, carried).commands == (
            AllowKeySwitch(node_id="w1", public_key="new"),
        )

    def test_a_host_that_lost_its_next_key_offers_another(self) -> None:
        state = self._offered("w1")
        state = after(state, *mesh.decide(state, LATER, dict.fromkeys(state.nodes, 999)).commands)

        state = after(state, OfferNodeKey(node_id="w1", public_key="newer"))

        found = state.nodes["w1"].mesh
        assert (found.next_public_key, found.switching) == ("newer", False)

    def test_a_decision_about_a_key_that_was_replaced_is_refused(self) -> None:
        state = after(self._offered("w1"), OfferNodeKey(node_id="w1", public_key="newer"))

        _, outcome = apply(state, AllowKeySwitch(node_id="w1", public_key="new"))

        assert outcome == Rejected(
            index=state.index + 1,
            reason="Conflict",
            message="w1 has offered another key meanwhile",
        )

    def test_a_key_that_another_node_has_is_refused_with_its_name(self) -> None:
        state = after(self._offered("w1"), RequestKeyRotation(node_id="w2"))

        refusals = [
            apply(state, OfferNodeKey(node_id="w2", public_key=key))[1]
            for key in ("key of w3", "new", "key of w2")
        ]

        assert [r.message for r in refusals if isinstance(r, Rejected)] == [
            "w3 has the same mesh key",
            "w1 has the same mesh key",
            "w2 has the same mesh key",
        ]

    def test_a_switch_that_was_not_allowed_is_refused(self) -> None:
        state = self._offered("w1")

        _, outcome = apply(state, FinishKeyRotation(node_id="w1", public_key="new", now=NOON))

        assert isinstance(outcome, Rejected)
        assert outcome.message == "w1 has not been told to switch keys"

    def test_concerns_keys_of_a_certain_age(self) -> None:
        young = with_mesh(a_node("w1"), key_since=NOON)
        hour = timedelta(hours=1)

        assert not mesh.wants_new_key(young, hour, NOON + timedelta(minutes=59))
        assert mesh.wants_new_key(young, hour, NOON + hour)
        assert mesh.wants_new_key(a_node("w1"), hour, NOON + hour)
        assert mesh.wants_new_key(with_mesh(young, rotating=True), hour, NOON)

    def _offered(self, name: str) -> ClusterState:
        """Of w1, w2 and w3, all ready, one has offered the key `new`."""
        state = a_state(nodes=[a_node("w1"), a_node("w2"), a_node("w3")])
        return after(
            state,
            RequestKeyRotation(node_id=name),
            OfferNodeKey(node_id=name, public_key="new"),
        )
