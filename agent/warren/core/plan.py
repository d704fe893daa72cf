"""How a rollout will go, told beforehand: which slot, on which node, in which batch.

There is no second version of the rules: the deciders that will do the work are run on a copy of the
state, in a world where every new task becomes ready, whoever drains ends, every analysis is good
and somebody promotes. What they do is written down. Called by the API for every Apply, dry or not.
"""

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from warren.core import (
    acts,
    analyses,
    loads,
    names,
    orchestrator,
    rollout,
    scheduler,
    situation,
    slots,
)
from warren.core.room import Room
from warren.core.situation import Situation, Step
from warren.model.errors import WarrenError
from warren.model.records import replace
from warren.model.rollouts import AnalysisRecord, Rollout, RolloutPhase, RolloutState
from warren.model.services import Service, ServiceMode
from warren.model.tasks import DesiredState, Health, Task, TaskState
from warren.model.units import format_duration
from warren.model.views import PlanMove, PlanStep, RolloutPlan
from warren.state import maps
from warren.state.apply import apply
from warren.state.cluster import ClusterState
from warren.state.commands import (
    AssignTask,
    Batch,
    Command,
    CreateTask,
    RecordAnalysis,
    SetRollout,
    SetTaskDesired,
)

STEPS_MAX = 25
"""Steps that a plan shows. Who replaces a thousand slots one by one knows the rest by then."""
_ROUNDS_MAX = 2_000


def of_rollout(state: ClusterState, name: str, now: datetime) -> RolloutPlan:
    """The plan of the service's live rollout, from where it is."""
    service = state.services[name]
    assert service.live_rollout is not None
    before = Room(state=state, service=service)
    pin = service.live_rollout.pin
    world = _World(state, name, now)
    with loads.kept():
        world.run()
    live = service.live_rollout
    now_is = world.begins
    blocks = tuple(world.blocks)
    return RolloutPlan(
        strategy=live.policy.strategy,
        from_revision=live.from_revision,
        to_revision=live.to_revision,
        replicas=now_is.replicas,
        steps=tuple(world.steps()),
        lowest=min([step.served for step in world.recorded], default=now_is.replicas),
        min_healthy=now_is.floor,
        room=before.text(enough=not world.unplaced),
        enough=not world.unplaced,
        blocks=blocks,
        pin=pin,
        mode=service.spec.mode,
    )


@dataclass(slots=True)
class _Recorded:
    """A step while it is being written down."""

    title: str
    key: object
    served: int
    weight: int | None = None
    moves: dict[int, PlanMove] = field(default_factory=dict)
    waits_for: str = ""


