"""Which tasks there should be: one running task of the current revision in each slot 1..replicas.

The law, per slot. A task is *fresh* if it is wanted, of the current revision, and not leaving (a
user stops it, or its node is on DRAIN or no longer a worker); a wanted task that is not is *old*.

    nothing wanted                     -> create, at once
    nothing fresh, old is leaving      -> create, at once; old goes on until the new one is steady
    nothing fresh, old is outdated     -> replace: one slot at a time, in order, while all is steady
    fresh is steady (ready, trusted)   -> stop the old
    fresh is not steady                -> wait; this halts the rollout, and the old goes on
    old is outdated and fails          -> stop, at once: a fix must not wait for what is broken
    current revision FAILED for good   -> nothing until there is a new revision
    slot > replicas, service removing  -> stop

A task that may be receiving traffic is stopped by making it DRAINING; `drain.py` does the rest.
Progress is nowhere but in the tasks, so a new leader continues where the last one stopped. What it
has not heard of yet since it leads (`unheard` nodes) is not taken for steady: it may have changed.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from warren.core import drain, filters, index
from warren.core.decisions import Decision, earliest
from warren.core.index import Services
from warren.model.nodes import Availability, Node, NodeRole
from warren.model.services import Service, template_of
from warren.model.tasks import DesiredState, Task, TaskState, TaskStatus
from warren.state.cluster import ClusterState
from warren.state.commands import Command, CreateTask, SetTaskDesired, SetTaskStatus

STEADY_AFTER = timedelta(seconds=30)
"""A task that failed before must run so long until a rollout trusts it. One that never failed is
trusted at once: start to end of a healthy rollout waits for nothing."""

NewId = Callable[[], str]


def decide(
    state: ClusterState,
    now: datetime,
    new_id: NewId,
    unheard: Collection[str] = (),
    among: Services | None = None,
) -> Decision:
    """Tasks to create and to stop, for every service, or for those `among` which to look."""
    among = index.every_service(state) if among is None else among
    decisions = [
        decide_service(state, service, tasks.values(), now, new_id, unheard)
        for name, tasks in sorted(among.items())
        if (service := state.services.get(name)) is not None
    ]
    commands = tuple(command for decision in decisions for command in decision.commands)
    return Decision(commands=commands, wake_at=earliest(d.wake_at for d in decisions))


def decide_service(
    state: ClusterState,
    service: Service,
    tasks: Iterable[Task],
    now: datetime,
    new_id: NewId,
    unheard: Collection[str] = (),
) -> Decision:
    """The same for one service, whose `tasks` are given."""
    slots, surplus = _slots(state, service, tasks, unheard)
    commands = [command for task in surplus for command in _stop(service, task, now)]
    outdated: list[_Slot] = []
    halted = unplaced = False
    starting = any(slot.is_starting for slot in slots)
    for slot in slots:
        if slot.old is not None and slot.old.revision == service.revision:
            halted |= _is_useless(slot.old)  # on a leaving node, but no less a bad sign
        if slot.undecided:
            halted = True
        elif slot.completed or slot.is_steady(now):
            commands += _stop_all(service, slot.old, now)
        elif slot.fresh is not None or slot.failed:
            if _waits_for_room(state, slot):
                unplaced = True
            else:
                halted = True
            if not starting and _must_stop_first(state, service, slot):
                commands += _stop_all(service, slot.old, now)
        elif slot.old is None or _is_leaving(state, slot.old):
            unplaced = True
            commands.append(_create(state, service, slot.number, now, new_id))
        else:
            outdated.append(slot)
    if outdated and not halted and not (unplaced and _has_room(state, service)):
        if _must_stop_first(state, service, outdated[0]):
            commands += _stop_all(service, outdated[0].old, now)
        commands.append(_create(state, service, outdated[0].number, now, new_id))
    moving = outdated or any(slot.old for slot in slots)
    waits = [slot.trusted_at for slot in slots if moving and not slot.is_steady(now)]
    return Decision(commands=tuple(commands), wake_at=earliest(waits))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slot:
    """A slot within the service's replicas, with the tasks that matter to it."""

    number: int
    fresh: Task | None = None
    old: Task | None = None
    failed: bool = False
    """A task of the current revision failed for good."""
    completed: bool = False
    unheard: bool = False
    """What is known of the fresh task may be long out of date."""
    undecided: bool = False
    """Of several tasks that are said to be ready one has to go, and none was heard of yet."""

    @property
    def is_starting(self) -> bool:
        """The fresh task has its place, and has not run yet."""
        starting = (TaskState.ASSIGNED, TaskState.PREPARING, TaskState.STARTING)
        return self.fresh is not None and self.fresh.status.state in starting

    @property
    def trusted_at(self) -> datetime | None:
        """When the fresh task, which failed before and is ready now, has run for long enough."""
        if self.fresh is None or not self.fresh.ready or self.unheard:
            return None
        return self.fresh.status.since + min(STEADY_AFTER, self.fresh.template.restart.window)

    def is_steady(self, now: datetime) -> bool:
        """The fresh task is ready and can be trusted with the slot."""
        if self.fresh is None or self.trusted_at is None:
            return False
        return self.fresh.status.failures == 0 or self.trusted_at <= now


