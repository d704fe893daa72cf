"""Filters: each says whether a node can take a task, and explains itself when none can.

Used by the scheduler to place, by the orchestrator to see whether a replacement can start first.
A node is counted under the first filter that refuses it, so the counts of an explanation add up.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol as TypingProtocol

from warren.core import loads, volume_filters
from warren.core.filter_texts import counted
from warren.core.loads import HostPort, Load, host_ports, millicpus
from warren.model import units
from warren.model.nodes import Availability, Node, NodeRole, NodeState
from warren.model.services import Port, TaskTemplate
from warren.model.tasks import DesiredState, Task
from warren.state import mounts
from warren.state.cluster import ClusterState

_NOTHING = Load()
_NOWHERE: loads.Spread = {}
_SAME_ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(slots=True, kw_only=True)
class NodeUsage:
    """A node and what is set aside on it. Made afresh for each decision, and never kept."""

    node: Node
    tasks: int = 0
    """Wanted tasks. Those that are stopping have a say in what is free, not in what is even."""
    memory: int = 0
    millicpus: int = 0
    """In thousandths, because sums of fractions like 0.1 are not exact."""
    host_ports: dict[HostPort, int] = field(default_factory=dict)
    of_service: dict[str, int] = field(default_factory=dict)
    """Tasks that live on the node, stopping ones too, of the services that are asked about."""
    wanted: dict[str, int] = field(default_factory=dict)
    """Wanted tasks, of the same services."""
    wanted_of_revision: dict[tuple[str, int], int] = field(default_factory=dict)
    """Wanted tasks, by service and revision, of the same services."""
    writers: dict[str, int] = field(default_factory=dict)
    """Tasks that may write to volumes, by volume, on all nodes: the same object on each, so that
    what is counted on one is known on all."""

    def add(self, task: Task, ports: Sequence[Port]) -> None:
        """Count a task that is about to live on the node."""
        self._reserve(task, ports, 1)
        self.count(task.service, task.revision, 1, wanted=task.desired is DesiredState.RUNNING)

    def without(self, task: Task, ports: Sequence[Port]) -> "NodeUsage":
        """As if a wanted task that is counted were gone."""
        left = replace(
            self,
            host_ports=dict(self.host_ports),
            of_service=dict(self.of_service),
            wanted=dict(self.wanted),
            wanted_of_revision=dict(self.wanted_of_revision),
            writers=dict(self.writers),
        )
        left._reserve(task, ports, -1)
        left.count(task.service, task.revision, -1, wanted=task.desired is DesiredState.RUNNING)
        return left

    def _reserve(self, task: Task, ports: Sequence[Port], sign: int) -> None:
        reserved = task.template.resources.reservations
        self.memory += sign * reserved.memory
        self.millicpus += sign * millicpus(reserved.cpus)
        for port in host_ports(ports) if ports else ():
            self.host_ports[port] = self.host_ports.get(port, 0) + sign
        self.tasks += sign * task.wanted
        if task.template.mounts:
            for name in mounts.written(task.template):
                self.writers[name] = self.writers.get(name, 0) + sign

    def count(self, name: str, revision: int, tasks: int, *, wanted: bool) -> None:
        """Count tasks that live, of a service that is asked about, whose share the node has
        already."""
        self.of_service[name] = self.of_service.get(name, 0) + tasks
        if wanted:
            key = name, revision
            self.wanted[name] = self.wanted.get(name, 0) + tasks
            self.wanted_of_revision[key] = self.wanted_of_revision.get(key, 0) + tasks


def usage(
    state: ClusterState, services: Iterable[str], *, stopping: bool = True
) -> tuple[NodeUsage, ...]:
    """Every node, by name, with what all tasks use of it, and how many it has of some services.
    Ended and unplaced tasks use nothing; `stopping`: those that are not wanted any more do."""
    known = loads.of(state)
    held = known.living if stopping else known.wanted
    by_node: dict[str, NodeUsage] = {}
    writers = {
        name: sum(goes_on or stopping for goes_on in tasks.values())
        for name, tasks in known.writers.items()
    }
    for node in sorted(state.nodes.values(), key=lambda node: node.spec.name):
        load = held.get(node.id, _NOTHING)
        by_node[node.id] = NodeUsage(
            node=node,
            tasks=known.wanted.get(node.id, _NOTHING).tasks,
            memory=load.memory,
            millicpus=load.millicpus,
            host_ports=dict(load.host_ports),
            writers=writers,
        )
    for name in services:
        for (node_id, revision, wanted), count in known.spread.get(name, _NOWHERE).items():
            on = by_node.get(node_id)
            if on is not None and (wanted or stopping):
                on.count(name, revision, count, wanted=wanted)
    return tuple(by_node.values())


class Filter(TypingProtocol):
    """One reason for which a node may be refused."""

    def passes(self, usage: NodeUsage) -> bool:
        """The node may take the task, as far as this filter is concerned."""

    def explain(self, count: int, total: int) -> str:
        """What refused `count` of `total` nodes: a sentence if all, else a part of one."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The node's worker is heard."""

    def passes(self, usage: NodeUsage) -> bool:
        return usage.node.status.state is NodeState.READY

    def explain(self, count: int, total: int) -> str:
        return counted(count, total, "no node is ready", ("is not ready", "are not ready"))


