"""Control, nodes: Apply, Get, List, Delete.

A change of managers goes through the log's membership first, so that a node never counts without
being meant to. The leader hands over before it is demoted or removed; the call then goes on at the
next leader, which the router sees to.
"""

import logging
from datetime import timedelta

from warren.api import convert, warren_pb2
from warren.core import managers, specs, views
from warren.manager.authorization import Caller
from warren.manager.cluster import ManagerContext
from warren.model.errors import Conflict, InvalidInput, LeaderMoved, NotFound
from warren.model.nodes import Node, NodeRole, NodeSpec
from warren.model.views import Change
from warren.state.cluster import ClusterState
from warren.state.commands import PutNodeSpec, RemoveNode

logger = logging.getLogger(__name__)

ATTEMPTS = 3
KEEPALIVE_MAX = timedelta(seconds=65535)
"""WireGuard counts it in 16 bits."""


class NodesApi:
    """Handlers; the names are those of the RPCs."""

    def __init__(self, context: ManagerContext) -> None:
        self._context = context

    async def apply_node(
        self, request: warren_pb2.ApplyNodeRequest, caller: Caller
    ) -> warren_pb2.ApplyNodeResponse:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._apply(request, caller, attempt)
            except Conflict:
                if request.expected_version or attempt == ATTEMPTS:
                    raise
        raise AssertionError("the last attempt answers or raises")

    async def _apply(
        self, request: warren_pb2.ApplyNodeRequest, caller: Caller, attempt: int
    ) -> warren_pb2.ApplyNodeResponse:
        state = await self._context.store.barrier()
        node = _find(state, request.name)
        if request.expected_version and request.expected_version != node.version:
            message = f"version {node.version}, not {request.expected_version}"
            raise Conflict(f"node {node.spec.name} was changed: {message}")
        given = convert.from_message(request.spec, NodeSpec)
        after = specs.merge(node.spec, given, request.fields, path=node.spec.name)
        _check(node.spec, after)
        managers.check_roles(state, node, after, self._context.council())
        changes = specs.changes(node.spec, after)
        if after != node.spec and not request.dry_run:
            if _is_manager(node.spec) and not _is_manager(after):
                await self._hand_over_from(node)
                await self._context.store.demote_member(node.id)
            put = PutNodeSpec(node_id=node.id, spec=after, expected_version=node.version)
            await self._context.store.commit(put, key=caller.key(attempt))
            logger.info("node %s changed by %s: %s", node.spec.name, caller.name, _texts(changes))
        return warren_pb2.ApplyNodeResponse(
            changed=after != node.spec,
            before=convert.to_message(node.spec),
            after=convert.to_message(after),
            changes=[convert.to_message(change) for change in changes],
        )

    async def get_node(
        self, request: warren_pb2.GetNodeRequest, caller: Caller
    ) -> warren_pb2.NodeView:
        state = await self._context.read(stale=request.stale)
        return self._view(state, _find(state, request.name))

    async def list_nodes(
        self, request: warren_pb2.ListNodesRequest, caller: Caller
    ) -> warren_pb2.ListNodesResponse:
        state = await self._context.read(stale=request.stale)
        nodes = sorted(state.nodes.values(), key=lambda node: node.spec.name)
        return warren_pb2.ListNodesResponse(nodes=[self._view(state, node) for node in nodes])

    async def delete_node(
        self, request: warren_pb2.DeleteNodeRequest, caller: Caller
    ) -> warren_pb2.DeleteNodeResponse:
        """A node that is there is removed only by force. One that is not a node: nothing to do."""
        state = await self._context.store.barrier()
        try:
            node = _find(state, request.name)
        except NotFound:
            return warren_pb2.DeleteNodeResponse(changed=caller.attempt > 1)
        managers.check_removal(state, node, self._context.council(), force=request.force)
        if not request.dry_run:
            await self._remove(node, caller)
            logger.info("node %s removed by %s", node.spec.name, caller.name)
        return warren_pb2.DeleteNodeResponse(changed=True)

    async def _remove(self, node: Node, caller: Caller) -> None:
        if _is_manager(node.spec):
            await self._hand_over_from(node)
            await self._context.store.remove_member(node.id)
        remove = RemoveNode(node_id=node.id, now=self._context.now())
        await self._context.store.commit(remove, key=caller.key())

    async def _hand_over_from(self, node: Node) -> None:
        """LeaderMoved when the node led: the next leader goes on with the call."""
        if node.id != self._context.membership.node_id or not self._context.leads():
            return
        await self._context.store.transfer_leadership()
        raise LeaderMoved(f"{node.spec.name} has handed the lead over: ask again")

    def _view(self, state: ClusterState, node: Node) -> warren_pb2.NodeView:
        view: warren_pb2.NodeView = convert.to_message(
            views.node_view(
                state,
                node,
                leader_id=self._context.leader_id(),
                reachable=self._context.reachable(),
            )
        )
        return view


def _find(state: ClusterState, name: str) -> Node:
    """By name or id."""
    node = state.node_named(name) or state.nodes.get(name)
    if node is None:
        raise NotFound(f"there is no node {name}")
    return node


def _check(before: NodeSpec, after: NodeSpec) -> None:
    if before.name != after.name:
        message = "is fixed when a node joins: remove the node and let it join again"
        raise InvalidInput(message, path=f"{before.name}.name")
    if not after.roles:
        raise InvalidInput("must name manager, worker, or both", path=f"{before.name}.roles")
    keepalive = after.mesh_keepalive
    if keepalive % timedelta(seconds=1) or keepalive > KEEPALIVE_MAX:
        message = "must be whole seconds, at most 65535"
        raise InvalidInput(message, path=f"{before.name}.mesh_keepalive")


def _is_manager(spec: NodeSpec) -> bool:
    return NodeRole.MANAGER in spec.roles


def _texts(changes: tuple[Change, ...]) -> str:
    return ", ".join(f"{change.path} = {change.after}" for change in changes)
