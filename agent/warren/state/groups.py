"""Tasks of a state by their node and by their service.

A state knows its tasks by id alone, so that a command changes one mapping. Their groups are kept
from state to state: that costs what changed between the two, however many tasks there are. Who
asks a state for the tasks of a service gets them from the groups that were made last, followed to
that state; to remember them changes the cost of the answer, never the answer.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
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
    changes = tuple(maps.changes(before.tasks, tasks))
    if len(changes) * _ANEW > len(tasks):
        return begin(tasks)
    return Groups(
        tasks=tasks,
        by_node=_regrouped(before.by_node, changes, by=_node),
        by_service=_regrouped(before.by_service, changes, by=_service),
    )


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
    groups: GroupsBy,
    changes: Iterable[tuple[str, Task | None, Task | None]],
    *,
    by: Callable[[Task], str],
) -> GroupsBy:
    """The groups after tasks became others, came or went; each is copied once."""
    within: defaultdict[str, dict[str, Task | None]] = defaultdict(dict)
    for task_id, was, task in changes:
        if was is not None and (task is None or by(was) != by(task)):
            within[by(was)][task_id] = None
        if task is not None:
            within[by(task)][task_id] = task
    found = {key: maps.updated(groups.get(key, {}), each) for key, each in within.items()}
    return maps.updated(groups, {key: tasks or None for key, tasks in found.items()})
