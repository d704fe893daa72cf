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
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from warren.core import (
    allocator,
    assignment,
    nodes,
    orchestrator,
    rollout,
    situation,
    updates,
    views,
)
from warren.core.assignment import Assignments
from warren.core.reconcile import Decision, Reconciliation, reconcile
from warren.model.nodes import (
    Availability,
    Node,
    NodeDescription,
    NodeMesh,
    NodeRole,
    NodeSpec,
    NodeState,
    NodeStatus,
)
from warren.model.services import (
    Bytes,
    HealthCheck,
    Placement,
    Port,
    PortMode,
    ResourceReservations,
    Resources,
    RestartPolicy,
    Service,
    ServiceSpec,
    TcpCheck,
)
from warren.model.tasks import DesiredState, Task, TaskStatus
from warren.state import commands as c
from warren.state import invariants
from warren.state.apply import apply
from warren.state.cluster import ClusterState
from warren.testing import simulation_laws
from warren.testing.builders import GIB, NOON, a_cluster
from warren.testing.simulation_truth import FINDS_LEADER_WITHIN, Truth
from warren.testing.simulation_worker import Worker

CHAOS = timedelta(seconds=40)
CONVERGES_WITHIN = timedelta(seconds=120)
SILENT_FOR = timedelta(seconds=30)
SERVICES = ("web", "db", "api")
IMAGES = ("good:1", "good:2", "good:3", "bad:1")
LAST_IMAGE = "good:9"
"""What users want when the faults have ended."""


class LawBrokenError(AssertionError):
    """What was violated, with the seed and the moment."""


