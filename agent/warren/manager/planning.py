"""Where plans are made: a short one at once, a long one aside, so that workers are heard meanwhile.

A plan costs what its own service has, however many others there are; for the few milliseconds that
most take, a thread is not worth it. Long ones are made one at a time, because each of them takes
the interpreter from the log's thread: eight at once kept it from its heartbeats.
"""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from warren.model.services import ServiceSpec
from warren.state.cluster import ClusterState

T = TypeVar("T")

LONG = 100
"""Tasks of a service whose plan takes tens of milliseconds."""


class Planning:
    """One per manager."""

    def __init__(self) -> None:
        self._one = asyncio.Lock()

    async def make(self, plan: Callable[[], T], tasks: int) -> T:
        """What `plan` answers about a service that has, or is to have, so many tasks."""
        if tasks < LONG:
            return plan()
        async with self._one:
            return await asyncio.to_thread(plan)


def tasks_of(state: ClusterState, spec: ServiceSpec) -> int:
    """How many the service has, or may have once it is as its spec says."""
    wanted = len(state.nodes) if spec.is_global else spec.replicas
    return max(wanted, len(state.tasks_of(spec.name)))
