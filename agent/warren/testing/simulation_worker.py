"""A worker in the cluster simulation: its processes, its session with the leader, its rules.

It does what `warren.worker` does, on virtual time: reports first in each session, follows the
assignment and its deltas, applies rules a moment later and says so, restarts what ends, drains and
stops what it is told to. What it was last told survives the loss of every session; its processes
and the rules in its kernel survive its agent.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random
from typing import Protocol

from warren.core import assignment, endpoints
from warren.core.assignment import Assignments
from warren.model.assignments import Assignment, AssignmentDelta, ServiceTraffic
from warren.model.tasks import DesiredState, Health, Task, TaskState, TaskStatus
from warren.testing import simulation_laws

REPORT_DELAY = timedelta(milliseconds=5)


class World(Protocol):
    """What a worker needs of the simulation around it."""

    random: Random
    calm: bool
    leads: bool
    term: int

    @property
    def now(self) -> datetime: ...

    def after(self, delay: timedelta, action: Callable[[], None]) -> None: ...
    def delay(self, low: float, high: float) -> timedelta: ...
    def say(self, text: str) -> None: ...
    def fail(self, message: str) -> None: ...
    def report(self, task_id: str, status: TaskStatus) -> None: ...
    def assignments(self) -> Assignments: ...
    def look(self) -> None: ...
    def carry(self, before: int, index: int) -> None: ...


@dataclass(slots=True, kw_only=True)
class Process:
    """A task on a worker, as the worker sees it."""

    task: Task
    status: TaskStatus
    stopping: bool = False


class Worker:
    """A host. Cut off, it goes on by itself; crashed, it has forgotten its processes and rules."""

    def __init__(self, world: World, node_id: str) -> None:
        self._world = world
        self.node_id = node_id
        self.connected = True
        self.connected_since = world.now
        self.session = 0
        """Term of the leader that it has a session with; 0: none."""
        self.reported = False
        """The leader has heard in this session how its tasks are."""
        self.processes: dict[str, Process] = {}
        self.known: Assignment | None = None
        """On disk."""
        self.rules: Mapping[str, ServiceTraffic] = {}
        """In the kernel."""
        self.carried = 0
        """Up to which index, as the leader has it."""
        self._told: Assignments | None = None
        self._told_index = 0
        self._acknowledged = 0
        self._tell_due = False
        self._in_flight = False
        self._sessions = 0

    # ---- sessions

    def open_session(self) -> None:
        """Hello, then how all tasks are; only after that the leader tells anything."""
        if not self.connected or not self._world.leads or self.session == self._world.term:
            return
        self.session = self._world.term
        self._sessions += 1
        self._told, self._told_index, self._acknowledged, self.carried = None, 0, 0, 0
        self._in_flight = False
        self._world.look()
        for process in self.processes.values():
            self._report(process.task.id, process.status)
        self._in_session(REPORT_DELAY, self._note_reported)

    def end_session(self) -> None:
        """The stream is gone."""
        self.session = 0
        self.reported = False

    def disconnect(self) -> None:
        """Cut off from everything."""
        self.connected = False
        self.end_session()

    def connect(self) -> None:
        """Reachable again."""
        self.connected = True
        self.connected_since = self._world.now

    def _note_reported(self) -> None:
        self.reported = True
        self._world.look()
        self.tell_soon()

    def _in_session(self, delay: timedelta, action: Callable[[], None]) -> None:
        """Do it unless the session has ended by then."""
        number = self._sessions

        def act() -> None:
            if self.session and self._sessions == number:
                action()

        self._world.after(delay, act)

    def _report(self, task_id: str, status: TaskStatus) -> None:
        """Reaches the log if the session lasts; else the next session tells it."""
        self._in_session(REPORT_DELAY, lambda: self._world.report(task_id, status))

    # ---- what it is told

    def tell_soon(self) -> None:
        """The state has changed: the leader looks whether that concerns the node."""
        if not self._tell_due and not self._in_flight and self.reported:
            self._tell_due = True
            self._world.after(self._world.delay(0.0005, 0.005), self._tell)

    def _tell(self) -> None:
        self._tell_due = False
        newest = self._world.assignments()
        if not self.reported or self._in_flight or self.node_id not in newest.state.nodes:
            return
        message = self._message(newest)
        self._told = newest
        if message is not None:
            self._told_index = newest.index
            self._in_flight = True
            arrival = self._world.delay(0.001, 0.02)
            self._in_session(arrival, lambda: self._hear(message, newest))
        self._note_carried()

    def _message(self, newest: Assignments) -> Assignment | AssignmentDelta | None:
        told = self._told
        if told is None or assignment.needs_whole(told, newest, self.node_id):
            return newest.of(self.node_id)
        common = assignment.services_delta(told, newest)
        delta = replace(
            assignment.node_delta(told, newest, self.node_id),
            base=self._told_index,
            services=common.services,
            services_gone=common.services_gone,
        )
        return None if assignment.says_nothing(delta) else delta

    def _hear(self, message: Assignment | AssignmentDelta, told: Assignments) -> None:
        self._in_flight = False
        if isinstance(message, Assignment):
            self.known = assignment.sharing(self.known, message)
        else:
            assert self.known is not None, "a delta follows a whole assignment"
            self.known = assignment.apply_delta(self.known, message)
        if self.known != told.of(self.node_id):
            self._world.fail(f"{self.node_id} was told something else than its assignment")
        for sentence in simulation_laws.stray_endpoints(told.state, self.known):
            self._world.fail(sentence)
        for task_id in self.processes.keys() - {task.id for task in self.known.tasks}:
            del self.processes[task_id]
        for task in self.known.tasks:
            self._follow(task)
        index = self.known.index
        slow = self._world.random.random() < 0.02 and not self._world.calm
        delay = self._world.delay(0.5, 6) if slow else self._world.delay(0.001, 0.02)
        number = self._sessions
        self._world.after(delay, lambda: self._carry(index, number))
        self.tell_soon()

    def _carry(self, index: int, session: int) -> None:
        """The kernel's rules are as the newest assignment says; tell the session it is of."""
        assert self.known is not None, "it carries what it knows"
        self._set_rules()
        if self.session and self._sessions == session:
            self._in_session(REPORT_DELAY, lambda: self._acknowledge(index))

    def _acknowledge(self, index: int) -> None:
        self._acknowledged = max(self._acknowledged, index)
        self._note_carried()

    def _note_carried(self) -> None:
        assert self._told is not None, "something was told before it was carried"
        quiet = self._acknowledged >= self._told_index > 0
        index = self._told.index if quiet else self._acknowledged
        if index > self.carried:
            before, self.carried = self.carried, index
            self._world.carry(before, index)

    def _set_rules(self) -> None:
        """As the newest assignment says, and what is known of its own tasks."""
        if self.known is not None:
            statuses = {task_id: each.status for task_id, each in self.processes.items()}
            self.rules = endpoints.as_known(self.known, self.node_id, statuses, self.rules)

    def sends_to(self, task: Task) -> bool:
        """New connections to the service may reach that task from here."""
        traffic = self.rules.get(task.service)
        return traffic is not None and any(e.task_id == task.id for e in traffic.endpoints)

    # ---- processes

    def _follow(self, task: Task) -> None:
        process = self.processes.get(task.id)
        if task.status.state.terminal:
            self.processes.pop(task.id, None)
            return
        if process is None:
            if task.wanted:
                self._take(task)
            else:
                self._report(task.id, replace(task.status, state=TaskState.STOPPED))
            return
        process.task = task
        if task.wanted or process.stopping or process.status.state.terminal:
            return
        runs = process.status.state is TaskState.RUNNING
        if task.desired is DesiredState.DRAINING and runs:
            return
        for sentence in simulation_laws.rash_signal(task, process.status, self._world.now):
            self._world.fail(sentence)
        process.stopping = True
        self._world.after(self._world.delay(0.05, 3), lambda: self._ended(process))

    def _become(self, process: Process, state: TaskState, **values: object) -> None:
        status = replace(process.status, state=state, since=self._world.now)
        process.status = replace(status, **values)  # type: ignore[arg-type]
        self._set_rules()
        self._report(process.task.id, process.status)

    def _take(self, task: Task) -> None:
        process = self.processes[task.id] = Process(task=task, status=task.status)
        self._become(process, TaskState.PREPARING)
        self._world.after(self._world.delay(0.05, 1), lambda: self._started(process))

    def _is_current(self, process: Process) -> bool:
        return self.processes.get(process.task.id) is process

    def _started(self, process: Process) -> None:
        if process.stopping or not self._is_current(process):
            return
        world = self._world
        image = process.task.template.image
        if image.startswith("bad") or (not world.calm and world.random.random() < 0.1):
            self._failed(process)
            return
        checked = process.task.template.health is not None
        health = Health.STARTING if checked else Health.NONE
        address = f"10.88.0.{world.random.randrange(1, 255)}"
        self._become(process, TaskState.RUNNING, address=address, health=health, message="")
        since = process.status.since
        if checked and not image.startswith("sick"):
            world.after(world.delay(0.05, 4), lambda: self._checked(process, since))
        if image.startswith(("late", "sick")):
            world.after(world.delay(1, 8), lambda: self._turned_bad(process, since))
        if world.random.random() < 0.1:
            world.after(world.delay(0.1, 30), lambda: self._crashed(process, since))

    def _checked(self, process: Process, since: datetime) -> None:
        """The first checks of a run are over: good ones, as a rule."""
        if process.status.since != since or process.stopping or not self._is_current(process):
            return
        if not self._world.calm and self._world.random.random() < 0.1:
            self._crashed(process, since)
            return
        process.status = replace(process.status, health=Health.HEALTHY)
        self._set_rules()
        self._report(process.task.id, process.status)

    def _crashed(self, process: Process, since: datetime) -> None:
        ended = process.stopping or not self._is_current(process)
        if self._world.calm or ended or process.status.since != since:
            return
        if process.task.desired is DesiredState.RUNNING:
            self._failed(process)
        else:
            self._ended(process)

    def _turned_bad(self, process: Process, since: datetime) -> None:
        """An image that runs well for a while, or until its checks have failed often enough. What
        seemed well when the faults ended goes on being so: else there would be no silence, where
        it stays because what users want now has no place."""
        ended = process.stopping or not self._is_current(process)
        if self._world.calm and process.status.health is not Health.STARTING:
            return
        if not ended and process.status.since == since:
            self._failed(process)

    def _failed(self, process: Process) -> None:
        failures = process.status.failures + 1
        most = process.task.template.restart.max_attempts
        for_good = most and failures > most
        self._become(
            process,
            TaskState.FAILED if for_good else TaskState.RESTARTING,
            failures=failures,
            message="exit code 1",
            exit_code=1,
            address="",
            health=Health.NONE,
        )
        if not for_good:
            backoff = timedelta(seconds=min(8, 2 ** (failures - 1)))
            self._world.after(backoff, lambda: self._started(process))

    def _ended(self, process: Process) -> None:
        if self._is_current(process) and not process.status.state.terminal:
            self._become(process, TaskState.STOPPED, address="", health=Health.NONE)