def _slots(
    state: ClusterState, service: Service, tasks: Iterable[Task], unheard: Collection[str]
) -> tuple[list[_Slot], list[Task]]:
    """The slots that there should be, and the tasks that have no place in any of them."""
    replicas = 0 if service.removing else service.spec.replicas
    by_slot: defaultdict[int, list[Task]] = defaultdict(list)
    for task in tasks:
        by_slot[task.slot].append(task)
    slots: list[_Slot] = []
    surplus: list[Task] = []
    for number in range(1, replicas + 1):
        slot, extra = _slot(state, service, number, by_slot.pop(number, ()), unheard)
        slots.append(slot)
        surplus += extra
    for number in sorted(by_slot, reverse=True):
        surplus += (t for t in by_slot[number] if t.wanted or _is_final_word(t))
    return slots, surplus


def _slot(
    state: ClusterState,
    service: Service,
    number: int,
    tasks: Sequence[Task],
    unheard: Collection[str],
) -> tuple[_Slot, list[Task]]:
    if not tasks:
        return _Slot(number=number), []
    fresh: list[Task] = []
    old: list[Task] = []
    surplus: list[Task] = []
    final: set[TaskState] = set()
    for task in tasks:
        current = task.revision == service.revision
        if not task.wanted:
            if current and _is_final_word(task):
                final.add(task.status.state)
        elif current and not _is_leaving(state, task):
            fresh.append(task)
        elif not current and _is_useless(task):
            surplus.append(task)
        else:
            old.append(task)
    undecided = False
    for several in (fresh, old):
        if len(several) > 1:
            several.sort(key=lambda task: (task.node_id in unheard, *_worth(state, task)))
            if _is_blind(state, several, unheard):
                surplus += [task for task in several[1:] if not task.ready]
                undecided |= any(task.ready for task in several[1:])
            else:
                surplus += several[1:]
    slot = _Slot(
        number=number,
        fresh=fresh[0] if fresh else None,
        old=old[0] if old else None,
        failed=not fresh and TaskState.FAILED in final,
        completed=not fresh and TaskState.COMPLETE in final,
        unheard=bool(fresh) and fresh[0].node_id in unheard,
        undecided=undecided,
    )
    return slot, surplus


def _is_blind(state: ClusterState, several: Sequence[Task], unheard: Collection[str]) -> bool:
    """The choice between tasks of a slot, the first of which seems best, could be wrong: it is not
    known to be ready and staying, and another may be of which nothing was heard yet."""
    best = several[0]
    known = best.ready and best.node_id not in unheard and not _is_leaving(state, best)
    return not known and any(task.ready and task.node_id in unheard for task in several)


def _worth(state: ClusterState, task: Task) -> tuple[bool, bool, bool, int, datetime, str]:
    """Sorts the task to keep to the front: ready, running, staying where it is, newest."""
    running = task.status.state is TaskState.RUNNING
    return (
        not task.ready,
        not running,
        _is_leaving(state, task),
        -task.revision,
        task.created_at,
        task.id,
    )


def _is_final_word(task: Task) -> bool:
    """It ended by itself, though wanted, and its worker's restart policy is exhausted."""
    ended = task.status.state in (TaskState.FAILED, TaskState.COMPLETE)
    return ended and task.desired is DesiredState.RUNNING


