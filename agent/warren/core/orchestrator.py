"""Which tasks there should be: in each slot one of the revision that it shall have. The slots are
1..replicas, or of a global service the nodes that may have a task of it (`eligible.py`).

The law, per slot and per revision that it shall have (`wishes.py` says which: during a rollout
there may be two). A task is *fresh* if it is wanted, of that revision, and not leaving (a user
stops it, or its node is on DRAIN or no longer a worker); a wanted task that is not is *old*.

    nothing wanted                     -> create, at once
    nothing fresh                      -> create, at once; old goes on until the new one is steady
    fresh is steady (ready, trusted)   -> stop the old, unless the slot keeps it for now
    fresh is not steady                -> wait, and the old goes on
    old is outdated and fails          -> stop, at once: a fix must not wait for what is broken
    the revision FAILED for good       -> nothing until there is another
    not in a slot, service removing    -> stop

An old task stops before its slot has another only if the update's order says so, or if the new one
could have no place before, and only as long as `min_healthy` slots stay served. The order is about
revisions: a task that is leaving and cannot stop first has its successor first.

A task that may be receiving traffic is stopped by making it DRAINING; `drain.py` does the rest.
Progress is nowhere but in the state, so a new leader continues where the last one stopped. What it
has not heard of yet since it leads (`unheard` nodes) is not taken for steady: it may have changed.
"""

from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from warren.core import capacity, drain, eligible, index, slots, wishes
from warren.core.decisions import Decision, earliest
from warren.core.index import Services
from warren.core.room import Room
from warren.core.slots import Slot, is_steady, is_useless
from warren.core.wishes import Wish
from warren.model.nodes import Availability, Node, NodeRole
from warren.model.services import Service, TaskTemplate
from warren.model.tasks import DesiredState, Task, TaskState, TaskStatus
from warren.state.cluster import ClusterState
from warren.state.commands import Command, CreateTask, SetTaskDesired, SetTaskStatus

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
    surveyed = slots.survey(state, service, tasks)
    return decide_slots(state, service, surveyed, now, new_id, unheard)


def decide_slots(
    state: ClusterState,
    service: Service,
    surveyed: slots.Survey,
    now: datetime,
    new_id: NewId,
    unheard: Collection[str] = (),
) -> Decision:
    """The same for one service, whose tasks are sorted into its slots already."""
    within, beyond = surveyed
    leaving = _leaving(state.nodes)
    every = [_seen(slot, leaving) for slot in within] if leaving else within
    keeper = _Keeper(
        state=state,
        service=service,
        every=every,
        leaving=leaving,
        now=now,
        new_id=new_id,
        unheard=unheard,
    )
    for task in beyond:
        if task.wanted or slots.is_final_word(task):
            keeper.stop(task)
    for slot, wish in wishes.of(service, every):
        keeper.keep(slot, wish)
    return Decision(commands=tuple(keeper.commands), wake_at=earliest(keeper.wake_ups))


def _seen(slot: Slot, leaving: Container[str]) -> Slot:
    """A task whose node is leaving is not to stay."""
    if slot.alone and slot.wanted[0].node_id in leaving:
        return replace(slot, alone=0)
    return slot


