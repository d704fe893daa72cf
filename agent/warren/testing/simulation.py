"""A whole cluster on virtual time, in one thread, from one seed: the deciders against bad luck.

The leader decides on a snapshot and its commands are committed later, so other commands come in
between; leaders change, with decisions in flight; nodes crash, are cut off and return with what
they ran; starts and processes fail; users scale, update, drain and remove meanwhile. After each
step the laws are checked. When the faults stop, the cluster must converge in bounded time, and
then be silent. Replay a seed with `python -m warren.testing.simulation --seed N`.
"""

import argparse
import heapq
import itertools
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from warren.core import allocator, assignment, nodes, views
from warren.core.reconcile import Decision, reconcile
from warren.model.nodes import (
    Availability,
    Node,
    NodeDescription,
    NodeMesh,
    NodeRole,
    NodeSpec,
    NodeStatus,
)
from warren.model.services import (
    Bytes,
    Placement,
    Port,
    PortMode,
    ResourceReservations,
    Resources,
    RestartPolicy,
    Service,
    ServiceSpec,
)
from warren.model.tasks import Task, TaskState, TaskStatus
from warren.state import commands as c
from warren.state import invariants
from warren.state.apply import apply
from warren.state.cluster import ClusterState
from warren.testing import simulation_laws
from warren.testing.builders import GIB, NOON, a_cluster

CHAOS = timedelta(seconds=40)
CONVERGES_WITHIN = timedelta(seconds=120)
SILENT_FOR = timedelta(seconds=30)
REPORT_DELAY = timedelta(milliseconds=5)
SERVICES = ("web", "db", "api")
IMAGES = ("good:1", "good:2", "good:3", "bad:1")


class LawBrokenError(AssertionError):
    """What was violated, with the seed and the moment."""


@dataclass(slots=True, kw_only=True)
class _Process:
    """A task on a worker, as the worker sees it."""

    task: Task
    status: TaskStatus
    stopping: bool = False


@dataclass(slots=True, kw_only=True)
class _Worker:
    """A host. Cut off, it goes on by itself; crashed, it has forgotten its processes."""

    node_id: str
    connected: bool = True
    processes: dict[str, _Process] = field(default_factory=dict)
    delivery_due: bool = False


