"""What it costs to tell 50 nodes of one endpoint among 10,000 services with 3 tasks each.

No network, no kernel: the work of the leader (decide, follow the state, encode for all sessions)
and of one worker (decode, apply, own tasks, disk). Run it by itself:

    python -m tests.bench.traffic_dispatch [--services 10000] [--changes 200]

Times are of the wall clock, with the processor's own in brackets: on a busy machine only these
compare. The sum of the leader's stages for one change, and that of the worker's, are each to stay
below 5 ms.
"""

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from warren.api import convert, warren_pb2
from warren.core import endpoints
from warren.core.assignment import Assignments, apply_delta, sharing
from warren.core.reconcile import Reconciliation
from warren.manager.telling import Telling
from warren.model.assignments import Assignment, AssignmentDelta, ServiceTraffic
from warren.model.services import Port
from warren.model.tasks import Health, Task
from warren.state import maps
from warren.state.apply import apply
from warren.state.cluster import ClusterState
from warren.state.commands import SetTaskStatus
from warren.testing.builders import a_node, a_service, a_state, a_task, at, counting_ids
from warren.worker.assignment_store import AssignmentStore

T = TypeVar("T")
NODES, REPLICAS = 50, 3


class Stopwatch:
    """Times of stages, by name, in the order in which they were first measured."""

    def __init__(self) -> None:
        self.wall: defaultdict[str, list[float]] = defaultdict(list)
        self.processor: defaultdict[str, list[float]] = defaultdict(list)

    def time(self, stage: str, work: Callable[[], T]) -> T:
        wall, processor = time.perf_counter(), time.thread_time()
        result = work()
        self.processor[stage].append(time.thread_time() - processor)
        self.wall[stage].append(time.perf_counter() - wall)
        return result

    def print(self, *stages: str) -> None:
        for stage in stages or tuple(self.wall):
            p50, p99 = (_percentile(self.wall[stage], share) for share in (0.5, 0.99))
            cpu50, cpu99 = (_percentile(self.processor[stage], share) for share in (0.5, 0.99))
            print(f"  {stage:<44} {p50:9.2f} {p99:9.2f} ms   ({cpu50:.2f}, {cpu99:.2f})")

    def sum(self, name: str, *stages: str) -> None:
        """The stages of each round together, as one more stage."""
        for times in (self.wall, self.processor):
            times[name] = [sum(parts) for parts in zip(*(times[s] for s in stages), strict=True)]


def _percentile(seconds: list[float], share: float) -> float:
    return sorted(seconds)[min(len(seconds) - 1, int(len(seconds) * share))] * 1000


def a_large_state(services: int) -> ClusterState:
    """All is at rest: every task ready, every service with its address."""
    nodes = [a_node(f"w{number}", number=number) for number in range(1, NODES + 1)]
    ports = (Port(target=80, name="http"),)
    made = [a_service(f"s{n}", replicas=REPLICAS, ports=ports) for n in range(services)]
    tasks = [
        a_task(
            slot,
            nodes[(n * REPLICAS + slot) % NODES].id,
            service=f"s{n}",
            address=f"10.88.{n % 250}.{slot}",
        )
        for n in range(services)
        for slot in range(1, REPLICAS + 1)
    ]
    state = a_state(nodes=nodes, services=made, tasks=tasks)
    with_vips = {
        service.spec.name: replace(service, vip=f"10.92.{n // 250}.{n % 250 + 1}")
        for n, service in enumerate(made)
    }
    return replace(state, services=maps.bucketed(with_vips), tasks=maps.bucketed(state.tasks))


class Leader:
    """What the leader's loops keep, for all of its sessions."""

    def __init__(self, state: ClusterState) -> None:
        self.state = state
        self.contacts = {node_id: at(0) for node_id in state.nodes}
        self.reconciliation = Reconciliation()
        self.telling = Telling()
        self.told: dict[str, Assignments] = {}
        self.bases: dict[str, int] = {}

    def decide(self) -> None:
        decision = self.reconciliation.decide(self.state, at(1), counting_ids(), self.contacts)
        assert not decision.commands, decision.commands[0]

    def follow(self) -> Assignments:
        return self.telling.newest(self.state)

    def tell(self, newest: Assignments) -> dict[str, bytes]:
        """What each session sends."""
        messages: dict[str, bytes] = {}
        for node_id in self.state.nodes:
            told, base = self.told.get(node_id), self.bases.get(node_id, 0)
            message = self.telling.message(told, newest, node_id, base=base)
            self.told[node_id] = newest
            if message is not None:
                messages[node_id] = message
                self.bases[node_id] = newest.index
        return messages


