"""Control, nodes: Apply, Get, List, Delete.

A change of managers goes through the log's membership first, so that a node never counts without
being meant to. The leader hands over before it is demoted or removed; the call then goes on at the
next leader, which the router sees to.
"""

from datetime import timedelta

from warren.api import convert, warren_pb2
from warren.core import managers, specs, views
from warren.core.specs import Edit
from warren.manager.authorization import Caller
from warren.manager.changing import Intent, Wish, carry_out, edit_fields
from warren.manager.cluster import ManagerContext
from warren.model.errors import InvalidInput, LeaderMoved, NotFound
from warren.model.nodes import Node, NodeRole, NodeSpec
from warren.model.views import Change
from warren.state.cluster import ClusterState
from warren.state.commands import PutNodeSpec, RemoveNode

KEEPALIVE_MAX = timedelta(seconds=65535)
"""WireGuard counts it in 16 bits."""


class NodesApi:
    """Handlers; the names are those of the RPCs."""

    def __init__(self, context: ManagerContext) -> None:
        self._context = context

    async def apply_node(
        self, request: warren_pb2.ApplyNodeRequest, caller: Caller
    ) -> warren_pb2.ApplyNodeResponse:
        wish = Wish.of(request, caller)
        given = convert.from_message(request.spec, NodeSpec)

        def decide(state: ClusterState, wish: Wish) -> Intent[warren_pb2.ApplyNodeResponse]:
            node = _find(state, request.name)
            wish.require_version(node.version, f"node {node.spec.name}")
            after = specs.merge(node.spec, given, request.fields, path=node.spec.name)
            _check(node.spec, after)
            managers.check_roles(state, node, after, self._context.council())
            edit = Edit(before=node.spec, after=after, version=node.version)
            expected = request.expected_version or node.version
            put = PutNodeSpec(node_id=node.id, spec=after, expected_version=expected)
            return Intent(
                command=put if edit.needed else None,
                version=edit.version,
                answer=lambda changed, _: warren_pb2.ApplyNodeResponse(
                    **edit_fields(edit, changed=changed)
                ),
                summary=f"node {node.spec.name} changed ({_texts(edit.changes())})",
                prepare=lambda: self._demote(node, after),
            )

        if "roles" in request.fields and not _is_manager(given):
            await self._meet_without(request.name)
        return await carry_out(self._context, wish, decide)

    async def _meet_without(self, name: str) -> None:
        """Know who of the managers is there, before one of them may leave."""
        node = _found(self._context.store.state, name)
        if node is not None and _is_manager(node.spec):
            await self._context.wait_met(node.id)

    async def _demote(self, node: Node, after: NodeSpec) -> None:
        """In the log's membership, if the node is to be a manager no longer."""
        if _is_manager(node.spec) and not _is_manager(after):
            await self._hand_over_from(node)
            await self._context.store.demote_member(node.id)

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
        wish, now = Wish(caller=caller, dry_run=request.dry_run), self._context.now()

        def decide(state: ClusterState, _: Wish) -> Intent[warren_pb2.DeleteNodeResponse]:
            node = _found(state, request.name)
            if node is not None:
                managers.check_removal(state, node, self._context.council(), force=request.force)
            return Intent(
                command=RemoveNode(node_id=node.id, now=now) if node is not None else None,
                version=state.index,
                answer=lambda changed, _: warren_pb2.DeleteNodeResponse(changed=changed),
                summary=f"node {request.name} removed",
                prepare=lambda: self._leave_log(node),
            )

        await self._meet_without(request.name)
        return await carry_out(self._context, wish, decide)

    async def _leave_log(self, node: Node | None) -> None:
        if node is not None and _is_manager(node.spec):
            await self._hand_over_from(node)
            await self._context.store.remove_member(node.id)

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
    node = _found(state, name)
    if node is None:
        raise NotFound(f"there is no node {name}")
    return node


def _found(state: ClusterState, name: str) -> Node | None:
    """By name or id."""
    return state.node_named(name) or state.nodes.get(name)


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