@dataclass(frozen=True, slots=True)
class Available:
    """The node is not in `refused`, which is DRAIN or PAUSE."""

    refused: Availability

    def passes(self, usage: NodeUsage) -> bool:
        return usage.node.spec.availability is not self.refused

    def explain(self, count: int, total: int) -> str:
        word = {Availability.DRAIN: "draining", Availability.PAUSE: "paused"}[self.refused]
        return counted(count, total, f"every node is {word}", (f"is {word}", f"are {word}"))


@dataclass(frozen=True, slots=True)
class Worker:
    """The node has the role that runs tasks."""

    def passes(self, usage: NodeUsage) -> bool:
        return NodeRole.WORKER in usage.node.spec.roles

    def explain(self, count: int, total: int) -> str:
        return counted(count, total, "no node is a worker", ("is no worker", "are no workers"))


@dataclass(frozen=True, slots=True)
class Constraint:
    """`node.labels.zone == north`: see `parse_constraint`."""

    text: str
    left: str
    equal: bool
    value: str

    def passes(self, usage: NodeUsage) -> bool:
        return (self.value in self._actual(usage.node)) is self.equal

    def _actual(self, node: Node) -> tuple[str, ...]:
        """What stands on the left side for this node; more than one for roles."""
        match self.left:
            case "node.name":
                return (node.spec.name,)
            case "node.role":
                return tuple(role.value for role in node.spec.roles)
            case "node.arch":
                architecture = node.description.architecture
                return (architecture, _SAME_ARCHITECTURE.get(architecture, architecture))
            case _:
                label = node.spec.labels.get(self.left.removeprefix("node.labels."))
                return () if label is None else (label,)

    def explain(self, count: int, total: int) -> str:
        part = (f"does not meet {self.text}", f"do not meet {self.text}")
        return counted(count, total, f"no node meets {self.text}", part)


_CONSTRAINT = re.compile(
    r"(node\.name|node\.role|node\.arch|node\.labels\.[^\s=!]+)\s*(==|!=)\s*(\S.*)"
)


