"""Whether nodes send traffic already as the log says: what `converged` also means, on the leader.

That a task is ready is in the log before the last node's rules have it. Who deploys a service and
asks it at once, through any node, is not to be refused by the slowest of them.
"""

import time
from collections.abc import Callable

from warren.core import nodes
from warren.manager.contacts import Contacts
from warren.model.nodes import Node
from warren.model.services import Service
from warren.state.cluster import ClusterState
from warren.store.watch import Watch


class Following:
    """Asked for views of services. A node that hangs is waited for as long as for a drain."""

    def __init__(self, contacts: Contacts, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._contacts = contacts
        self._monotonic = monotonic

    def seen(self) -> tuple[Watch[str], int]:
        """For `wait_any_newer`: nodes have followed further."""
        return self._contacts.progress, self._contacts.progress.count

    def behind(self, state: ClusterState, service: Service) -> tuple[Node, ...]:
        """Nodes that are there and whose rules are not as the service's tasks are, by name."""
        tasks = state.tasks_of(service.spec.name) if service.spec.ports else ()
        index = max((task.version for task in tasks), default=0)
        key = (service.spec.name, service.created_at)
        late = tuple(nodes.behind(state, index, self._contacts.carried()))
        if not late:
            self._contacts.late_since.pop(key, None)
            return ()
        since = self._contacts.late_since.setdefault(key, self._monotonic())
        assert state.cluster is not None, "there is a service"
        if self._monotonic() - since >= state.cluster.spec.drain_timeout.total_seconds():
            return ()
        return tuple(sorted(late, key=lambda node: node.spec.name))
