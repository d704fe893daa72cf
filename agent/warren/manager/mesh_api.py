"""Control, the mesh: MeasureMesh, RotateKeys."""

import asyncio
import logging
from dataclasses import replace
from datetime import timedelta

from warren.api import convert, warren_pb2
from warren.core import mesh
from warren.manager.authorization import Caller
from warren.manager.cluster import ManagerContext, cluster_of
from warren.manager.sessions import Sessions
from warren.model.errors import NotFound, WarrenError
from warren.model.nodes import Node
from warren.model.views import MeshLink, MeshNodeView, MeshView
from warren.state.cluster import ClusterState
from warren.state.commands import Batch, RequestKeyRotation

logger = logging.getLogger(__name__)

MEASURE_TIMEOUT = timedelta(seconds=8)
"""For all nodes together: they measure at once."""


class MeshApi:
    """Handlers; the names are those of the RPCs."""

    def __init__(self, context: ManagerContext, sessions: Sessions) -> None:
        self._context = context
        self._sessions = sessions

    async def measure_mesh(
        self, request: warren_pb2.MeasureMeshRequest, caller: Caller
    ) -> warren_pb2.MeshView:
        """What a node cannot say is said for it: links from it that nobody measured are not there,
        and its trouble tells why."""
        state = await self._context.store.barrier()
        spec = cluster_of(state).spec
        nodes = sorted(state.nodes.values(), key=lambda node: node.spec.name)
        found = await asyncio.gather(*(self._measure(state, node) for node in nodes))
        view = MeshView(
            mtu=mesh.mtu(spec, nodes),
            nodes=tuple(
                _node_view(node, trouble) for node, (_, trouble) in zip(nodes, found, strict=True)
            ),
            links=tuple(link for links, _ in found for link in links),
        )
        message: warren_pb2.MeshView = convert.to_message(view)
        return message

    async def rotate_keys(
        self, request: warren_pb2.RotateKeysRequest, caller: Caller
    ) -> warren_pb2.RotateKeysResponse:
        """Asks only; the cluster does it, one node after another. Under way already: not asked
        again, but named."""
        state = await self._context.store.barrier()
        cluster_of(state)
        older_than, now = request.older_than.ToTimedelta(), self._context.now()
        nodes = [_find(state, name) for name in request.names] or list(state.nodes.values())
        chosen = [node for node in nodes if mesh.wants_new_key(node, older_than, now)]
        commands = tuple(
            RequestKeyRotation(node_id=node.id) for node in chosen if not node.mesh.rotating
        )
        if commands and not request.dry_run:
            await self._context.store.commit(Batch(commands=commands), key=caller.key())
            logger.info("%s asked for %d new mesh keys", caller.name, len(commands))
        return warren_pb2.RotateKeysResponse(names=sorted({node.spec.name for node in chosen}))

    async def _measure(self, state: ClusterState, node: Node) -> tuple[tuple[MeshLink, ...], str]:
        """The links from a node, and why there are none. Only links between nodes of the state:
        the worker may have been told of another."""
        session = self._sessions.get(node.id)
        if session is None:
            return (), "its worker is not connected"
        try:
            answer = await session.measure(MEASURE_TIMEOUT)
            links = [convert.from_message(link, MeshLink) for link in answer]
        except WarrenError as error:
            return (), str(error)
        names = {other.spec.name for other in state.nodes.values() if other.id != node.id}
        own = [replace(link, source=node.spec.name) for link in links if link.target in names]
        return tuple(sorted(own, key=lambda link: link.target)), ""


def _node_view(node: Node, trouble: str) -> MeshNodeView:
    return MeshNodeView(
        name=node.spec.name,
        mesh=node.mesh,
        state=node.status.state,
        mtu=node.description.mtu,
        trouble=trouble,
    )


def _find(state: ClusterState, name: str) -> Node:
    node = state.node_named(name) or state.nodes.get(name)
    if node is None:
        raise NotFound(f"there is no node {name}")
    return node
