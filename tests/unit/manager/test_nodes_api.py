"""Apply, Get, List and Delete of nodes."""

import asyncio
from dataclasses import replace

import pytest
from warren.api import convert, warren_pb2
from warren.manager.authorization import ROOT
from warren.manager.nodes_api import NodesApi
from warren.model.errors import (
    Conflict,
    FailedPrecondition,
    InvalidInput,
    LeaderMoved,
    NotFound,
    Unavailable,
)
from warren.model.nodes import Availability, NodeRole, NodeSpec, NodeState
from warren.store.log import LogMember
from warren.testing.builders import a_node

from tests.unit.manager.manager_kit import BOTH, M1, Kit, a_cluster_state, a_kit

DRAIN = NodeSpec(name="w1", availability=Availability.DRAIN)
STATE = a_cluster_state(
    nodes=[
        M1,
        a_node("m2", roles=BOTH, state=NodeState.DOWN),
        a_node("w1", number=3),
        a_node("w2", number=4, state=NodeState.DOWN),
    ]
)

WORKER = NodeSpec(name="m2", roles=(NodeRole.WORKER,))
THREE = a_cluster_state(
    nodes=[M1, a_node("m2", roles=BOTH, number=2), a_node("m3", roles=BOTH, number=3)]
)
SEATS = [LogMember(node_id=f"m{n}", address=f"10.86.0.{n}:7445") for n in (1, 2, 3)]


async def apply(
    kit: Kit, spec: NodeSpec, *fields: str, name: str = "w1", **options: object
) -> warren_pb2.ApplyNodeResponse:
    request = warren_pb2.ApplyNodeRequest(
        name=name,
        spec=convert.to_message(spec),
        fields=fields,
        **options,  # type: ignore[arg-type]
    )
    return await NodesApi(kit.context).apply_node(request, ROOT)


async def delete(kit: Kit, name: str, **options: bool) -> bool:
    request = warren_pb2.DeleteNodeRequest(name=name, **options)
    return (await NodesApi(kit.context).delete_node(request, ROOT)).changed


async def test_drains_a_node_and_says_what_changed() -> None:
    async with a_kit(STATE) as kit:
        dry = await apply(kit, DRAIN, "availability", dry_run=True)
        before = kit.state.nodes["w1"].spec
        real = await apply(kit, DRAIN, "availability")
        again = await apply(kit, DRAIN, "availability")

        assert before.availability is Availability.ACTIVE
        assert (dry.changed, real.changed, again.changed) == (True, True, False)
        assert [(c.path, c.before, c.after) for c in dry.changes] == [
            ("availability", "active", "drain")
        ]
        assert kit.state.nodes["w1"].spec.availability is Availability.DRAIN


async def test_labels_are_changed_without_the_rest() -> None:
    async with a_kit(STATE) as kit:
        await apply(kit, DRAIN, "availability")
        await apply(kit, NodeSpec(name="w1", labels={"zone": "north"}), "labels")

        assert kit.state.nodes["w1"].spec == NodeSpec(
            name="w1", labels={"zone": "north"}, availability=Availability.DRAIN
        )


@pytest.mark.parametrize(
    ("spec", "field", "sentence"),
    [
        (
            NodeSpec(name="w9"),
            "name",
            "w1.name: is fixed when a node joins: remove the node and let it join again",
        ),
        (
            NodeSpec(name="w1", roles=()),
            "roles",
            "w1.roles: must name manager, worker, or both",
        ),
    ],
)
async def test_a_node_keeps_its_name_and_has_a_role(
    spec: NodeSpec, field: str, sentence: str
) -> None:
    async with a_kit(STATE) as kit:
        with pytest.raises(InvalidInput) as refused:
            await apply(kit, spec, field)

        assert str(refused.value) == sentence