def _is_useless(task: Task) -> bool:
    """It does not run, and not because it is just being started: nothing is lost with it."""
    if task.status.state is TaskState.PENDING:
        return True
    return task.status.failures > 0 and task.status.state is not TaskState.RUNNING


def _is_leaving(state: ClusterState, task: Task) -> bool:
    """A user stops it, or its node shall run no tasks any more."""
    return task.leaving or is_leaving(state.nodes.get(task.node_id))


def is_leaving(node: Node | None) -> bool:
    """It shall run no tasks any more."""
    if node is None:
        return False
    drained = node.spec.availability is Availability.DRAIN
    return drained or NodeRole.WORKER not in node.spec.roles


def _waits_for_room(state: ClusterState, slot: _Slot) -> bool:
    """The fresh task has no node yet, and is not there to replace an outdated one."""
    if slot.fresh is None or slot.fresh.status.state is not TaskState.PENDING:
        return False
    return slot.old is None or _is_leaving(state, slot.old)


def _has_room(state: ClusterState, service: Service) -> bool:
    """A node could take one more task of the service, at the latest when all stops are done.

    While it is so, pending tasks are about to be placed, and a rollout waits for them. Tasks that
    no node can take say nothing about the revision, and waiting for them would mean that a service
    which lost a node could not be updated.
    """
    needs = filters.filters_for(service.spec.name, template_of(service.spec), service.spec.ports)
    wanted = (task for task in state.tasks.values() if task.wanted)
    return any(filters.passes_all(needs, usage) for usage in filters.usage(state, wanted))


def _must_stop_first(state: ClusterState, service: Service, slot: _Slot) -> bool:
    """The new task can only have its place once the old one has left it.

    So it is with a host port, or max_per_node, when every suitable node holds a task of the
    service: start-first would wait for ever. A lack of memory or cpus is different: room may come,
    and the running task is worth more than the new one, so there the rollout waits and says why.
    Tasks that are stopping do not count: what they hold is about to be free.
    """
    old = slot.old
    if old is None or slot.failed:
        return False
    if slot.fresh is not None and slot.fresh.status.state is not TaskState.PENDING:
        return False
    template = template_of(service.spec)
    exclusive = filters.exclusive_filters(service.spec.name, template, service.spec.ports)
    if not exclusive:
        return False
    needs = filters.filters_for(service.spec.name, template, service.spec.ports)
    wanted = [task for task in state.tasks.values() if task.wanted]
    with_old = filters.usage(state, wanted)
    if any(filters.passes_all(needs, usage) for usage in with_old):
        return False
    without_old = filters.usage(state, (task for task in wanted if task.id != old.id))
    return any(
        after.node.id == old.node_id
        and filters.passes_all(needs, after)
        and not filters.passes_all(exclusive, before)
        for before, after in zip(with_old, without_old, strict=True)
    )


def _create(
    state: ClusterState, service: Service, slot: int, now: datetime, new_id: NewId
) -> Command:
    task_id = f"{service.spec.name}-{slot}-{new_id()}"
    while task_id in state.tasks:
        task_id = f"{service.spec.name}-{slot}-{new_id()}"
    task = Task(
        id=task_id,
        service=service.spec.name,
        slot=slot,
        revision=service.revision,
        template=template_of(service.spec),
        created_at=now,
        status=TaskStatus(state=TaskState.PENDING, since=now),
    )
    return CreateTask(task=task)


def _stop_all(service: Service, task: Task | None, now: datetime) -> list[Command]:
    return _stop(service, task, now) if task is not None else []


def _stop(service: Service, task: Task, now: datetime) -> list[Command]:
    """No worker knows a PENDING task, so its end is recorded here."""
    if drain.must_drain(service, task):
        return [SetTaskDesired(task_id=task.id, desired=DesiredState.DRAINING, now=now)]
    commands: list[Command] = [SetTaskDesired(task_id=task.id, desired=DesiredState.STOPPED)]
    if task.status.state is TaskState.PENDING:
        status = replace(task.status, state=TaskState.STOPPED, since=now)
        commands.append(SetTaskStatus(task_id=task.id, status=status))
    return commands
