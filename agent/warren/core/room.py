"""Whether nodes have room for tasks of a service: now, beside what runs, or once something stops.

Read by the orchestrator, by rollouts, which check before a whole set starts, and by plans.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from warren.core import filters
from warren.core.filters import NodeUsage
from warren.core.loads import millicpus
from warren.core.slots import Slot
from warren.model.services import Port, Service, TaskTemplate, template_of
from warren.model.tasks import Task, TaskState, TaskStatus
from warren.model.units import format_bytes_short
from warren.state.cluster import ClusterState


@dataclass(frozen=True, kw_only=True)
class Room:
    """The nodes of a state as one service's current revision sees them. Worked out when asked."""

    state: ClusterState
    service: Service

    @property
    def exclusive(self) -> bool:
        """Tasks of the service shut each other out of their nodes."""
        return bool(self._exclusive)

    @cached_property
    def free(self) -> bool:
        """A node could take one more task, at the latest when all stops are done; of a global
        service, every node that is a slot could."""
        suited = any if not self.service.spec.is_global else all
        return suited(filters.passes_all(self._needs, usage) for usage in self._suitable)

    def free_for(self, slot: Slot) -> bool:
        """The same for a task of that slot."""
        if not slot.node:
            return self.free
        usage = self._named.get(slot.node)
        return usage is not None and filters.passes_all(self._needs, usage)

    def frees(self, old: Task) -> bool:
        """The new task can only have its place once the old one has left it.

        So it is with a host port, or max_per_node, when every suitable node holds a task of the
        service: start-first would wait for ever. A lack of memory or cpus is different: room may
        come, and the running task is worth more than the new one, so there the rollout waits and
        says why. Tasks that are stopping do not count: what they hold is about to be free.
        """
        if not self._exclusive:
            return False
        before = self._usage.get(old.node_id)
        if before is None:
            return False
        if filters.passes_all(self._needs, before) if old.node else self.free:
            return False
        if filters.passes_all(self._exclusive, before):
            return False
        return filters.passes_all(self._needs, before.without(old, self._ports))

    def missing(self, count: int) -> int:
        """Of so many new tasks beside all that lives, how many find no place now; of a global
        service, of one on each of its nodes."""
        if self.service.spec.is_global:
            return len(self._full())
        usage = filters.usage(self.state, (self.service.spec.name,))
        changing = (*self._exclusive, *filters.resource_filters(self._template))
        suitable = [u for u in usage if filters.passes_all(self._static, u)]
        task = _a_task(self.service)
        for node in suitable:
            while count and filters.passes_all(changing, node):
                node.add(task, self._ports)
                count -= 1
        return count

    def why_not(self, beside: int = 0) -> str:
        """Why no node takes one more, after `beside` others; of a global service, why one of its
        nodes does not."""
        if self.service.spec.is_global:
            full = self._full()
            return filters.explain_one(self._needs, full[0]) if full else ""
        usage = filters.usage(self.state, (self.service.spec.name,))
        task = _a_task(self.service)
        for node in usage:
            while beside and filters.passes_all(self._needs, node):
                node.add(task, self._ports)
                beside -= 1
        if any(filters.passes_all(self._needs, node) for node in usage):
            return ""
        return filters.explain(self._needs, usage)

    def text(self, *, enough: bool) -> str:
        """`cpus 2.1 of 4, memory 1.2 GiB of 6 GiB free on 4 nodes: enough`."""
        usage = filters.usage(self.state, (self.service.spec.name,))
        nodes = [node for node in usage if filters.passes_all(self._static, node)]
        if not nodes:
            return "no node takes its tasks: not enough"
        cpus = sum(millicpus(each.node.description.cpus) for each in nodes)
        free_cpus = cpus - sum(each.millicpus for each in nodes)
        memory = sum(each.node.description.memory for each in nodes)
        free_memory = max(0, memory - sum(each.memory for each in nodes))
        on = f"{len(nodes)} {'node' if len(nodes) == 1 else 'nodes'}"
        amounts = (
            f"cpus {free_cpus / 1000:.3g} of {cpus / 1000:.3g}, memory "
            f"{format_bytes_short(free_memory)} of {format_bytes_short(memory)} free on {on}"
        )
        return f"{amounts}: {'enough' if enough else 'not enough'}"

    def _full(self) -> list[NodeUsage]:
        """Nodes that take its tasks, and have no place for one more now, by name."""
        usage = filters.usage(self.state, (self.service.spec.name,))
        suitable = (node for node in usage if filters.passes_all(self._static, node))
        return [node for node in suitable if not filters.passes_all(self._needs, node)]

    @cached_property
    def _template(self) -> TaskTemplate:
        return template_of(self.service.spec)

    @cached_property
    def _ports(self) -> Sequence[Port]:
        return self.service.spec.ports

    @cached_property
    def _static(self) -> tuple[filters.Filter, ...]:
        return filters.static_filters(self._template)

    @cached_property
    def _needs(self) -> tuple[filters.Filter, ...]:
        return filters.filters_for(self.service.spec.name, self._template, self._ports)

    @cached_property
    def _exclusive(self) -> tuple[filters.Filter, ...]:
        return filters.exclusive_filters(self.service.spec.name, self._template, self._ports)

    @cached_property
    def _usage(self) -> dict[str, NodeUsage]:
        """Of wanted tasks that have their place, by node id."""
        usage = filters.usage(self.state, (self.service.spec.name,), stopping=False)
        return {each.node.id: each for each in usage}

    @cached_property
    def _suitable(self) -> Sequence[NodeUsage]:
        """Of a global service only the nodes that take its tasks."""
        every = self._usage.values()
        if not self.service.spec.is_global:
            return tuple(every)
        return [usage for usage in every if filters.passes_all(self._static, usage)]

    @cached_property
    def _named(self) -> dict[str, NodeUsage]:
        return {usage.node.spec.name: usage for usage in self._usage.values()}


def _a_task(service: Service) -> Task:
    """Such as the orchestrator would create, with a place."""
    return Task(
        id="",
        service=service.spec.name,
        slot=0,
        revision=service.revision,
        template=template_of(service.spec),
        created_at=service.updated_at,
        status=TaskStatus(state=TaskState.ASSIGNED, since=service.updated_at),
    )