class Simulation:
    """One run. `run` returns the number of events, or raises LawBrokenError."""

    def __init__(self, seed: int, *, log: Callable[[str], None] | None = None) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.now = NOON
        self.state = ClusterState()
        self.workers: dict[str, _Worker] = {}
        self.calm = False
        self._log = log
        self._events: list[tuple[datetime, int, Callable[[], None]]] = []
        self._sequence = itertools.count()
        self._ids = itertools.count(1)
        self._contacts: dict[str, datetime] = {}
        """As the leader has them, but for workers that it hears all the time."""
        self._term = 0
        self._leads = False
        self._look_due = False
        self._in_flight = False
        self._two_leaders = False
        self._leader_overlap = self.random.random() < 0.3
        """In some runs a former leader's decision may still be committed after its time."""
        self._commands_of_leader = 0

    def run(self) -> int:
        """Begin, make trouble, stop making trouble, converge, be silent."""
        self._begin()
        self._run_until(NOON + CHAOS)
        self._end_faults()
        deadline = self.now + CONVERGES_WITHIN
        while self._unsettled() and self.now < deadline:
            self._run_until(self.now + timedelta(milliseconds=200))
        for reason in self._unsettled():
            self.fail(f"not settled {CONVERGES_WITHIN} after the last fault: {reason}")
        silent_from = self._commands_of_leader
        self._run_until(self.now + SILENT_FOR)
        if self._commands_of_leader != silent_from:
            self.fail("the leader writes although nothing happens")
        return next(self._sequence)

    # ---- time

    def _after(self, delay: timedelta, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + delay, next(self._sequence), action))

    def _step(self) -> None:
        self.now, _, action = heapq.heappop(self._events)
        action()

    def _run_until(self, end: datetime) -> None:
        while self._events and self._events[0][0] <= end:
            self._step()
        self.now = end

    def _delay(self, low: float, high: float) -> timedelta:
        return timedelta(seconds=self.random.uniform(low, high))

    # ---- the log

    def _apply(self, command: c.Command) -> c.Outcome:
        self.state, outcome = apply(self.state, command)
        self._check(invariants.check(self.state))
        self._look()
        for worker in self.workers.values():
            self._deliver_soon(worker)
        return outcome

    def _check(self, broken: Iterable[str]) -> None:
        for sentence in broken:
            self.fail(sentence)

    def fail(self, message: str) -> None:
        """Raise, with all that is needed to see it again."""
        elapsed = (self.now - NOON).total_seconds()
        raise LawBrokenError(
            f"seed {self.seed} at {elapsed:.3f} s: {message}\n"
            f"replay: python -m warren.testing.simulation --seed {self.seed}"
        )

    def _say(self, text: str) -> None:
        if self._log is not None:
            self._log(f"{(self.now - NOON).total_seconds():8.3f}  {text}")

    # ---- the leader

    def _look(self) -> None:
        """Something changed: the leader looks soon, once however often it changed."""
        if not self._look_due:
            self._look_due = True
            self._after(self._delay(0.0005, 0.003), self._lead)

    def _lead(self) -> None:
        self._look_due = False
        if not self._leads or self._in_flight:
            return
        heard = {w.node_id: self.now for w in self.workers.values() if w.connected}
        contacts = {**self._contacts, **heard}
        decision = reconcile(self.state, self.now, self._new_id, contacts)
        if decision.wake_at is not None and decision.wake_at <= self.now:
            self.fail(f"the leader would wake at {decision.wake_at}, which is not later")
        if decision.commands:
            self._in_flight = True
            term, index = self._term, self.state.index
            delay = self._delay(0.001, 0.02)
            self._after(delay, lambda: self._commit(term, index, decision))
        else:
            self._check(invariants.check_decided(self.state))
            if decision.wake_at is not None:
                self._after(decision.wake_at - self.now, self._look)

    def _commit(self, term: int, index: int, decision: Decision) -> None:
        if term == self._term:
            self._in_flight = False
        elif not self._leader_overlap:
            return
        else:
            self._two_leaders = True
        self._commands_of_leader += len(decision.commands)
        undisturbed = index == self.state.index
        before = self.state
        for command in decision.commands:
            self._say(f"leader {term}: {_summary(command)}")
        self._apply(c.Batch(commands=decision.commands))
        if undisturbed:
            self._check(invariants.check_decided(self.state))
            self._check(simulation_laws.needless_stops(before, self.state))
            self._check(simulation_laws.rash_rollouts(before, self.state))
        if not self._two_leaders:
            self._check(simulation_laws.overbooked(self.state))

    def _new_id(self) -> str:
        return f"{next(self._ids):05}"

    def _change_leader(self) -> None:
        self._term += 1
        self._leads = False
        self._in_flight = False
        self._say("no leader")
        self._after(self._delay(0.1, 4), self._elect)

    def _elect(self) -> None:
        if self._leads:
            return
        self._term += 1
        self._leads = True
        self._contacts = nodes.first_contacts(self.state, self.now)
        self._say(f"leader {self._term}")
        for worker in self.workers.values():
            self._resume(worker)
        self._look()

    # ---- workers

    def _deliver_soon(self, worker: _Worker) -> None:
        if not worker.delivery_due:
            worker.delivery_due = True
            self._after(self._delay(0.001, 0.02), lambda: self._deliver(worker))

    def _deliver(self, worker: _Worker) -> None:
        """The node's assignment arrives."""
        worker.delivery_due = False
        if not worker.connected or not self._leads or worker.node_id not in self.state.nodes:
            return
        tasks = {t.id: t for t in assignment.assignment_for(self.state, worker.node_id).tasks}
        for task_id in worker.processes.keys() - tasks.keys():
            del worker.processes[task_id]
        for task in tasks.values():
            process = worker.processes.get(task.id)
            if task.wanted and process is None:
                self._take(worker, task)
            elif task.status.state.terminal:
                worker.processes.pop(task.id, None)
            elif not task.wanted and process is None:
                self._report(worker, task.id, replace(task.status, state=TaskState.STOPPED))
            elif not task.wanted and process is not None and not process.stopping:
                process.stopping = True
                self._after(self._delay(0.05, 3), lambda p=process: self._ended(worker, p))  # type: ignore[misc]

    def _take(self, worker: _Worker, task: Task) -> None:
        status = replace(task.status, state=TaskState.PREPARING, since=self.now)
        process = worker.processes[task.id] = _Process(task=task, status=status)
        self._report(worker, task.id, status)
        self._after(self._delay(0.05, 1), lambda: self._started(worker, process))

    def _is_current(self, worker: _Worker, process: _Process) -> bool:
        return worker.processes.get(process.task.id) is process

    def _started(self, worker: _Worker, process: _Process) -> None:
        if process.stopping or not self._is_current(worker, process):
            return
        bad = process.task.template.image.startswith("bad")
        if bad or (not self.calm and self.random.random() < 0.1):
            self._failed(worker, process)
            return
        address = f"10.88.0.{self.random.randrange(1, 255)}"
        state = TaskState.RUNNING
        process.status = replace(process.status, state=state, since=self.now, address=address)
        self._report(worker, process.task.id, process.status)
        if self.random.random() < 0.1:
            self._after(self._delay(0.1, 30), lambda: self._crashed(worker, process))

    def _crashed(self, worker: _Worker, process: _Process) -> None:
        if not self.calm and not process.stopping and self._is_current(worker, process):
            self._failed(worker, process)

    def _failed(self, worker: _Worker, process: _Process) -> None:
        failures = process.status.failures + 1
        most = process.task.template.restart.max_attempts
        state = TaskState.FAILED if most and failures > most else TaskState.RESTARTING
        process.status = TaskStatus(
            state=state, since=self.now, failures=failures, message="exit code 1", exit_code=1
        )
        self._report(worker, process.task.id, process.status)
        if state is TaskState.RESTARTING:
            backoff = timedelta(seconds=min(8, 2 ** (failures - 1)))
            self._after(backoff, lambda: self._started(worker, process))

    def _ended(self, worker: _Worker, process: _Process) -> None:
        if self._is_current(worker, process):
            process.status = replace(
                process.status, state=TaskState.STOPPED, since=self.now, address=""
            )
            self._report(worker, process.task.id, process.status)

    def _report(self, worker: _Worker, task_id: str, status: TaskStatus) -> None:
        """Reaches the log unless the worker is cut off or nobody leads; then `_resume` does."""

        def arrive() -> None:
            if worker.connected and self._leads:
                self._say(f"{worker.node_id}: {task_id} is {status.state.value}")
                self._apply(c.SetTaskStatus(task_id=task_id, status=status))

        self._after(REPORT_DELAY, arrive)

    def _resume(self, worker: _Worker) -> None:
        """A new session: the worker tells all that it has, and is told all."""
        if worker.connected:
            for process in worker.processes.values():
                self._report(worker, process.task.id, process.status)
            self._deliver_soon(worker)
            self._look()

    def _cut_off(self, worker: _Worker) -> None:
        if worker.connected:
            worker.connected = False
            self._contacts[worker.node_id] = self.now
            self._say(f"{worker.node_id} is cut off")
            self._after(self._delay(0.1, 20), lambda: self._return(worker))
            self._look()

    def _crash(self, worker: _Worker) -> None:
        self._cut_off(worker)
        worker.processes.clear()

    def _return(self, worker: _Worker) -> None:
        if not worker.connected:
            worker.connected = True
            self._say(f"{worker.node_id} is back")
            self._resume(worker)

    # ---- users and bad luck

    def _begin(self) -> None:
        first = self._new_node()
        self._apply(c.CreateCluster(cluster=a_cluster(task_history=2), node=first))
        self.workers[first.id] = _Worker(node_id=first.id)
        for _ in range(self.random.randint(1, 5)):
            self._add_node()
        self._elect()
        for _ in range(self.random.randint(2, 3)):
            self._put_service()
        self._trouble()

    def _trouble(self) -> None:
        if self.calm:
            return
        actions: list[tuple[float, Callable[[], None]]] = [
            (4, self._put_service),
            (1, self._remove_service),
            (2, self._set_availability),
            (3, lambda: self._cut_off(self._some_worker())),
            (2, lambda: self._crash(self._some_worker())),
            (2, self._change_leader),
            (0.5, self._add_node),
            (0.5, self._remove_node),
        ]
        weights = [weight for weight, _ in actions]
        (action,) = self.random.choices([action for _, action in actions], weights)
        action()
        self._after(self._delay(0.05, 5), self._trouble)

    def _some_worker(self) -> _Worker:
        return self.random.choice(list(self.workers.values()))

    def _new_node(self) -> Node:
        number = next(self._ids)
        spec = a_cluster().spec
        address, subnet = allocator.allocate_mesh(spec, (n.mesh for n in self.state.nodes.values()))
        return Node(
            id=f"n{number}",
            spec=NodeSpec(
                name=f"n{number}",
                roles=(NodeRole.WORKER,),
                labels={"zone": self.random.choice(["north", "south"])},
            ),
            description=NodeDescription(cpus=4, memory=Bytes(4 * GIB)),
            mesh=NodeMesh(public_key=f"key {number}", endpoint="", address=address, subnet=subnet),
            status=NodeStatus(since=self.now),
            joined_at=self.now,
        )

    def _add_node(self) -> None:
        node = self._new_node()
        self._say(f"user: add {node.id}")
        self.workers[node.id] = _Worker(node_id=node.id)
        self._apply(c.AddNode(node=node))

    def _remove_node(self) -> None:
        if len(self.workers) > 2:
            worker = self._some_worker()
            self._say(f"user: remove {worker.node_id}")
            del self.workers[worker.node_id]
            self._apply(c.RemoveNode(node_id=worker.node_id, now=self.now))

    def _set_availability(self) -> None:
        node = self.state.nodes[self._some_worker().node_id]
        availability = self.random.choice(list(Availability))
        self._put_availability(node, availability)

    def _put_availability(self, node: Node, availability: Availability) -> None:
        self._say(f"user: {node.id} {availability.value}")
        spec = replace(node.spec, availability=availability)
        self._apply(c.PutNodeSpec(node_id=node.id, spec=spec, expected_version=node.version))

    def _put_service(self) -> None:
        name = self.random.choice(SERVICES)
        before = self.state.services.get(name)
        if before is None:
            spec = self._new_spec(name)
        elif self.random.random() < 0.5:
            spec = replace(before.spec, replicas=self.random.randint(0, 6))
        else:
            spec = replace(before.spec, image=self.random.choice(IMAGES))
        self._put(spec, before)

    def _put(self, spec: ServiceSpec, before: Service | None) -> None:
        self._say(f"user: {spec.name} {spec.image} replicas {spec.replicas}")
        version = before.version if before is not None else 0
        self._apply(c.PutService(spec=spec, expected_version=version, now=self.now))

    def _new_spec(self, name: str) -> ServiceSpec:
        pick = self.random.choice
        port = Port(target=80, published=1000 + SERVICES.index(name), mode=PortMode.HOST)
        memory = Bytes(pick([0, 0, 1, 2]) * GIB)
        return ServiceSpec(
            name=name,
            image=pick(IMAGES),
            replicas=self.random.randint(0, 6),
            ports=pick([(), (), (port,)]),
            restart=RestartPolicy(max_attempts=pick([0, 0, 2])),
            resources=Resources(reservations=ResourceReservations(memory=memory)),
            placement=Placement(
                max_per_node=pick([0, 0, 0, 1, 2]),
                constraints=pick([(), (), (), ("node.labels.zone == north",)]),
            ),
        )

    def _remove_service(self) -> None:
        name = self.random.choice(SERVICES)
        self._say(f"user: remove {name}")
        self._apply(c.RemoveService(name=name, expected_version=0, now=self.now))

    def _end_faults(self) -> None:
        """All hosts are there, somebody leads, and users want images that work."""
        self._say("the faults end")
        self.calm = True
        for worker in self.workers.values():
            self._return(worker)
        self._elect()
        for node in list(self.state.nodes.values()):
            if node.spec.availability is Availability.PAUSE:
                self._put_availability(node, Availability.ACTIVE)
        for service in list(self.state.services.values()):
            if not service.removing:
                self._put(replace(service.spec, image="good:9"), service)

    # ---- the end

    def _unsettled(self) -> list[str]:
        """What is not as it should be, and could be: a task without a place is an excuse."""
        reasons = []
        if self._in_flight or self._look_due:
            reasons.append("the leader is deciding")
        for name, service in self.state.services.items():
            tasks = tuple(self.state.tasks_of(name))
            status = views.service_status(self.state, service, tasks)
            if status.converged:
                continue
            pending = [
                task for task in tasks if task.wanted and task.status.state is TaskState.PENDING
            ]
            if (
                not pending
                or service.removing
                or not simulation_laws.is_stuck(self.state, service, pending)
            ):
                reasons.append(f"{name}: {status.reason}")
        return reasons


def _summary(command: c.Command) -> str:
    match command:
        case c.CreateTask():
            return f"create {command.task.id} r{command.task.revision}"
        case c.AssignTask():
            return f"assign {command.task_id} to {command.node_id}"
        case c.SetTaskDesired():
            return f"stop {command.task_id}"
        case c.SetTaskStatus():
            return f"{command.task_id} {command.status.state.value}: {command.status.message}"
        case c.SetNodeStatus():
            return f"{command.node_id} is {command.status.state.value}"
        case _:
            return str(command)


def main() -> None:
    """Replay one seed with a log, or run many and say how fast."""
    parser = argparse.ArgumentParser(description="Simulate a cluster under faults.")
    parser.add_argument("--seed", type=int, help="replay this seed and print what happens")
    parser.add_argument("--seeds", type=int, default=1000, help="run the seeds 0 .. SEEDS-1")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        events = Simulation(arguments.seed, log=print).run()
        print(f"seed {arguments.seed}: {events} events, all laws hold")
        return
    began = time.perf_counter()
    for seed in range(arguments.seeds):
        Simulation(seed).run()
    print(f"{arguments.seeds / (time.perf_counter() - began):.1f} seeds/s, all laws hold")


if __name__ == "__main__":
    main()