class _World:
    """The copy in which all goes well."""

    def __init__(self, state: ClusterState, name: str, now: datetime) -> None:
        self._state = state
        self._name = name
        self._now = now
        self._ids = 0
        self._carried = dict.fromkeys(state.nodes, sys.maxsize)
        """Nodes follow at once."""
        self._own: dict[str, Task] = {}
        """The service's tasks, by id."""
        self._by_slot: defaultdict[int, dict[str, Task]] = defaultdict(dict)
        """The same by slot."""
        self._moving: dict[str, Task] = {}
        """Those that are not what they shall be."""
        self._changed: set[int] = set()
        """Slots whose tasks have become others since `_known`."""
        self.recorded: list[_Recorded] = []
        self.blocks: list[str] = []
        self.unplaced = False
        self._step: tuple[Situation, Step] | None = None
        """What was decided last, and of what."""
        self._at_rest: Situation | None = None
        """Where there was nothing to be done for tasks, when it was last looked at."""
        for task in state.tasks_of(name):
            self._take(task)
        self.begins = self._anew()
        self._known = self.begins
        self._changed.clear()

    def run(self) -> None:
        """To the end of the rollout, or to where it is blocked, or to where it gets long."""
        self._start_all()
        self._go()
        self._note_capacity()

    def _go(self) -> None:
        for _ in range(_ROUNDS_MAX):
            live = self._service.live_rollout
            if live is None or len(self.recorded) > STEPS_MAX:
                return
            if self._advance(live) | self._work():
                continue
            if not self._wait():
                return

    def steps(self) -> Iterator[PlanStep]:
        """As they go out. Moves of a batch are complete; what came to nothing is left out."""
        for step in self.recorded[:STEPS_MAX]:
            if step.moves or step.waits_for:
                moves = tuple(step.moves[slot] for slot in sorted(step.moves))
                yield PlanStep(
                    title=step.title,
                    weight=step.weight,
                    moves=moves,
                    served=step.served,
                    waits_for=step.waits_for,
                )
        if len(self.recorded) > STEPS_MAX:
            left = len(list(self._left()))
            yield PlanStep(
                title="and so on",
                served=self._served(),
                waits_for=f"{names.count(left, 'slot')} left",
            )

    def _left(self) -> Iterator[slots.Slot]:
        now_is = self._situation()
        return (s for s in now_is.slots if s.outdated(now_is.new) or not s.wanted)

    @property
    def _service(self) -> Service:
        return self._state.services[self._name]

    def _anew(self) -> Situation:
        tasks = self._own.values()
        return situation.of(self._state, self._service, tasks, self._now, carried=self._carried)

    def _situation(self) -> Situation:
        """Worked out once per state and moment, and anew only for slots with other tasks."""
        known, service = self._known, self._service
        if not self._is_stale(known):
            return known
        if not self._can_be_renewed(known):
            known = self._anew()
        else:
            within = known.slots
            if self._changed:
                changed = {slot: self._by_slot[slot].values() for slot in self._changed}
                within, _ = slots.renewed((known.slots, known.beyond), service, changed)
            known = Situation(
                state=self._state,
                service=service,
                rollout=service.rollouts[-1],
                tasks=tuple(self._own.values()),
                slots=within,
                now=self._now,
                carried=self._carried,
            )
        self._known = known
        self._changed.clear()
        return known

    def _is_stale(self, known: Situation) -> bool:
        return bool(self._changed) or known.state is not self._state or known.now != self._now

    def _can_be_renewed(self, known: Situation) -> bool:
        """Slots of a global service are nodes, and not 1, 2, …"""
        within = not self._changed or max(self._changed) <= len(known.slots)
        return within and not known.beyond and not known.service.spec.is_global

    def _served(self) -> int:
        return self._situation().served

    def _apply(self, commands: Iterable[Command]) -> None:
        self._enter(apply(self._state, Batch(commands=tuple(commands)))[0])

    def _enter(self, state: ClusterState) -> None:
        """Go on from another state. Of the service's tasks those are looked at that are others."""
        before, self._state = self._state, state
        for task_id, was, task in maps.changes(before.tasks, state.tasks):
            if task is not None and task.service == self._name:
                self._take(task)
            elif was is not None and was.service == self._name:
                self._forget(task_id)

    def _take(self, task: Task) -> None:
        self._own[task.id] = self._by_slot[task.slot][task.id] = task
        self._changed.add(task.slot)
        if _is_moving(task):
            self._moving[task.id] = task
        else:
            self._moving.pop(task.id, None)

    def _forget(self, task_id: str) -> None:
        slot = self._own.pop(task_id).slot
        del self._by_slot[slot][task_id]
        self._moving.pop(task_id, None)
        self._changed.add(slot)

    # ---- the rollout

    def _next_step(self) -> Step:
        now_is = self._situation()
        if self._step is None or self._step[0] is not now_is:
            self._step = (now_is, rollout.next_step(now_is))
        return self._step[1]

    def _advance(self, live: Rollout) -> bool:
        after = self._next_step().rollout
        if after == live:
            return False
        self._set(live, after)
        return True

    def _set(self, before: Rollout, after: Rollout) -> None:
        self._note(after)
        version = before.version
        step = SetRollout(
            service=self._name, rollout=after, expected_version=version, now=self._now
        )
        self._apply([step])

    def _note(self, after: Rollout) -> None:
        """Begin another step of the plan, where the rollout begins one."""
        key = (after.phase, after.step, after.batches, bool(after.batch))
        if not self.recorded or (self.recorded[-1].key != key and after.live):
            title = _title(after)
            if self.recorded and not (self.recorded[-1].moves or self.recorded[-1].waits_for):
                self.recorded.pop()
            self._note_capacity()
            everything = self._situation().replicas
            self.recorded.append(_Recorded(title, key, everything, after.weight))
        current = self.recorded[-1]
        if after.live:
            current.weight = after.weight
        if after.state is RolloutState.WAITING:
            current.waits_for = "promote"

    def _wait(self) -> bool:
        """Let time pass, make analyses, promote; False: nothing helps."""
        live = self._service.live_rollout
        assert live is not None
        if self._analyse() or self._promote(live):
            return True
        step = self._next_step()
        wake_at = None if step.stalls else step.wake_at
        if wake_at is None:
            self.blocks.append(step.waits_for or "it cannot go on")
            self.unplaced |= "no room" in step.waits_for or "pending" in step.waits_for
            return False
        if self.recorded:
            waited = format_duration(_rounded(wake_at - self._now))
            self.recorded[-1].waits_for = self.recorded[-1].waits_for or waited
        self._now = wake_at
        return True

    def _analyse(self) -> bool:
        due, _ = analyses.due(self._state, self._now, [self._service])
        for check in due:
            before = check.before or AnalysisRecord(name=check.name, checked_at=self._now)
            record = analyses.taken(before, good=True, output="", now=self._now)
            if self.recorded and check.before is None:
                known = self.recorded[-1].waits_for
                told = f"{known}, {check.name}" if known else check.name
                self.recorded[-1].waits_for = told
            self._apply(
                [RecordAnalysis(service=self._name, rollout_id=check.rollout_id, record=record)]
            )
        return bool(due)

    def _promote(self, live: Rollout) -> bool:
        if live.state is not RolloutState.WAITING:
            return False
        try:
            after = acts.promote(self._situation())
        except WarrenError:
            return False
        self._set(live, after)
        return after != live

    # ---- the tasks

    def _work(self) -> bool:
        """Create, place, run, stop; and write down what that was."""
        now_is = self._situation()
        if now_is is self._at_rest:
            return False
        surveyed = (now_is.slots, now_is.beyond)
        decision = orchestrator.decide_slots(
            self._state, self._service, surveyed, self._now, self._new_id
        )
        if not decision.commands:
            started = self._start_all()
            self._at_rest = None if started else now_is
            return started
        before = self._tasks_of(decision.commands)
        created = [each for each in decision.commands if isinstance(each, CreateTask)]
        self._apply(each for each in decision.commands if not isinstance(each, CreateTask))
        self._place(created)
        if self._end_stopped():
            self._place()
            self._note_capacity()
        self._write_down(before, decision.commands)
        self._start_all()
        return True

    def _tasks_of(self, commands: Iterable[Command]) -> Mapping[int, Sequence[Task]]:
        """What is in the slots that the commands are about."""
        found: dict[int, Sequence[Task]] = {}
        for command in commands:
            match command:
                case CreateTask():
                    slot = command.task.slot
                case SetTaskDesired():
                    slot = self._own[command.task_id].slot
                case _:
                    continue
            found[slot] = tuple(self._by_slot[slot].values())
        return found

    def _place(self, created: Sequence[CreateTask] = ()) -> None:
        """Those that are being created, and those without a place: others cannot get another. Who
        has none takes nothing, so that all of it is one change of the state."""
        pending = {
            task_id: task
            for task_id, task in self._moving.items()
            if task.status.state is TaskState.PENDING
        }
        pending |= {each.task.id: each.task for each in created}
        if not pending:
            return
        placed = scheduler.decide(self._state, self._now, {self._name: pending}).commands
        self._apply([*created, *placed])
        for command in placed:
            if isinstance(command, AssignTask):
                self._rewrite(self._state.tasks[command.task_id])

    def _rewrite(self, task: Task) -> None:
        """It was written down as waiting, and has its place now: its batch made room for it."""
        waited = self.recorded[-1].moves.get(task.slot) if self.recorded else None
        if waited is None or waited.action != "wait":
            return
        block = _block(task, waited.message)
        if block in self.blocks:
            self.blocks.remove(block)
        self.unplaced = bool(self.blocks)
        others = (each for each in self._state.tasks_of(self._name) if each.slot == task.slot)
        old = [each for each in others if each.id != task.id and each.wanted and _placed(each)]
        self.recorded[-1].moves[task.slot] = self._arrival(task, old)

    def _new_id(self) -> str:
        self._ids += 1
        return f"p{self._ids}"

    def _start_all(self) -> bool:
        """Tasks that have a node and never failed become ready; one that fails now may well go on
        failing."""
        starting = (TaskState.ASSIGNED, TaskState.PREPARING, TaskState.STARTING, TaskState.RUNNING)
        coming = [
            task
            for task in self._moving.values()
            if task.status.state in starting and not task.status.failures and not task.ready
        ]
        self._become(coming, TaskState.RUNNING)
        return bool(coming)

    def _end_stopped(self) -> bool:
        """Whoever stops or drains is gone."""
        stopping = [
            task_id
            for task_id, task in self._moving.items()
            if task.desired is not DesiredState.RUNNING
        ]
        self._change(dict.fromkeys(stopping))
        return bool(stopping)

    def _note_capacity(self) -> None:
        """Of the step under way: when something has stopped, and at its end."""
        if self.recorded:
            current = self.recorded[-1]
            current.served = min(current.served, self._served())

    def _become(self, tasks: Iterable[Task], state: TaskState) -> None:
        """What workers would report, all at once."""
        changed: dict[str, Task | None] = {}
        for task in tasks:
            status = replace(
                task.status,
                state=state,
                since=self._now,
                health=Health.NONE,
                address=task.status.address or "-",
            )
            changed[task.id] = replace(task, status=status)
        self._change(changed)

    def _change(self, tasks: Mapping[str, Task | None]) -> None:
        """Some of the service's become others, or are gone."""
        if not tasks:
            return
        self._state = replace(self._state, tasks=maps.updated(self._state.tasks, tasks))
        for task_id, task in tasks.items():
            if task is not None:
                self._take(task)
            else:
                self._forget(task_id)

    def _write_down(
        self, before: Mapping[int, Sequence[Task]], commands: Iterable[Command]
    ) -> None:
        if not self.recorded:
            live = self._service.live_rollout
            assert live is not None
            self._note(live)
        moves = self.recorded[-1].moves
        known = {task.id: task for tasks in before.values() for task in tasks}
        for command in commands:
            match command:
                case CreateTask() if command.task.id in self._own:
                    task = self._own[command.task.id]
                    old = [each for each in before[task.slot] if _placed(each)]
                    moves[task.slot] = self._arrival(task, old)
                case SetTaskDesired() if _placed(known[command.task_id]):
                    task = known[command.task_id]
                    self._departure(moves, task, self._by_slot[task.slot].values())
                case _:
                    pass

    def _arrival(self, task: Task, old: Sequence[Task]) -> PlanMove:
        """A new task comes into its slot. A stop that comes before it is ready makes it
        `stop_first`."""
        known = self.recorded[-1].moves.get(task.slot)
        where = names.node_name(self._state, task)
        if task.status.state is TaskState.PENDING:
            self.unplaced = True
            self.blocks.append(_block(task, task.status.message))
            message = task.status.message
            return PlanMove(slot=task.slot, node=task.node, action="wait", message=message)
        origin = names.node_name(self._state, old[0]) if old else ""
        if known is not None and known.action == "stop":
            return replace(known, node=where, action="stop_first")
        live = self._service.live_rollout
        beside = live is not None and live.phase is not RolloutPhase.REPLACE
        action = "start" if beside or not old else "replace"
        return PlanMove(slot=task.slot, node=where, from_node=origin, action=action)

    def _departure(self, moves: dict[int, PlanMove], task: Task, others: Iterable[Task]) -> None:
        known = moves.get(task.slot)
        if known is None:
            if not self._is_told(task.slot):
                where = names.node_name(self._state, task)
                moves[task.slot] = PlanMove(slot=task.slot, from_node=where, action="stop")
        elif known.action == "replace" and not _is_served(o for o in others if o.id != task.id):
            moves[task.slot] = replace(known, action="stop_first")

    def _is_told(self, slot: int) -> bool:
        """That the old task of the slot goes, by an earlier batch."""
        moves = (step.moves.get(slot) for step in reversed(self.recorded))
        return any(move is not None and move.action == "replace" for move in moves)