class Worker:
    """What one worker does with what it is told."""

    def __init__(self, node_id: str, directory: Path) -> None:
        self.node_id = node_id
        self.store = AssignmentStore(directory / "assignment.db")
        self.known: Assignment | None = None
        self.rules: Mapping[str, ServiceTraffic] = {}

    def read(self, data: bytes) -> Assignment | AssignmentDelta:
        message = warren_pb2.ManagerMessage.FromString(data)
        if message.WhichOneof("message") == "delta":
            return convert.from_message(message.delta, AssignmentDelta)
        return convert.from_message(message.assignment, Assignment)

    def take(self, told: Assignment | AssignmentDelta) -> None:
        if isinstance(told, Assignment):
            self.known = sharing(self.known, told)
        else:
            assert self.known is not None
            self.known = apply_delta(self.known, told)

    def decide(self) -> None:
        assert self.known is not None
        statuses = {task.id: task.status for task in self.known.tasks}
        self.rules = endpoints.as_known(self.known, self.node_id, statuses, self.rules)

    def keep(self) -> None:
        assert self.known is not None
        self.store.save(self.known)


def full_load(leader: Leader, worker: Worker) -> None:
    watch = Stopwatch()
    watch.time("leader: first decision", leader.decide)
    newest = watch.time("leader: first assignments", leader.follow)
    messages = watch.time(f"leader: encode for {NODES} nodes", lambda: leader.tell(newest))
    data = messages[worker.node_id]
    told = watch.time("worker: decode", lambda: worker.read(data))
    watch.time("worker: apply", lambda: worker.take(told))
    watch.time("worker: own tasks", worker.decide)
    watch.time("worker: to disk", worker.keep)
    watch.time(
        "worker: decode and apply again, all the same", lambda: worker.take(worker.read(data))
    )
    print(f"whole assignment, {len(data) / 1e6:.2f} MB:")
    watch.print()


def changes(leader: Leader, worker: Worker, count: int) -> None:
    watch = Stopwatch()
    sizes = []
    tasks = list(leader.state.tasks.values())
    for number in range(count):
        task = leader.state.tasks[tasks[number // 2 * 7919 % len(tasks)].id]
        leader.state, _ = apply(leader.state, _flipped(task))
        watch.time("leader: decide", leader.decide)
        newest = watch.time("leader: follow the state", leader.follow)
        tell = f"leader: encode for {NODES} nodes"
        messages = watch.time(tell, partial(leader.tell, newest))
        assert len(messages) == NODES
        data = messages[worker.node_id]
        sizes.append(len(data))
        told = watch.time("worker: decode", partial(worker.read, data))
        watch.time("worker: apply", partial(worker.take, told))
        watch.time("worker: own tasks", worker.decide)
        watch.time("worker: to disk", worker.keep)
    stages = tuple(watch.wall)
    watch.sum("leader, all stages", *(stage for stage in stages if stage.startswith("leader")))
    watch.sum("worker, all stages", *(stage for stage in stages if stage.startswith("worker")))
    print(f"one endpoint changes, {sum(sizes) / len(sizes):.0f} bytes a node, {count} times:")
    watch.print()


def _flipped(task: Task) -> SetTaskStatus:
    """Out of traffic, and the next time back."""
    health = Health.UNHEALTHY if task.ready else Health.NONE
    return SetTaskStatus(task_id=task.id, status=replace(task.status, health=health))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--services", type=int, default=10_000)
    parser.add_argument("--changes", type=int, default=200)
    arguments = parser.parse_args()
    print(
        f"{arguments.services} services x {REPLICAS} tasks on {NODES} nodes{'':>17} p50       p99"
    )
    leader = Leader(a_large_state(arguments.services))
    with tempfile.TemporaryDirectory() as directory:
        worker = Worker("w1", Path(directory))
        full_load(leader, worker)
        changes(leader, worker, arguments.changes)


if __name__ == "__main__":
    main()
