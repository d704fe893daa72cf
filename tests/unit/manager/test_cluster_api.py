"""The cluster's settings: what may change, and how it looks at a glance."""

from dataclasses import replace
from datetime import timedelta

import pytest
from warren.api import convert, warren_pb2
from warren.manager.authorization import ROOT
from warren.manager.cluster_api import ClusterApi
from warren.model.clusters import ClusterSpec
from warren.model.errors import Conflict, FailedPrecondition, InvalidInput
from warren.state.cluster import ClusterState

from tests.unit.manager.manager_kit import Kit, a_kit


async def apply(
    kit: Kit, spec: ClusterSpec, *fields: str, **options: object
) -> warren_pb2.ApplyClusterResponse:
    request = warren_pb2.ApplyClusterRequest(
        spec=convert.to_message(spec),
        fields=fields,
        **options,  # type: ignore[arg-type]
    )
    return await ClusterApi(kit.context).apply_cluster(request, ROOT)


async def test_shows_the_cluster() -> None:
    async with a_kit() as kit:
        view = await ClusterApi(kit.context).get_cluster(warren_pb2.GetClusterRequest(), ROOT)

        assert (view.id, view.leader, view.nodes, view.term) == ("c1", "m1", 1, 1)
        assert [(m.node.spec.name, m.leader, m.reachable) for m in view.managers] == [
            ("m1", True, True)
        ]
        assert len(view.ca_digest) == 64


async def test_before_it_is_created_there_is_none_to_show() -> None:
    async with a_kit(ClusterState()) as kit:
        with pytest.raises(FailedPrecondition, match="the cluster is being created"):
            await ClusterApi(kit.context).get_cluster(warren_pb2.GetClusterRequest(), ROOT)


async def test_settings_that_may_change_do() -> None:
    slower = ClusterSpec(node_down_after=timedelta(seconds=20))
    async with a_kit() as kit:
        dry = await apply(kit, slower, "node_down_after", dry_run=True)
        unchanged = kit.log.entries == []
        real = await apply(kit, slower, "node_down_after")

        assert unchanged
        assert [(c.path, c.before, c.after) for c in dry.changes] == [
            ("node_down_after", "6s", "20s")
        ]
        assert (dry.changed, real.changed) == (True, True)
        assert kit.state.cluster is not None
        assert kit.state.cluster.spec == slower


@pytest.mark.parametrize(
    ("spec", "field", "sentence"),
    [
        (
            ClusterSpec(mesh_network="10.99.0.0/16"),
            "mesh_network",
            "cluster.mesh_network: is 10.86.0.0/16 since the cluster was created, "
            "and cannot be changed",
        ),
        (
            ClusterSpec(heartbeat_interval=timedelta(milliseconds=1)),
            "heartbeat_interval",
            "cluster.heartbeat_interval: must be at least 100ms",
        ),
        (
            ClusterSpec(node_down_after=timedelta(seconds=1)),
            "node_down_after",
            "cluster.node_down_after: must be at least twice the heartbeat_interval",
        ),
        (
            ClusterSpec(task_history=1000),
            "task_history",
            "cluster.task_history: 1000 is not between 0 and 100",
        ),
    ],
)
async def test_others_are_refused(spec: ClusterSpec, field: str, sentence: str) -> None:
    async with a_kit() as kit:
        with pytest.raises(InvalidInput) as refused:
            await apply(kit, spec, field)

        assert str(refused.value) == sentence
        assert kit.log.entries == []


async def test_an_expected_version_must_be_the_stored_one() -> None:
    async with a_kit() as kit:
        with pytest.raises(Conflict, match="cluster warren was changed"):
            await apply(kit, ClusterSpec(task_history=1), "task_history", expected_version=9)


async def test_a_repeated_change_that_was_made_says_that_it_was() -> None:
    request = warren_pb2.ApplyClusterRequest(
        spec=convert.to_message(ClusterSpec(task_history=1)), fields=["task_history"]
    )
    async with a_kit() as kit:
        api = ClusterApi(kit.context)
        await api.apply_cluster(request, replace(ROOT, call="c1"))
        own = await api.apply_cluster(request, replace(ROOT, call="c1", attempt=2))
        others = await api.apply_cluster(request, replace(ROOT, call="c2", attempt=2))

        assert (own.changed, others.changed) == (True, False)