def _is_moving(task: Task) -> bool:
    if task.desired is not DesiredState.RUNNING:
        return True
    return not task.ready and not task.status.state.terminal


def _is_served(tasks: Iterable[Task]) -> bool:
    return any(task.ready and task.wanted for task in tasks)


def _placed(task: Task) -> bool:
    return task.wanted and task.status.state is not TaskState.PENDING


def _rounded(duration: timedelta) -> timedelta:
    return max(duration, timedelta(milliseconds=1))


def _title(after: Rollout) -> str:
    match after.phase:
        case RolloutPhase.STEP:
            return f"step {after.step}"
        case RolloutPhase.SURGE:
            return "new set"
        case RolloutPhase.TRIAL:
            return "smoke check"
        case RolloutPhase.SWITCHED:
            return "switch"
        case RolloutPhase.REPLACE:
            return f"batch {after.batches}" if after.batch else "old tasks"


def _block(task: Task, message: str) -> str:
    """The message of a task of a global service names its node itself."""
    return message if task.node else f"{names.slot(task)}: {message}"


def lines(plan: RolloutPlan) -> tuple[str, ...]:
    """For people."""
    told: list[str] = []
    if plan.pin is not None:
        told.append(f"pin  the new tasks, from the first on, for {', '.join(plan.pin.sources)}")
    for step in plan.steps:
        told += _lines_of(step, plan)
    told.append(
        f"lowest capacity {plan.lowest}/{plan.replicas}, at least {plan.min_healthy} (min_healthy)"
    )
    told.append(f"room  {plan.room}")
    told += [f"blocks  {block}" for block in dict.fromkeys(plan.blocks)]
    return tuple(told)