async def test_a_ready_worker_becomes_a_manager() -> None:
    async with a_kit(a_cluster_state(nodes=[M1, a_node("w1", number=3)])) as kit:
        answer = await apply(kit, NodeSpec(name="w1", roles=BOTH), "roles")

        assert [(c.path, c.before, c.after) for c in answer.changes] == [
            ("roles", "[worker]", "[manager, worker]")
        ]
        assert kit.state.nodes["w1"].spec.roles == BOTH


async def test_a_manager_is_demoted_in_the_log_before_its_roles_change() -> None:
    async with a_kit(THREE) as kit:
        kit.log.seat(*SEATS)
        await apply(kit, WORKER, "roles", name="m2")

        assert kit.state.nodes["m2"].spec.roles == (NodeRole.WORKER,)
        assert [(m.node_id, m.voter) for m in kit.log.status().roster] == [
            ("m1", True),
            ("m2", False),
            ("m3", True),
        ]


async def test_a_dry_run_of_a_demotion_moves_nothing() -> None:
    async with a_kit(THREE) as kit:
        kit.log.seat(*SEATS)
        answer = await apply(kit, WORKER, "roles", name="m2", dry_run=True)

        assert answer.changed
        assert kit.state.nodes["m2"].spec.roles == BOTH
        assert all(member.voter for member in kit.log.status().roster)


async def test_the_leader_hands_over_before_it_is_demoted() -> None:
    async with a_kit(THREE) as kit:
        kit.log.seat(*SEATS)
        with pytest.raises(LeaderMoved, match="m1 has handed the lead over: ask again"):
            await apply(kit, replace(WORKER, name="m1"), "roles", name="m1")

        assert not kit.context.leads()
        assert kit.state.nodes["m1"].spec.roles == BOTH


async def test_a_manager_whose_going_would_cost_the_majority_stays() -> None:
    async with a_kit(THREE) as kit:
        kit.log.seat(*SEATS, away=("m3",))
        with pytest.raises(FailedPrecondition) as refused:
            await delete(kit, "m2", force=True)

        assert str(refused.value) == (
            "removing m2 would leave 1 of 2 managers reachable, and 2 are needed"
        )
        assert sorted(kit.state.nodes) == ["m1", "m2", "m3"]


async def test_a_leader_that_has_not_met_all_managers_yet_waits_before_one_is_removed() -> None:
    async with a_kit(THREE) as kit:
        kit.log.seat(*SEATS, away=("m3",))
        deleting = asyncio.create_task(delete(kit, "m2", force=True))
        await asyncio.sleep(0)
        kit.log.seat(*SEATS)

        assert await deleting
        assert sorted(kit.state.nodes) == ["m1", "m3"]


async def test_a_leader_that_has_not_met_all_managers_yet_waits_before_one_is_demoted() -> None:
    async with a_kit(THREE) as kit:
        kit.log.seat(*SEATS, away=("m3",))
        demoting = asyncio.create_task(apply(kit, WORKER, "roles", name="m2"))
        await asyncio.sleep(0)
        kit.log.seat(*SEATS)

        assert (await demoting).changed
        assert kit.state.nodes["m2"].spec.roles == WORKER.roles


async def test_a_dead_manager_leaves_the_log_and_the_cluster() -> None:
    async with a_kit(THREE) as kit:
        kit.log.seat(*SEATS, away=("m3",))
        changed = await delete(kit, "m3", force=True)

        assert changed
        assert sorted(kit.state.nodes) == ["m1", "m2"]
        assert [member.node_id for member in kit.log.status().roster] == ["m1", "m2"]


async def test_a_repeated_removal_that_was_done_says_that_it_was() -> None:
    again = replace(ROOT, call="c1", attempt=2)
    async with a_kit(STATE) as kit:
        request = warren_pb2.DeleteNodeRequest(name="w2")
        await NodesApi(kit.context).delete_node(request, replace(again, attempt=1))
        answer = await NodesApi(kit.context).delete_node(request, again)

        assert answer.changed


