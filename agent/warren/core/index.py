"""Tasks of a state by their node and by their service, kept from state to state.

A state knows its tasks by id. Who asks the same of every state, as the leader's loops do, keeps an
`Index` and lets it `advance`: that costs what changed between the two states, however large they
are, and says which services it concerns.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from warren.model.nodes import Node
from warren.model.tasks import Task
from warren.state import groups, maps
from warren.state.cluster import ClusterState
from warren.state.groups import Groups, GroupsBy


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """The tasks of one state."""

    state: ClusterState
    groups: Groups

    @property
    def tasks_on(self) -> GroupsBy:
        """By node id, then by task id."""
        return self.groups.by_node

    @property
    def tasks_of(self) -> GroupsBy:
        """By service, then by task id."""
        return self.groups.by_service


def begin(state: ClusterState) -> Index:
    """The index of a state of which nothing is known yet."""
    return Index(state=state, groups=groups.begin(state.tasks))


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
    after = Index(state=state, groups=groups.advance(before.groups, state.tasks))
    concerned = dict.fromkeys(maps.changed_keys(old.services, state.services))
    for _, was, task in maps.changes(old.tasks, state.tasks):
        concerned |= {each.service: None for each in (was, task) if each is not None}
    for node_id, former, node in maps.changes(old.nodes, state.nodes):
        if matters(former) != matters(node):
            tasks = after.tasks_on.get(node_id, {}).values()
            concerned |= dict.fromkeys(task.service for task in tasks)
    return after, concerned
