"""What workers are told, as bytes: encoded once, however many nodes are told the same.

Joined encodings of two messages are the encoding of both merged: so the part that all nodes share,
how services are reached, is encoded once per change and joined with each node's own. For whole
assignments the encoding of every service is kept, and made anew only for those that changed.
"""

from collections.abc import Mapping
from dataclasses import replace

from warren.api import convert, warren_pb2
from warren.core import assignment
from warren.core.assignment import Assignments
from warren.model.assignments import AssignmentDelta, ServiceTraffic
from warren.state import maps
from warren.state.cluster import ClusterState


class Telling:
    """Of the newest state. Kept by the dispatcher for all of its sessions."""

    def __init__(self) -> None:
        self._newest: Assignments | None = None
        self._pieces: dict[str, bytes] = {}
        self._encoded: Mapping[str, ServiceTraffic] = {}
        self._services = b""
        """All pieces, in which `_encoded` is encoded."""
        self._deltas: dict[int, tuple[Assignments, bytes]] = {}
        """From what was told before to the newest: the part that all nodes share."""

    def newest(self, state: ClusterState) -> Assignments:
        """The assignments of a state."""
        if self._newest is None:
            self._newest = assignment.begin(state)
        elif self._newest.state is not state:
            self._newest = assignment.advance(self._newest, state)
            self._deltas.clear()
        return self._newest

    def message(
        self, told: Assignments | None, newest: Assignments, node_id: str, *, base: int
    ) -> bytes | None:
        """What brings a node from what it was told to the newest; None if that is the same.

        `base` is the index of the last message, which may be older than `told` if nothing that
        came after it concerned the node. NotFound if the cluster has no such node.
        """
        if told is None or assignment.needs_whole(told, newest, node_id):
            return self._whole(newest, node_id)
        shared = self._shared(told, newest)
        own = assignment.node_delta(told, newest, node_id)
        if not shared and assignment.says_nothing(own):
            return None
        return _delta(replace(own, base=base)) + shared

    def _whole(self, newest: Assignments, node_id: str) -> bytes:
        own = replace(newest.of(node_id), services={})
        message = warren_pb2.ManagerMessage(assignment=convert.to_message(own))
        return message.SerializeToString() + self._all_services(newest.services)

    def _shared(self, told: Assignments, newest: Assignments) -> bytes:
        """Most sessions were told the same, so that this is worked out once for them."""
        known = self._deltas.get(told.index)
        if known is None or known[0] is not told:
            delta = assignment.services_delta(told, newest)
            data = b"" if assignment.says_nothing(delta) else _delta(delta)
            known = self._deltas[told.index] = (told, data)
        return known[1]

    def _all_services(self, services: Mapping[str, ServiceTraffic]) -> bytes:
        if services is not self._encoded:
            for name in maps.changed_keys(self._encoded, services):
                traffic = services.get(name)
                if traffic is None:
                    del self._pieces[name]
                else:
                    self._pieces[name] = _piece(traffic)
            self._services = b"".join(self._pieces.values())
            self._encoded = services
        return self._services


def _piece(traffic: ServiceTraffic) -> bytes:
    """An assignment that has one service and nothing else."""
    services = {traffic.name: convert.to_message(traffic)}
    message = warren_pb2.ManagerMessage(assignment=warren_pb2.Assignment(services=services))
    return message.SerializeToString()


def _delta(delta: AssignmentDelta) -> bytes:
    return warren_pb2.ManagerMessage(delta=convert.to_message(delta)).SerializeToString()
