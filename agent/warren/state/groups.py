"""Tasks of a state by their node and by their service.

A state knows its tasks by id alone, so that a command changes one mapping. Their groups are kept
from state to state: that costs what changed between the two, however many tasks there are. Who
asks a state for the tasks of a service gets them from the groups that were made last, followed to
that state; to remember them changes the cost of the answer, never the answer.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from warren.model.tasks import Task
from warren.state import maps

Tasks = Mapping[str, Task]
"""By id."""
GroupsBy = Mapping[str, Tasks]

_ANEW = 4
"""If more than one of so many tasks is another, the groups are made anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """The tasks of one state."""

    tasks: Tasks = field(default_factory=dict)
    by_node: GroupsBy = field(default_factory=dict)
    by_service: GroupsBy = field(default_factory=dict)


def begin(tasks: Tasks) -> Groups:
    """The groups of tasks of which nothing is known yet."""
    by_node: defaultdict[str, dict[str, Task]] = defaultdict(dict)
    by_service: defaultdict[str, dict[str, Task]] = defaultdict(dict)
    for task in tasks.values():
        by_node[task.node_id][task.id] = task
        by_service[task.service][task.id] = task
    return Groups(
        tasks=tasks,
        by_node={node_id: maps.large(found) for node_id, found in by_node.items()},
        by_service=maps.large(dict(by_service)),
    )


def advance(before: Groups, tasks: Tasks) -> Groups:
    """The groups of other tasks, of a later state or of any, in fact."""
    if before.tasks is tasks:
        return before
    changed = tuple(maps.changed_keys(before.tasks, tasks))
    if len(changed) * _ANEW > len(tasks):
        return begin(tasks)
    by_node, by_service = before.by_node, before.by_service
    for task_id in changed:
        was, task = before.tasks.get(task_id), tasks.get(task_id)
        by_node = _regrouped(by_node, was, task, by=_node)
        by_service = _regrouped(by_service, was, task, by=_service)
    return Groups(tasks=tasks, by_node=by_node, by_service=by_service)


_newest = Groups()
"""Whichever thread comes last, what it leaves here is right."""


def of(tasks: Tasks) -> Groups:
    """The groups of these tasks, worked out from those that were asked for last."""
    global _newest
    _newest = found = advance(_newest, tasks)
    return found


def _node(task: Task) -> str:
    return task.node_id


def _service(task: Task) -> str:
    return task.service


def _regrouped(
    groups: GroupsBy, was: Task | None, task: Task | None, *, by: Callable[[Task], str]
) -> GroupsBy:
    """The groups after a task became another, came or went."""
    if was is not None and (task is None or by(was) != by(task)):
        left = maps.without(groups[by(was)], was.id)
        groups = maps.put(groups, by(was), left) if left else maps.without(groups, by(was))
    if task is not None:
        groups = maps.put(groups, by(task), maps.put(groups.get(by(task), {}), task.id, task))
    return groups
