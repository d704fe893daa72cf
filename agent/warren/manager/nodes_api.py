"""Control, nodes: Apply, Get, List, Delete."""

import logging

from warren.api import convert, warren_pb2
from warren.core import specs, views
from warren.manager.authorization import Caller
from warren.manager.cluster import ManagerContext
from warren.model.errors import Conflict, FailedPrecondition, InvalidInput, NotFound
from warren.model.nodes import Node, NodeRole, NodeSpec, NodeState
from warren.model.views import Change
from warren.state.cluster import ClusterState
from warren.state.commands import PutNodeSpec, RemoveNode

logger = logging.getLogger(__name__)

ATTEMPTS = 3
FIXED = ("name", "roles")
"""A node has them for life: its certificate says so."""


class NodesApi:
    """Handlers; the names are those of the RPCs."""

    def __init__(self, context: ManagerContext) -> None:
        self._context = context

    async def apply_node(
        self, request: warren_pb2.ApplyNodeRequest, caller: Caller
    ) -> warren_pb2.ApplyNodeResponse:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._apply(request, caller)
            except Conflict:
                if request.expected_version or attempt == ATTEMPTS:
                    raise
        raise AssertionError("the last attempt answers or raises")

    async def _apply(
        self, request: warren_pb2.ApplyNodeRequest, caller: Caller
    ) -> warren_pb2.ApplyNodeResponse:
        node = _find(await self._context.store.barrier(), request.name)
        if request.expected_version and request.expected_version != node.version:
            message = f"version {node.version}, not {request.expected_version}"
            raise Conflict(f"node {node.spec.name} was changed: {message}")
        given = convert.from_message(request.spec, NodeSpec)
        after = specs.merge(node.spec, given, request.fields, path=node.spec.name)
        _check(node.spec, after)
        changes = specs.changes(node.spec, after)
        if after != node.spec and not request.dry_run:
            put = PutNodeSpec(node_id=node.id, spec=after, expected_version=node.version)
            await self._context.store.commit(put)
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
        state = await self._context.store.barrier()
        return self._view(state, _find(state, request.name))

    async def list_nodes(
        self, request: warren_pb2.ListNodesRequest, caller: Caller
    ) -> warren_pb2.ListNodesResponse:
        state = await self._context.store.barrier()
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
            return warren_pb2.DeleteNodeResponse(changed=False)
        self._check_removal(state, node, force=request.force)
        if not request.dry_run:
            await self._remove(state, node)
            logger.info("node %s removed by %s", node.spec.name, caller.name)
        return warren_pb2.DeleteNodeResponse(changed=True)

    def _check_removal(self, state: ClusterState, node: Node, *, force: bool) -> None:
        name = node.spec.name
        if node.id == self._context.leader_id():
            raise FailedPrecondition(f"{name} leads: restart its manager, then remove it")
        if NodeRole.MANAGER in node.spec.roles and len(state.managers()) == 1:
            raise FailedPrecondition(f"{name} is the only manager")
        if node.status.state is NodeState.READY and not force:
            raise FailedPrecondition(f"{name} is ready: stop its daemons first, or use force")

    async def _remove(self, state: ClusterState, node: Node) -> None:
        if NodeRole.MANAGER in node.spec.roles:
            await self._context.store.remove_member(node.id)
        await self._context.store.commit(RemoveNode(node_id=node.id, now=self._context.now()))

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
    for field in FIXED:
        if getattr(before, field) != getattr(after, field):
            message = "is fixed when a node joins: remove the node and let it join again"
            raise InvalidInput(message, path=f"{before.name}.{field}")


def _texts(changes: tuple[Change, ...]) -> str:
    return ", ".join(f"{change.path} = {change.after}" for change in changes)
