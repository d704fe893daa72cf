"""The mesh as the leader sees it: its peers, how large packets may be, and whose key is next.

Called by `assignment.py` for what nodes are told, and by `reconcile.py` for the steps of a key
rotation. The laws of a rotation:
 - a node switches only when every node that is there knows its next key: none would take it for a
   stranger;
 - one node switches at a time, with a pause after it: whatever goes wrong concerns one node.
All that a rotation knows is in the state, so a new leader goes on where the old one was.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from warren.core.decisions import Decision
from warren.model.assignments import Peer
from warren.model.clusters import ClusterSpec
from warren.model.nodes import Node, NodeState
from warren.state.cluster import ClusterState
from warren.state.commands import AllowKeySwitch

PAUSE = timedelta(seconds=2)
"""Between two switches. A node that has switched waits for each peer's first word under the new
key; a peer that switched, too, before it came would have to wait likewise, and packets be lost."""
MTU_MIN, MTU_MAX = 1280, 1420
"""What IPv6 demands of every path, and what a tunnel over Ethernet leaves."""


def mtu(spec: ClusterSpec, nodes: Iterable[Node]) -> int:
    """Of the whole mesh; 0 if nobody has said what its underlay leaves.

    The smallest counts, also a node's that is down: packets of a size that one path drops vanish
    without a word, and only between some nodes.
    """
    if spec.mesh_mtu:
        return spec.mesh_mtu
    known = [node.description.mtu for node in nodes if node.description.mtu]
    return max(MTU_MIN, min(MTU_MAX, *known)) if known else 0


def peer(node: Node) -> Peer:
    """The node as others know it."""
    mesh = node.mesh
    host, _, port = mesh.endpoint.rpartition(":")
    seen = mesh.seen_address
    return Peer(
        node_id=node.id,
        name=node.spec.name,
        public_key=mesh.public_key,
        endpoint=mesh.endpoint,
        address=mesh.address,
        subnet=mesh.subnet,
        next_public_key=mesh.next_public_key,
        switching=mesh.switching,
        seen_endpoint=f"{seen}:{port}" if seen and seen != host else "",
    )


def decide(state: ClusterState, now: datetime, carried: Mapping[str, int]) -> Decision:
    """The next node that may switch to its next key, if one may.

    `carried`: up to which index each node has followed what it was told, by node id.
    """
    nodes = sorted(state.nodes.values(), key=lambda node: node.spec.name)
    if any(node.mesh.switching and node.status.state is not NodeState.DOWN for node in nodes):
        return Decision()
    offered = frozenset(n.mesh.offered_index for n in nodes if n.mesh.next_public_key)
    switched = [node.mesh.key_since for node in nodes if node.mesh.key_since is not None]
    quiet_at = max(switched) + PAUSE if switched else now
    for node in nodes:
        if _may_switch(node, nodes, carried):
            if now < quiet_at:
                return Decision(wake_at=quiet_at)
            command = AllowKeySwitch(node_id=node.id, public_key=node.mesh.next_public_key)
            return Decision(commands=(command,))
    return Decision(awaits=offered)


def wants_new_key(node: Node, older_than: timedelta, now: datetime) -> bool:
    """Whether a rotation asked for at `now` concerns the node. One under way counts."""
    since = node.mesh.key_since or node.joined_at
    return node.mesh.rotating or now - since >= older_than


def _may_switch(node: Node, nodes: Iterable[Node], carried: Mapping[str, int]) -> bool:
    """A node that is down learns of the key with its first assignment after it came back."""
    mesh = node.mesh
    if not mesh.next_public_key or mesh.switching or node.status.state is not NodeState.READY:
        return False
    return all(
        carried.get(other.id, 0) >= mesh.offered_index
        for other in nodes
        if other.id != node.id and other.status.state is NodeState.READY
    )