class Simulation:
    """One run. `run` returns the number of events, or raises LawBrokenError."""

    replay = "python -m warren.testing.simulation --seed"
    chaos = CHAOS

    def __init__(self, seed: int, *, log: Callable[[str], None] | None = None) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.now = NOON
        self.state = ClusterState()
        self.workers: dict[str, Worker] = {}
        self.calm = False
        self._log = log
        self._events: list[tuple[datetime, int, Callable[[], None]]] = []
        self._sequence = itertools.count()
        self._ids = itertools.count(1)
        self._assignments = assignment.begin(self.state)
        self._reconciliation = Reconciliation()
        self._contacts: dict[str, datetime] = {}
        """As the leader has them, but for workers that it hears all the time."""
        self._away: dict[str, tuple[int, datetime]] = {}
        """Nodes whose agents are being restarted: which leader knows, and until when it waits."""
        self.term = 0
        self.leads = False
        self._look_due = False
        self._in_flight = False
        self._awaits: frozenset[int] = frozenset()
        """Which indexes it is to look at again, once all nodes have carried one."""
        self._wakes_at: datetime | None = None
        """What the newest decision said; the moments of those before count no more."""
        self._decided_index = 0
        """Up to which state the laws of what was decided are known to hold."""
        self._two_leaders = False
        self._leader_overlap = self.random.random() < 0.3
        """In some runs a former leader's decision may still be committed after its time."""
        self._compares = seed % 5 == 0
        """In some runs, remembering is compared with looking at everything anew."""
        self._commands_of_leader = 0

    def run(self) -> int:
        """Begin, make trouble, stop making trouble, converge, be silent."""
        self._begin()
        self._run_until(NOON + self.chaos)
        self._end_faults()
        deadline = self.now + CONVERGES_WITHIN
        while self.now < deadline and next(self._unsettled(), None):
            self._run_until(self.now + timedelta(milliseconds=200))
        for reason in self._unsettled():
            self.fail(f"not settled {CONVERGES_WITHIN} after the last fault: {reason}")
        self._check(simulation_laws.one_on_each_node(self.state))
        silent_from = self._commands_of_leader
        self._run_until(self.now + SILENT_FOR)
        if self._commands_of_leader != silent_from:
            self.fail("the leader writes although nothing happens")
        return next(self._sequence)

    # ---- time

    def after(self, delay: timedelta, action: Callable[[], None]) -> None:
        """Do it in a while."""
        heapq.heappush(self._events, (self.now + delay, next(self._sequence), action))

    def _step(self) -> None:
        self.now, _, action = heapq.heappop(self._events)
        action()

    def _run_until(self, end: datetime) -> None:
        while self._events and self._events[0][0] <= end:
            self._step()
        self.now = end

    def delay(self, low: float, high: float) -> timedelta:
        """Between so many seconds and so many."""
        return timedelta(seconds=self.random.uniform(low, high))

    # ---- the log

    def _apply(self, command: c.Command) -> c.Outcome:
        self.state, outcome = apply(self.state, command)
        self._check(invariants.check(self.state))
        self.look()
        for worker in self.workers.values():
            worker.tell_soon()
        return outcome

    def _check(self, broken: Iterable[str]) -> None:
        for sentence in broken:
            self.fail(sentence)

    def fail(self, message: str) -> None:
        """Raise, with all that is needed to see it again."""
        elapsed = (self.now - NOON).total_seconds()
        raise LawBrokenError(
            f"seed {self.seed} at {elapsed:.3f} s: {message}\nreplay: {self.replay} {self.seed}"
        )

    def say(self, text: str) -> None:
        """A line of the story."""
        if self._log is not None:
            self._log(f"{(self.now - NOON).total_seconds():8.3f}  {text}")

    # ---- the leader

    def look(self) -> None:
        """Something changed: the leader looks soon, once however often it changed."""
        if not self._look_due:
            self._look_due = True
            self.after(self.delay(0.0005, 0.003), self._lead)

    def _lead(self) -> None:
        self._look_due = False
        if not self.leads or self._in_flight:
            return
        sessions = [w for w in self.workers.values() if w.session == self.term]
        ready = {n.id for n in self.state.nodes.values() if n.status.state is NodeState.READY}
        unheard = ready - {w.node_id for w in sessions if w.reported}
        contacts = {**self._contacts, **{w.node_id: self.now for w in sessions}}
        carried = {w.node_id: w.carried for w in sessions}
        ids: list[str] = []
        decision = self._reconciliation.decide(
            self.state, self.now, lambda: self._new_id(ids), contacts, carried, unheard
        )
        self._awaits = decision.awaits
        again = iter(ids)
        if self._compares and decision != reconcile(
            self.state, self.now, lambda: next(again), contacts, carried, unheard
        ):
            self.fail("who remembers what is at rest decides otherwise")
        if decision.wake_at is not None and decision.wake_at <= self.now:
            self.fail(f"the leader would wake at {decision.wake_at}, which is not later")
        if decision.commands:
            self._in_flight = True
            term, state = self.term, self.state
            self._check(self._truth().broken(decision))
            heard_all = not unheard
            self.after(
                self.delay(0.001, 0.02),
                lambda: self._commit(term, state, decision, whole=heard_all),
            )
        else:
            if not unheard and self.state.index != self._decided_index:
                self._decided_index = self.state.index
                self._check(invariants.check_decided(self.state))
            self._wake_at(decision.wake_at)

    def _truth(self) -> Truth:
        return Truth(
            state=self.state,
            now=self.now,
            workers=self.workers,
            excused_until=self._excused_until,
        )

    def _wake_at(self, moment: datetime | None) -> None:
        """Look again then, if nothing makes the leader look before."""
        before, self._wakes_at = self._wakes_at, moment
        if moment is not None and moment != before:
            self.after(moment - self.now, lambda: self._wake(moment))

    def _wake(self, moment: datetime) -> None:
        if self._wakes_at == moment:
            self._wakes_at = None
            self.look()

    def _commit(
        self, term: int, decided_on: ClusterState, decision: Decision, *, whole: bool
    ) -> None:
        """`whole`: it was made with nothing left to hear of."""
        if term == self.term:
            self._in_flight = False
        elif not self._leader_overlap:
            return
        else:
            self._two_leaders = True
        self._commands_of_leader += len(decision.commands)
        before = self.state
        undisturbed = decided_on.index == before.index
        for command in decision.commands:
            self.say(f"leader {term}: {_summary(command)}")
        self._apply(c.Batch(commands=decision.commands))
        if undisturbed and whole:
            self._check(invariants.check_decided(self.state))
        if undisturbed:
            if whole:
                self._check(simulation_laws.needless_stops(before, self.state))
            self._check(simulation_laws.capacity(before, self.state))
            self._check(simulation_laws.parallelism(before, self.state))
        self._check(simulation_laws.ends(self.state))
        if not self._two_leaders:
            self._check(simulation_laws.overbooked(self.state))

    def _new_id(self, made: list[str]) -> str:
        made.append(f"{next(self._ids):05}")
        return made[-1]

    def _change_leader(self) -> None:
        self.term += 1
        self.leads = False
        self._in_flight = False
        self.say("no leader")
        for worker in self.workers.values():
            worker.end_session()
        long = self.random.random() < 0.15
        self.after(self.delay(10, 30) if long else self.delay(0.1, 4), self._elect)

    def _elect(self) -> None:
        if self.leads:
            return
        self.term += 1
        self.leads = True
        self._contacts = nodes.first_contacts(self.state, self.now)
        self.say(f"leader {self.term}")
        for worker in self.workers.values():
            self._find_leader(worker)
        self.look()

    # ---- workers

    def carry(self, before: int, index: int) -> None:
        """A worker's rules have got from one index to another: is that what something waits for?"""
        if any(before < awaited <= index for awaited in self._awaits):
            self.look()

    def assignments(self) -> Assignments:
        """Of the newest state."""
        self._assignments = assignment.advance(self._assignments, self.state)
        return self._assignments

    def report(self, task_id: str, status: TaskStatus) -> None:
        """A worker's report reaches the leader, and so the log."""
        self.say(f"{task_id} is {status.state.value}")
        self._apply(c.SetTaskStatus(task_id=task_id, status=status))

    def _find_leader(self, worker: Worker) -> None:
        """It takes a worker a moment, or a few tries, to find who leads."""
        self.after(self.delay(0.01, FINDS_LEADER_WITHIN), worker.open_session)

    def _cut_off(self, worker: Worker) -> None:
        if worker.connected:
            self._contacts[worker.node_id] = self.now
            worker.disconnect()
            self.say(f"{worker.node_id} is cut off")
            self.after(self.delay(0.1, 20), lambda: self._return(worker))
            self.look()

    def _crash(self, worker: Worker) -> None:
        self._cut_off(worker)
        worker.processes.clear()
        worker.rules = {}

    def _restart_agent(self, worker: Worker) -> None:
        """It says so, and is away for a while; tasks and rules go on."""
        if worker.session:
            until = self._contacts[worker.node_id] = self.now + nodes.AWAY_MAX
            self._away[worker.node_id] = (self.term, until)
            worker.disconnect()
            self.say(f"{worker.node_id}: the agent restarts")
            self.after(self.delay(0.1, 20), lambda: self._return(worker))

    def _excused_until(self, node_id: str) -> datetime:
        term, until = self._away.get(node_id, (0, self.now))
        return until if term == self.term else self.now

    def _return(self, worker: Worker) -> None:
        self._away.pop(worker.node_id, None)
        if not worker.connected:
            worker.connect()
            self.say(f"{worker.node_id} is back")
            self._find_leader(worker)

    # ---- users and bad luck

    def _begin(self) -> None:
        first = self._new_node()
        self._apply(c.CreateCluster(cluster=a_cluster(task_history=2), node=first))
        self.workers[first.id] = Worker(self, first.id)
        for _ in range(self.random.randint(1, 5)):
            self._add_node()
        self._elect()
        for _ in range(self.random.randint(2, 3)):
            self._put_service()
        self._trouble()

    def _trouble(self) -> None:
        if self.calm:
            return
        actions = self._actions()
        weights = [weight for weight, _ in actions]
        (action,) = self.random.choices([action for _, action in actions], weights)
        action()
        self.after(self.delay(0.05, 5), self._trouble)

    def _actions(self) -> list[tuple[float, Callable[[], None]]]:
        """What may happen, and how often compared with the rest."""
        return [
            (4, self._put_service),
            (1, self._remove_service),
            (2, self._set_availability),
            (3, lambda: self._cut_off(self._some_worker())),
            (2, lambda: self._crash(self._some_worker())),
            (2, lambda: self._restart_agent(self._some_worker())),
            (2, self._change_leader),
            (0.5, self._add_node),
            (0.5, self._remove_node),
        ]

    def _some_worker(self) -> Worker:
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
            description=NodeDescription(cpus=4, memory=Bytes(4 * GIB), volume_drivers=("local",)),
            mesh=NodeMesh(public_key=f"key {number}", endpoint="", address=address, subnet=subnet),
            status=NodeStatus(since=self.now),
            joined_at=self.now,
        )

    def _add_node(self) -> None:
        node = self._new_node()
        self.say(f"user: add {node.id}")
        self.workers[node.id] = Worker(self, node.id)
        self._apply(c.AddNode(node=node))
        self._find_leader(self.workers[node.id])

    def _remove_node(self) -> None:
        if len(self.workers) > 2:
            worker = self._some_worker()
            self.say(f"user: remove {worker.node_id}")
            del self.workers[worker.node_id]
            self._apply(c.RemoveNode(node_id=worker.node_id, now=self.now))

    def _set_availability(self) -> None:
        node = self.state.nodes[self._some_worker().node_id]
        availability = self.random.choice(list(Availability))
        self._put_availability(node, availability)

    def _put_availability(self, node: Node, availability: Availability) -> None:
        self.say(f"user: {node.id} {availability.value}")
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
        self.say(f"user: {spec.name} {spec.image} replicas {spec.replicas}")
        version = before.version if before is not None else 0
        number = f"{next(self._ids):05}"
        command = updates.change(
            before, spec, expected_version=version, new_id=number, by="user", now=self.now
        )
        self._apply(command)

    def _new_spec(self, name: str) -> ServiceSpec:
        pick = self.random.choice
        number = 1000 + SERVICES.index(name)
        host = Port(target=80, published=number, mode=PortMode.HOST)
        mesh = Port(target=80, published=number)
        memory = Bytes(pick([0, 0, 1, 2]) * GIB)
        return ServiceSpec(
            name=name,
            image=pick(IMAGES),
            replicas=self.random.randint(0, 6),
            ports=pick([(), (mesh,), (mesh,), (host,)]),
            health=pick([None, HealthCheck(tcp=TcpCheck())]),
            drain_delay=timedelta(seconds=pick([0, 1, 2])),
            restart=RestartPolicy(max_attempts=pick([0, 0, 2])),
            resources=Resources(reservations=ResourceReservations(memory=memory)),
            placement=Placement(
                max_per_node=pick([0, 0, 0, 1, 2]),
                constraints=pick([(), (), (), ("node.labels.zone == north",)]),
            ),
        )

    def _remove_service(self) -> None:
        name = self.random.choice(SERVICES)
        self.say(f"user: remove {name}")
        self._apply(c.RemoveService(name=name, expected_version=0, now=self.now))

    def _end_faults(self) -> None:
        """All hosts are there, somebody leads, and users want images that work."""
        self.say("the faults end")
        self.calm = True
        for worker in self.workers.values():
            self._return(worker)
        self._elect()
        for node in list(self.state.nodes.values()):
            if node.spec.availability is Availability.PAUSE:
                self._put_availability(node, Availability.ACTIVE)
        for service in list(self.state.services.values()):
            if not service.removing:
                self._put(replace(service.spec, image=LAST_IMAGE), service)

    # ---- the end

    def _unsettled(self) -> Iterator[str]:
        """What is not as it should be, and could be: a task without a place is an excuse."""
        if self._in_flight or self._look_due:
            yield "the leader is deciding"
        yield from (f"{w.node_id} is unheard" for w in self.workers.values() if not w.reported)
        for name, service in self.state.services.items():
            tasks = tuple(self.state.tasks_of(name))
            status = views.service_status(self.state, service, tasks)
            if status.converged:
                continue
            if (
                service.removing
                or self._goes_on(service, tasks)
                or not simulation_laws.is_stuck(self.state, service)
            ):
                yield f"{name}: {status.reason}"

    def _goes_on(self, service: Service, tasks: tuple[Task, ...]) -> bool:
        """Something of it only needs time: a task to be trusted, or a rollout that does not wait
        for what there is not."""
        decision = orchestrator.decide_service(self.state, service, tasks, self.now, lambda: "")
        if decision.wake_at is not None or service.live_rollout is None:
            return decision.wake_at is not None
        step = rollout.next_step(situation.of(self.state, service, tasks, self.now))
        soon = step.wake_at is not None and step.wake_at < self.now + CONVERGES_WITHIN
        return soon or not step.stalls


def _summary(command: c.Command) -> str:
    match command:
        case c.CreateTask():
            return f"create {command.task.id} r{command.task.revision}"
        case c.AssignTask():
            return f"assign {command.task_id} to {command.node_id}"
        case c.SetTaskDesired():
            verb = "drain" if command.desired is DesiredState.DRAINING else "stop"
            return f"{verb} {command.task_id}"
        case c.WithdrawTask():
            return f"{command.task_id} is withdrawn"
        case c.SetTaskStatus():
            return f"{command.task_id} {command.status.state.value}: {command.status.message}"
        case c.SetRollout():
            after = command.rollout
            where = f"{after.state.value} {after.phase.value} {after.step or ''}"
            what = f"batch {after.batch} weight {after.weight}"
            return f"rollout {after.id} {where} {what} {after.reason}"
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