@dataclass(slots=True, kw_only=True)
class _Keeper:
    """Keeps the slots of one service, in one decision."""

    state: ClusterState
    service: Service
    every: Sequence[Slot]
    leaving: Container[str]
    """Nodes that shall run no tasks any more, by id."""
    now: datetime
    new_id: NewId
    unheard: Collection[str]
    commands: list[Command] = field(default_factory=list)
    wake_ups: list[datetime | None] = field(default_factory=list)
    stopped: int = 0
    """Slots that lose their ready task before there is another."""
    templates: dict[int, TaskTemplate | None] = field(default_factory=dict)
    """By revision, each found once: tasks of a revision share theirs."""
    room: Room = field(init=False)
    begins: TaskStatus = field(init=False)
    """Of a new task."""

    def __post_init__(self) -> None:
        self.room = Room(state=self.state, service=self.service)
        self.begins = TaskStatus(state=TaskState.PENDING, since=self.now)

    def keep(self, slot: Slot, wish: Wish) -> None:
        """See to it that the slot has, in the end, what it shall have."""
        if wish.instead and not self._stays(slot, wish.revision):
            wish = wishes.plain(wish.instead)
        if wish.beside is None:
            self._keep(slot, slot.wanted, wish)
            return
        beside = [task for task in slot.wanted if task.revision == wish.beside]
        others = [task for task in slot.wanted if task.revision != wish.beside]
        for tasks, revision in ((others, wish.revision), (beside, wish.beside)):
            if not self._is_settled(tasks, revision):
                self._keep(slot, tasks, wishes.plain(revision))

    def _keep(self, slot: Slot, tasks: Sequence[Task], wish: Wish) -> None:
        if self._is_settled(tasks, wish.revision):
            return
        found = self._sorted(slot, tasks, wish.revision)
        for task in found.surplus:
            self.stop(task)
        old, fresh = found.old, found.fresh
        if found.undecided:
            return
        if found.completed or (fresh is not None and is_steady(fresh, self.now, self.unheard)):
            if old is not None and not (wish.keeps and old.revision != wish.revision):
                self.stop(old)
        elif fresh is not None or found.failed:
            self._wait(fresh, old)
        elif wish.stop_first and self._stops_first(slot, old, wish.revision):
            self._make_way(old)
        else:
            if old is not None and self.room.frees(old):
                self._make_way(old)
            self._create(slot, wish.revision)

    def _stays(self, slot: Slot, revision: int) -> bool:
        return any(not self._is_leaving(task) for task in slot.of(revision))

    def _is_settled(self, tasks: Sequence[Task], revision: int) -> bool:
        """The usual case, quickly: the one task is the one that there shall be."""
        if len(tasks) != 1:
            return False
        return tasks[0].revision == revision and not self._is_leaving(tasks[0])

    def _wait(self, fresh: Task | None, old: Task | None) -> None:
        """The fresh task is not steady yet; it may be that it has no place while the old one is."""
        if old is None or fresh is None:
            return
        moment = slots.trusted_at(fresh, self.unheard)
        self.wake_ups.append(moment if moment is not None and moment > self.now else None)
        if fresh.status.state is TaskState.PENDING and self.room.frees(old):
            self._make_way(old)

    def _stops_first(self, slot: Slot, old: Task | None, revision: int) -> bool:
        if old is None:
            return slot.leaving
        if not self._is_leaving(old):
            return True
        return old.revision != revision and self._may_go(old)

    def _make_way(self, old: Task | None) -> None:
        if old is None or not self._may_go(old):
            return
        self.stopped += old.status.state is TaskState.RUNNING
        self.stop(old)

    def _may_go(self, old: Task) -> bool:
        return old.status.state is not TaskState.RUNNING or self.stopped < self._may_stop()

    def _may_stop(self) -> int:
        """How many of the served slots are more than must be."""
        rollout = self.service.live_rollout
        policy = rollout.policy if rollout is not None else self.service.spec.policy
        floor = capacity.floor(policy, self.every, self.room)
        return capacity.served(self.every) - floor

    def _sorted(self, slot: Slot, tasks: Sequence[Task], revision: int) -> "_Found":
        fresh: list[Task] = []
        old: list[Task] = []
        surplus: list[Task] = []
        for task in tasks:
            if task.revision == revision and not self._is_leaving(task):
                fresh.append(task)
            elif task.revision != revision and is_useless(task):
                surplus.append(task)
            else:
                old.append(task)
        undecided = False
        for several in (fresh, old):
            if len(several) > 1:
                several.sort(key=lambda t: (t.node_id in self.unheard, *self._worth(t)))
                if self._is_blind(several):
                    surplus += [task for task in several[1:] if not task.ready]
                    undecided |= any(task.ready for task in several[1:])
                else:
                    surplus += several[1:]
        return _Found(
            fresh=fresh[0] if fresh else None,
            old=old[0] if old else None,
            failed=not fresh and slot.ended(revision, TaskState.FAILED),
            completed=not fresh and slot.ended(revision, TaskState.COMPLETE),
            undecided=undecided,
            surplus=surplus,
        )

    def _worth(self, task: Task) -> tuple[bool, bool, bool, int, datetime, str]:
        """Sorts the task to keep to the front: ready, running, staying where it is, newest."""
        running = task.status.state is TaskState.RUNNING
        return (
            not task.ready,
            not running,
            self._is_leaving(task),
            -task.revision,
            task.created_at,
            task.id,
        )

    def _is_leaving(self, task: Task) -> bool:
        """A user stops it, or its node shall run no tasks any more."""
        return task.leaving or task.node_id in self.leaving

    def _is_blind(self, several: Sequence[Task]) -> bool:
        """The choice between tasks of a slot, the first of which seems best, could be wrong: it is
        not known to be ready and staying, and another may be of which nothing was heard yet."""
        best = several[0]
        heard = best.node_id not in self.unheard
        known = best.ready and heard and not self._is_leaving(best)
        return not known and any(task.ready and task.node_id in self.unheard for task in several)

    def _create(self, slot: Slot, revision: int) -> None:
        template = self._template(revision)
        if template is None or not self._may_have(slot, template):
            return
        name = self.service.spec.name
        task_id = f"{name}-{slot.number}-{self.new_id()}"
        while task_id in self.state.tasks:
            task_id = f"{name}-{slot.number}-{self.new_id()}"
        task = Task(
            id=task_id,
            service=name,
            slot=slot.number,
            node=slot.node,
            revision=revision,
            template=template,
            created_at=self.now,
            status=self.begins,
        )
        self.commands.append(CreateTask(task=task))

    def _template(self, revision: int) -> TaskTemplate | None:
        if revision not in self.templates:
            self.templates[revision] = wishes.template_for(self.service, revision)
        return self.templates[revision]

    def _may_have(self, slot: Slot, template: TaskTemplate) -> bool:
        """A slot that is a node has no task of a revision that shall not be there."""
        node = self.state.node_named(slot.node) if slot.node else None
        return node is None or eligible.takes(self.state, template, node)

    def stop(self, task: Task) -> None:
        """No worker knows a PENDING task, so its end is recorded here."""
        if drain.must_drain(self.service, task):
            desired = DesiredState.DRAINING
            self.commands.append(SetTaskDesired(task_id=task.id, desired=desired, now=self.now))
            return
        self.commands.append(SetTaskDesired(task_id=task.id, desired=DesiredState.STOPPED))
        if task.status.state is TaskState.PENDING:
            status = replace(task.status, state=TaskState.STOPPED, since=self.now)
            self.commands.append(SetTaskStatus(task_id=task.id, status=status))


@dataclass(slots=True, kw_only=True)
class _Found:
    """The tasks of a slot, as one revision sees them. Read at once and never kept, so it need not
    be frozen, which triples what making one costs."""

    fresh: Task | None
    old: Task | None
    failed: bool
    """A task of the revision failed for good."""
    completed: bool
    undecided: bool
    """Of several tasks that are said to be ready one has to go, and none was heard of yet."""
    surplus: list[Task]


_known: tuple[Mapping[str, Node], frozenset[str]] = ({}, frozenset())
"""The nodes that were asked about last, and the answer: they hardly ever change."""


def _leaving(nodes: Mapping[str, Node]) -> frozenset[str]:
    """Nodes that shall run no tasks any more, by id."""
    global _known
    if _known[0] is not nodes:
        _known = (nodes, frozenset(node.id for node in nodes.values() if is_leaving(node)))
    return _known[1]


def is_leaving(node: Node | None) -> bool:
    """It shall run no tasks any more."""
    if node is None:
        return False
    drained = node.spec.availability is Availability.DRAIN
    return drained or NodeRole.WORKER not in node.spec.roles