def _lines_of(step: PlanStep, plan: RolloutPlan) -> Iterator[str]:
    share = f"  {step.weight} %" if step.weight is not None else ""
    waits = f"  then {step.waits_for}" if step.waits_for else ""
    if not step.moves:
        yield f"{step.title}{share}{waits}"
        return
    capacity = f"  capacity {step.served}/{plan.replicas}"
    for number, move in enumerate(step.moves):
        first = f"{step.title}{share}" if not number else " " * len(f"{step.title}{share}")
        last = f"{capacity}{waits}" if number == len(step.moves) - 1 else ""
        if plan.mode is ServiceMode.GLOBAL:
            yield f"{first}  node {move.node or move.from_node}  {_text_of_node(move)}{last}"
        else:
            yield f"{first}  slot {move.slot}  {_text(move)}{last}"


def _text(move: PlanMove) -> str:
    moved = f" instead of {move.from_node}" if move.from_node not in ("", move.node) else ""
    match move.action:
        case "start":
            beside = f" (beside {move.from_node})" if move.from_node else ""
            return f"+task on {move.node}{beside}"
        case "replace":
            return f"replace on {move.node}{moved} (start first)"
        case "stop_first":
            return f"replace on {move.node}{moved} (stop first)"
        case "stop":
            return f"-task on {move.from_node}"
        case _:
            return f"stays pending: {move.message}"


def _text_of_node(move: PlanMove) -> str:
    """Of a global service, where the slot says which node it is."""
    match move.action:
        case "start":
            return "+task (beside the old one)" if move.from_node else "+task"
        case "replace":
            return "replace (start first)"
        case "stop_first":
            return "replace (stop first)"
        case "stop":
            return "-task"
        case _:
            return f"stays pending: {move.message}"