def parse_constraint(text: str) -> Constraint:
    """ValueError says what is accepted."""
    match = _CONSTRAINT.fullmatch(text.strip())
    if match is None:
        raise ValueError(
            f"{text!r} is not a constraint: write node.labels.<key> == <value>, or != , "
            "with node.name, node.role, node.arch or node.labels.<key> on the left"
        )
    if match[1] == "node.role" and match[3] not in {role.value for role in NodeRole}:
        raise ValueError(f"{match[3]!r} is not a role: write manager or worker")
    return Constraint(text=text.strip(), left=match[1], equal=match[2] == "==", value=match[3])


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands for a constraint that no node can meet because nobody knows what it means."""

    text: str

    def passes(self, usage: NodeUsage) -> bool:  # noqa: ARG002 - the Protocol's parameter
        return False

    def explain(self, count: int, total: int) -> str:
        whole = f"constraint {self.text!r} cannot be read"
        return counted(count, total, whole, (f"fails: {whole}", f"fail: {whole}"))


@dataclass(frozen=True, slots=True)
class Memory:
    """As much memory is left as the task reserves."""

    needed: int

    def passes(self, usage: NodeUsage) -> bool:
        return usage.memory + self.needed <= usage.node.description.memory

    def explain(self, count: int, total: int) -> str:
        amount = f"{units.format_bytes_short(self.needed)} of memory free"
        part = (f"has less than {amount}", f"have less than {amount}")
        return counted(count, total, f"no node has {amount}", part)


@dataclass(frozen=True, slots=True)
class Cpus:
    """As many cpus are left as the task reserves."""

    needed: float

    def passes(self, usage: NodeUsage) -> bool:
        return usage.millicpus + millicpus(self.needed) <= millicpus(usage.node.description.cpus)

    def explain(self, count: int, total: int) -> str:
        amount = f"{self.needed:g} {'cpu' if self.needed == 1 else 'cpus'} free"
        part = (f"has less than {amount}", f"have less than {amount}")
        return counted(count, total, f"no node has {amount}", part)


@dataclass(frozen=True, slots=True)
class FreeHostPort:
    """No task on the node holds the port in mode `host`."""

    port: HostPort

    def passes(self, usage: NodeUsage) -> bool:
        return not usage.host_ports.get(self.port)

    def explain(self, count: int, total: int) -> str:
        port = f"port {self.port[0]}/{self.port[1].value}"
        part = (f"has {port} taken", f"have {port} taken")
        return counted(count, total, f"{port} is taken on every node", part)


@dataclass(frozen=True, slots=True)
class MaxPerNode:
    """The node runs fewer tasks of the service than the placement allows."""

    service: str
    most: int

    def passes(self, usage: NodeUsage) -> bool:
        return usage.of_service.get(self.service, 0) < self.most

    def explain(self, count: int, total: int) -> str:
        has = f"{self.most} {'task' if self.most == 1 else 'tasks'} of {self.service} already"
        whole = f"every node has {has} (max_per_node)"
        return counted(count, total, whole, (f"has {has}", f"have {has}"))


def static_filters(template: TaskTemplate) -> tuple[Filter, ...]:
    """What a node is, whatever runs on it."""
    constraints = (_constraint(text) for text in template.placement.constraints)
    return (
        Ready(),
        Worker(),
        Available(Availability.DRAIN),
        Available(Availability.PAUSE),
        *constraints,
    )


def _constraint(text: str) -> Filter:
    """The API refuses what cannot be read; if it is stored all the same, no loop may fail on it."""
    try:
        return parse_constraint(text)
    except ValueError:
        return Unreadable(text)


def exclusive_filters(
    service: str, template: TaskTemplate, ports: Sequence[Port], state: ClusterState
) -> tuple[Filter, ...]:
    """What a service forbids to itself: two of its tasks on the same port, two that write to a
    volume which is not shared, or too many of them."""
    most = template.placement.max_per_node
    limit = (MaxPerNode(service, most),) if most else ()
    taken = (FreeHostPort(port) for port in host_ports(ports))
    return (*taken, *volume_filters.of_writer(state, template), *limit)


def resource_filters(template: TaskTemplate) -> tuple[Filter, ...]:
    """Room for what the task reserves."""
    reserved = template.resources.reservations
    memory = (Memory(reserved.memory),) if reserved.memory else ()
    cpus = (Cpus(reserved.cpus),) if reserved.cpus else ()
    return (*memory, *cpus)


def place_filters(template: TaskTemplate, state: ClusterState) -> tuple[Filter, ...]:
    """What a node is and has, whatever runs on it."""
    return (*static_filters(template), *volume_filters.of_place(state, template))


def filters_for(
    service: str, template: TaskTemplate, ports: Sequence[Port], state: ClusterState
) -> tuple[Filter, ...]:
    """All filters that a task must pass, in the order in which refusals are counted."""
    exclusive = exclusive_filters(service, template, ports, state)
    return (*place_filters(template, state), *exclusive, *resource_filters(template))


def explain(filters: Sequence[Filter], nodes: Sequence[NodeUsage]) -> str:
    """Why none of `nodes` passes, in one line for the user; what refuses most nodes first."""
    if not nodes:
        return "there are no nodes"
    tied = next((each for each in filters if isinstance(each, volume_filters.Tied)), None)
    if tied is not None:
        return volume_filters.explain_tied(tied, _lacks(filters, tied, nodes))
    refusing = (_refusing(filters, usage) for usage in nodes)
    refusals = Counter(index for index in refusing if index is not None)
    most_first = sorted(refusals.items(), key=lambda refusal: (-refusal[1], refusal[0]))
    parts = [filters[index].explain(count, len(nodes)) for index, count in most_first]
    if most_first[0][1] == len(nodes):
        return parts[0]
    return f"no suitable node ({len(nodes)} nodes): {', '.join(parts)}"


def explain_one(filters: Sequence[Filter], usage: NodeUsage) -> str:
    """Why this node does not pass, filter by filter: `w2 has less than 1 GiB of memory free`."""
    why = _why(filters, usage)
    return f"{usage.node.spec.name} {why}" if why else ""


def _lacks(
    filters: Sequence[Filter], tied: volume_filters.Tied, nodes: Sequence[NodeUsage]
) -> str | None:
    """Why the one node that could have the task does not pass; None if it is not among them."""
    found = next((usage for usage in nodes if tied.passes(usage)), None)
    return _why(filters, found) if found is not None else None


def _why(filters: Sequence[Filter], usage: NodeUsage) -> str:
    parts = (each.explain(1, 2) for each in filters if not each.passes(usage))
    return ", ".join(part.removeprefix("1 ") for part in parts)


def _refusing(filters: Sequence[Filter], usage: NodeUsage) -> int | None:
    return next((i for i, filter_ in enumerate(filters) if not filter_.passes(usage)), None)


def passes_all(filters: Sequence[Filter], usage: NodeUsage) -> bool:
    """No filter refuses the node."""
    for each in filters:  # noqa: SIM110 - asked for each task and node: no generator for each
        if not each.passes(usage):
            return False
    return True
