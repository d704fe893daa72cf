"""The slots of a service, each with the tasks that matter to what is decided about it.

Read by `rollout.py` and the strategies, which say what revision a slot shall have, and by
`orchestrator.py`, which sees to it.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from warren.core import eligible
from warren.model.services import Service
from warren.model.tasks import DesiredState, Task, TaskState
from warren.state.cluster import ClusterState

STEADY_AFTER = timedelta(seconds=30)
"""A task that failed before must run so long until it is trusted with its slot."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One of the tasks that a service shall have: a replica, or of a global service a node."""

    number: int
    wanted: tuple[Task, ...] = ()
    final: tuple[Task, ...] = ()
    """Ended by themselves, though wanted, and for good."""
    leaving: bool = False
    """A task that is not wanted any more has not ended yet."""
    node: str = ""
    """Of a global service: name of the node that it is."""
    alone: int = 0
    """Revision of its task, if that is ready and is to stay, has no other beside it, and none ended
    for good. Most slots are so, most of the time: who looks at many passes these over quickly."""

    def of(self, revision: int) -> tuple[Task, ...]:
        """The wanted tasks of a revision."""
        return tuple([task for task in self.wanted if task.revision == revision])

    def outdated(self, revision: int) -> tuple[Task, ...]:
        """The wanted tasks of others."""
        return tuple([task for task in self.wanted if task.revision != revision])

    def ended(self, revision: int, state: TaskState) -> bool:
        """A task of the revision is COMPLETE, or FAILED, for good."""
        if not self.final:  # as it is of nearly all
            return False
        return any(t.revision == revision and t.status.state is state for t in self.final)

    @property
    def served(self) -> bool:
        """It has a task that may receive traffic."""
        return any(task.ready for task in self.wanted)


_EMPTY = tuple(Slot(number) for number in range(1, 65))


Survey = tuple[tuple[Slot, ...], tuple[Task, ...]]
"""The slots that there should be, and tasks that are in none of them."""


def survey(state: ClusterState, service: Service, tasks: Iterable[Task]) -> Survey:
    """The slots that there should be, and the tasks that are in none of them, the highest first."""
    if service.spec.is_global:
        return _survey_nodes(state, service, tuple(tasks))
    replicas = 0 if service.removing else service.spec.replicas
    by_slot: defaultdict[int, list[Task]] = defaultdict(list)
    for task in tasks:
        by_slot[task.slot].append(task)
    since = _counting_since(service)
    slots = tuple(
        _slot(number, by_slot.pop(number, ()), since) for number in range(1, 1 + replicas)
    )
    beyond = tuple(task for number in sorted(by_slot, reverse=True) for task in by_slot[number])
    return slots, beyond


def _survey_nodes(state: ClusterState, service: Service, tasks: Collection[Task]) -> Survey:
    """Of a global service, without the tasks that are held (`eligible.py`)."""
    nodes = eligible.nodes_of(state, service, tasks)
    by_slot: defaultdict[int, list[Task]] = defaultdict(list)
    beyond: list[Task] = []
    for task in sorted(tasks, key=lambda task: task.slot, reverse=True):
        node = nodes.get(task.slot)
        if node is not None and eligible.belongs(task, node):
            by_slot[task.slot].append(task)
        elif not eligible.is_held(state, service, task):
            beyond.append(task)
    since = _counting_since(service)
    slots = tuple(
        _slot(number, by_slot[number], since, node.spec.name) for number, node in nodes.items()
    )
    return slots, tuple(beyond)


def renewed(before: Survey, service: Service, changed: Mapping[int, Collection[Task]]) -> Survey:
    """What `survey` finds after the tasks of some of its slots have become others. For who follows
    a service whose slots are 1, 2, …, and of which no task is beyond them."""
    within, beyond = before
    assert not beyond, "every task has a slot"
    since = _counting_since(service)
    slots = list(within)
    for number, tasks in changed.items():
        assert slots[number - 1].number == number, "they are 1, 2, …"
        slots[number - 1] = _slot(number, tasks, since)
    return tuple(slots), ()


def _slot(number: int, tasks: Collection[Task], since: dict[int, datetime], node: str = "") -> Slot:
    if not tasks and not node and number <= len(_EMPTY):
        return _EMPTY[number - 1]
    wanted: list[Task] = []
    final: list[Task] = []
    leaving = False
    for task in tasks:
        if task.wanted:
            wanted.append(task)
        elif not task.status.state.terminal:
            leaving = True
        elif is_final_word(task) and task.created_at >= since.get(task.revision, task.created_at):
            final.append(task)
    alone = len(wanted) == 1 and not final and wanted[0].ready and not wanted[0].leaving
    revision = wanted[0].revision if alone else 0
    return Slot(number, tuple(wanted), tuple(final), leaving, node, alone=revision)


def _counting_since(service: Service) -> dict[int, datetime]:
    """A revision that is gone to once more begins anew: what became of its tasks before says
    nothing, also not while a newer one is on its way and slots may need this one again."""
    return {each.to_revision: each.started_at for each in service.rollouts}


def is_final_word(task: Task) -> bool:
    """It ended by itself, though wanted, and its worker's restart policy is exhausted."""
    ended = task.status.state in (TaskState.FAILED, TaskState.COMPLETE)
    return ended and task.desired is DesiredState.RUNNING


def is_useless(task: Task) -> bool:
    """It does not run, and not because it is just being started: nothing is lost with it."""
    if task.status.state is TaskState.PENDING:
        return True
    return task.status.failures > 0 and task.status.state is not TaskState.RUNNING


def trusted_at(task: Task, unheard: Collection[str]) -> datetime | None:
    """From when on a task, which is ready now, is trusted with its slot: one that never failed at
    once, one that did when it has run for long enough. What is known of one on a node that was not
    `heard` yet may be long out of date: None."""
    if not task.ready or task.node_id in unheard:
        return None
    if task.status.failures == 0:
        return task.status.since
    return task.status.since + min(STEADY_AFTER, task.template.restart.window)


def is_steady(task: Task, now: datetime, unheard: Collection[str]) -> bool:
    """It is ready, and can be trusted with the slot."""
    if not task.ready or task.node_id in unheard:
        return False
    if task.status.failures == 0:
        return True
    moment = trusted_at(task, unheard)
    return moment is not None and moment <= now
