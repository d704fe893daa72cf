"""What workers say of their mesh keys, and where they come from, on its way into the log.

A worker says it in its Hello and whenever it has a new key; this turns it into the commands that a
rotation needs next. What the state knows already becomes nothing, so everything may be said twice.
"""

import logging
from collections.abc import Iterable
from datetime import datetime
from ipaddress import ip_address

from warren.model.nodes import Node
from warren.state.commands import (
    Command,
    FinishKeyRotation,
    OfferNodeKey,
    SetNodePublicKey,
    SetNodeSeenAddress,
)

logger = logging.getLogger(__name__)


def commands_for(
    node: Node, *, public_key: str, next_public_key: str, endpoint: str, now: datetime
) -> list[Command]:
    """What the state does not know of the node's keys. What is empty was not said."""
    mesh = node.mesh
    key, endpoint = public_key or mesh.public_key, endpoint or mesh.endpoint
    commands: list[Command] = []
    has_switched = key == mesh.next_public_key and mesh.switching
    if has_switched:
        commands.append(FinishKeyRotation(node_id=node.id, public_key=key, now=now))
    if (key, endpoint) != (
        mesh.next_public_key if has_switched else mesh.public_key,
        mesh.endpoint,
    ):
        commands.append(SetNodePublicKey(node_id=node.id, public_key=key, endpoint=endpoint))
    if mesh.rotating and next_public_key and next_public_key != mesh.next_public_key:
        commands.append(OfferNodeKey(node_id=node.id, public_key=next_public_key))
    return commands


def seen(node: Node, peer: str) -> Iterable[Command]:
    """News of where a worker's session comes from; `peer` as gRPC gives it: `ipv4:10.0.0.1:4711`.

    A manager's own worker, and one that comes through the mesh, say nothing of the way from
    outside.
    """
    kind, _, rest = peer.partition(":")
    host = rest.rpartition(":")[0]
    try:
        address = ip_address(host)
    except ValueError:
        return ()
    if kind != "ipv4" or address.is_loopback or host == node.mesh.address:
        return ()
    return (
        ()
        if host == node.mesh.seen_address
        else (SetNodeSeenAddress(node_id=node.id, address=host),)
    )
