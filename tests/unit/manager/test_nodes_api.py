"""Apply, Get, List and Delete of nodes."""

import pytest
from warren.api import convert, warren_pb2
from warren.manager.authorization import ROOT
from warren.manager.nodes_api import NodesApi
from warren.model.errors import Conflict, FailedPrecondition, InvalidInput, NotFound
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
    ("spec", "field"),
    [(NodeSpec(name="w9"), "name"), (NodeSpec(name="w1", roles=(NodeRole.MANAGER,)), "roles")],
)
async def test_what_a_certificate_says_is_fixed(spec: NodeSpec, field: str) -> None:
    async with a_kit(STATE) as kit:
        with pytest.raises(InvalidInput) as refused:
            await apply(kit, spec, field)

        assert str(refused.value) == (
            f"w1.{field}: is fixed when a node joins: remove the node and let it join again"
        )


async def test_an_expected_version_must_be_the_stored_one() -> None:
    async with a_kit(STATE) as kit:
        with pytest.raises(Conflict, match="node w1 was changed: version 0, not 9"):
            await apply(kit, DRAIN, "availability", expected_version=9)


async def test_an_unknown_node_is_not_found() -> None:
    async with a_kit(STATE) as kit:
        with pytest.raises(NotFound, match="there is no node w9"):
            await apply(kit, DRAIN, "availability", name="w9")


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
        ("m1", True, "m1 leads: restart its manager, then remove it"),
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
