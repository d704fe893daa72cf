"""Tasks of a state by their node and by their service, kept from state to state.

A state knows its tasks by id. Who asks the same of every state, as the leader's loops do, keeps an
`Index` and lets it `advance`: that costs what changed between the two states, however large they
are, and says which services it concerns.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from warren.model.nodes import Node
from warren.model.tasks import Task
from warren.state import maps
from warren.state.cluster import ClusterState

Groups = Mapping[str, Mapping[str, Task]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """The tasks of one state."""

    state: ClusterState
    tasks_on: Groups = field(default_factory=dict)
    """By node id, then by task id."""
    tasks_of: Groups = field(default_factory=dict)
    """By service, then by task id."""


def begin(state: ClusterState) -> Index:
    """The index of a state of which nothing is known yet."""
    tasks_on: defaultdict[str, dict[str, Task]] = defaultdict(dict)
    tasks_of: defaultdict[str, dict[str, Task]] = defaultdict(dict)
    for task in state.tasks.values():
        tasks_on[task.node_id][task.id] = task
        tasks_of[task.service][task.id] = task
    return Index(
        state=state,
        tasks_on={node_id: maps.large(tasks) for node_id, tasks in tasks_on.items()},
        tasks_of=maps.large(dict(tasks_of)),
    )


Services = Mapping[str, Mapping[str, Task]]
"""Tasks by service, of those services that are to be looked at."""


def every_service(state: ClusterState) -> Services:
    """All services, those without tasks too."""
    tasks_of = begin(state).tasks_of
    return {name: tasks_of.get(name, {}) for name in state.services}


def tasks_of(state: ClusterState, among: Services | None) -> Iterable[Task]:
    """The tasks of those services, or of all."""
    if among is None:
        return state.tasks.values()
    return (task for tasks in among.values() for task in tasks.values())


def advance(
    before: Index, state: ClusterState, *, matters: Callable[[Node | None], object]
) -> tuple[Index, dict[str, None]]:
    """The index of a later state (any, in fact), and the services that are not as they were.

    A service is concerned if it or one of its tasks is another object, or if a node of a task is
    another in what `matters` about nodes to the caller.
    """
    old = before.state
    if old is state:
        return before, {}
    tasks_on, tasks_of = before.tasks_on, before.tasks_of
    concerned = dict.fromkeys(maps.changed_keys(old.services, state.services))
    for task_id in maps.changed_keys(old.tasks, state.tasks):
        was, task = old.tasks.get(task_id), state.tasks.get(task_id)
        tasks_on = _regrouped(tasks_on, was, task, by=lambda task: task.node_id)
        tasks_of = _regrouped(tasks_of, was, task, by=lambda task: task.service)
        concerned |= dict.fromkeys(each.service for each in (was, task) if each is not None)
    for node_id in maps.changed_keys(old.nodes, state.nodes):
        if matters(old.nodes.get(node_id)) != matters(state.nodes.get(node_id)):
            tasks = tasks_on.get(node_id, {}).values()
            concerned |= dict.fromkeys(task.service for task in tasks)
    return Index(state=state, tasks_on=tasks_on, tasks_of=tasks_of), concerned


def _regrouped(
    groups: Groups, was: Task | None, task: Task | None, *, by: Callable[[Task], str]
) -> Groups:
    """The groups after a task became another, came or went."""
    if was is not None and (task is None or by(was) != by(task)):
        left = maps.without(groups[by(was)], was.id)
        groups = maps.put(groups, by(was), left) if left else maps.without(groups, by(was))
    if task is not None:
        groups = maps.put(groups, by(task), maps.put(groups.get(by(task), {}), task.id, task))
    return groups
