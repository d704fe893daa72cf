"""Control, the cluster itself: Get, Apply."""

from dataclasses import replace
from datetime import timedelta

import warren
from warren.api import convert, warren_pb2
from warren.core import specs, views
from warren.core.specs import Edit
from warren.manager.authorization import Caller
from warren.manager.changing import Intent, Wish, carry_out, edit_fields
from warren.manager.cluster import ManagerContext, cluster_of
from warren.manager.members_api import AskMember, ask_nobody, members_of
from warren.model.clusters import ClusterSpec
from warren.model.errors import InvalidInput
from warren.state.cluster import ClusterState
from warren.state.commands import PutClusterSpec

CHANGEABLE = (
    "heartbeat_interval",
    "node_down_after",
    "task_history",
    "mesh_mtu",
    "dns_domain",
    "dns_forwarders",
    "drain_timeout",
)
"""All else is in every node's files and network, and fixed when the cluster is created."""
MESH_MTU_MIN, MESH_MTU_MAX = 1280, 9000
HEARTBEAT_MIN = timedelta(milliseconds=100)


class ClusterApi:
    """Handlers; the names are those of the RPCs."""

    def __init__(self, context: ManagerContext, ask_member: AskMember = ask_nobody) -> None:
        self._context = context
        self._ask_member = ask_member

    async def get_cluster(
        self, request: warren_pb2.GetClusterRequest, caller: Caller
    ) -> warren_pb2.ClusterView:
        state = await self._context.read(stale=request.stale)
        cluster_of(state)
        view = views.cluster_view(
            state,
            leader_id=self._context.leader_id(),
            reachable=self._context.reachable(),
            term=self._context.store.status.term,
            warren=warren.__version__,
        )
        if request.members:
            found = await members_of(self._context, self._ask_member)
            managers = (replace(each, member=found.get(each.node.id)) for each in view.managers)
            view = replace(view, managers=tuple(managers))
        answer: warren_pb2.ClusterView = convert.to_message(view)
        return answer

    async def apply_cluster(
        self, request: warren_pb2.ApplyClusterRequest, caller: Caller
    ) -> warren_pb2.ApplyClusterResponse:
        wish = Wish.of(request, caller)
        given = convert.from_message(request.spec, ClusterSpec)

        def decide(state: ClusterState, wish: Wish) -> Intent[warren_pb2.ApplyClusterResponse]:
            cluster = cluster_of(state)
            wish.require_version(cluster.version, f"cluster {cluster.spec.name}")
            after = specs.merge(cluster.spec, given, request.fields, path="cluster")
            _check(cluster.spec, after)
            edit = Edit(before=cluster.spec, after=after, version=cluster.version)
            expected = request.expected_version or cluster.version
            put = PutClusterSpec(spec=after, expected_version=expected)
            return Intent(
                command=put if edit.needed else None,
                version=edit.version,
                answer=lambda changed, _: warren_pb2.ApplyClusterResponse(
                    **edit_fields(edit, changed=changed)
                ),
                summary="cluster settings changed",
            )

        return await carry_out(self._context, wish, decide)


def _check(before: ClusterSpec, after: ClusterSpec) -> None:
    for change in specs.changes(before, after):
        if change.path not in CHANGEABLE:
            message = f"is {change.before} since the cluster was created, and cannot be changed"
            raise InvalidInput(message, path=f"cluster.{change.path}")
    if after.heartbeat_interval < HEARTBEAT_MIN:
        raise InvalidInput("must be at least 100ms", path="cluster.heartbeat_interval")
    if after.node_down_after < 2 * after.heartbeat_interval:
        message = "must be at least twice the heartbeat_interval"
        raise InvalidInput(message, path="cluster.node_down_after")
    if after.mesh_mtu and not MESH_MTU_MIN <= after.mesh_mtu <= MESH_MTU_MAX:
        message = f"{after.mesh_mtu} is neither 0 nor between {MESH_MTU_MIN} and {MESH_MTU_MAX}"
        raise InvalidInput(message, path="cluster.mesh_mtu")
    if not 0 <= after.task_history <= 100:
        raise InvalidInput(
            f"{after.task_history} is not between 0 and 100", path="cluster.task_history"
        )