async def test_a_repeated_change_that_was_made_says_that_it_was() -> None:
    async with a_kit(STATE) as kit:
        request = warren_pb2.ApplyNodeRequest(
            name="w1", spec=convert.to_message(DRAIN), fields=["availability"]
        )
        api = NodesApi(kit.context)
        await api.apply_node(request, replace(ROOT, call="c1"))
        own = await api.apply_node(request, replace(ROOT, call="c1", attempt=2))
        others = await api.apply_node(request, replace(ROOT, call="c2", attempt=2))

        assert (own.changed, others.changed) == (True, False)


async def test_a_repeated_removal_of_what_another_call_removed_changes_nothing() -> None:
    async with a_kit(STATE) as kit:
        request = warren_pb2.DeleteNodeRequest(name="w2")
        api = NodesApi(kit.context)
        await api.delete_node(request, replace(ROOT, call="c1"))
        answer = await api.delete_node(request, replace(ROOT, call="c2", attempt=2))

        assert not answer.changed


async def test_an_expected_version_must_be_the_stored_one() -> None:
    async with a_kit(STATE) as kit:
        with pytest.raises(Conflict, match="node w1 was changed: version 0, not 9"):
            await apply(kit, DRAIN, "availability", expected_version=9)


async def test_an_unknown_node_is_not_found() -> None:
    async with a_kit(STATE) as kit:
        with pytest.raises(NotFound, match="there is no node w9"):
            await apply(kit, DRAIN, "availability", name="w9")


async def test_a_stale_read_needs_no_leader() -> None:
    async with a_kit(STATE) as kit:
        kit.log.follow(None)
        api = NodesApi(kit.context)
        answer = await api.get_node(warren_pb2.GetNodeRequest(name="w1", stale=True), ROOT)

        assert answer.node.spec.name == "w1"
        with pytest.raises(Unavailable):
            await api.get_node(warren_pb2.GetNodeRequest(name="w1"), ROOT)


async def test_lists_nodes_with_the_leader_and_the_reachable() -> None:
    async with a_kit(STATE) as kit:
        answer = await NodesApi(kit.context).list_nodes(warren_pb2.ListNodesRequest(), ROOT)

        assert [(v.node.spec.name, v.leader, v.reachable) for v in answer.nodes] == [
            ("m1", True, True),
            ("m2", False, False),
            ("w1", False, False),
            ("w2", False, False),
        ]


@pytest.mark.parametrize(
    ("name", "force", "sentence"),
    [
        (
            "m1",
            True,
            "m2 is still becoming a manager (is its daemon running?): "
            "managers change one at a time",
        ),
        ("w1", False, "w1 is ready: stop its daemons first, or use force"),
    ],
)
async def test_a_node_that_is_needed_is_not_removed(name: str, force: bool, sentence: str) -> None:
    async with a_kit(STATE) as kit:
        with pytest.raises(FailedPrecondition) as refused:
            await delete(kit, name, force=force)

        assert str(refused.value) == sentence


async def test_removes_a_node_that_is_away_or_by_force() -> None:
    async with a_kit(STATE) as kit:
        dry = await delete(kit, "w2", dry_run=True)
        still_there = "w2" in kit.state.nodes
        away, forced = await delete(kit, "w2"), await delete(kit, "w1", force=True)
        again = await delete(kit, "w1")

        assert (dry, still_there, away, forced, again) == (True, True, True, True, False)
        assert sorted(kit.state.nodes) == ["m1", "m2"]


async def test_a_removed_manager_leaves_the_log_too() -> None:
    async with a_kit(STATE) as kit:
        member = LogMember(node_id="m2", address="10.86.0.2:7445")
        await kit.context.store.add_member(member)

        await delete(kit, "m2")

        assert kit.log.status().members == ("10.86.0.1:7445",)
        assert sorted(kit.state.nodes) == ["m1", "w1", "w2"]
