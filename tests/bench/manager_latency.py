"""Prints how fast managers are, as real processes here: `python -m tests.bench.manager_latency`.

Apply of a service until its worker is told of the task, until the watcher sees it run (the worker
here only says so), a read, the time without a leader when it is killed, and resident memory.
"""

import queue
import statistics
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import grpc
from warren.api import convert, warren_pb2, warren_pb2_grpc
from warren.bootstrap import node_files
from warren.model.errors import WarrenError
from warren.model.nodes import NodeState
from warren.model.services import ServiceSpec
from warren.model.tasks import DesiredState, Task, TaskState, TaskStatus

from tests.contract.manager_processes import Host, form, hosts, members, wait_until

ROUNDS = 30
API_PORT = 21443


class ScriptedWorker:
    """Says RUNNING to every task at once, and notes when it heard of it."""

    def __init__(self, host: Host, leader: Host) -> None:
        self.heard: dict[str, float] = {}
        self._outbox: queue.Queue[warren_pb2.WorkerMessage] = queue.Queue()
        credentials = node_files.read_credentials(host.config)
        self._channel = grpc.secure_channel(
            f"{leader.address}:{API_PORT}",
            grpc.ssl_channel_credentials(
                credentials.ca_certificate.encode(),
                credentials.key.encode(),
                credentials.certificate.encode(),
            ),
            (("grpc.ssl_target_name_override", "manager.warren"),),
        )
        self._call = warren_pb2_grpc.DispatcherStub(self._channel).Session(self._messages())
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._channel.close()
        self._thread.join()

    def _messages(self) -> Iterator[warren_pb2.WorkerMessage]:
        yield warren_pb2.WorkerMessage(hello=warren_pb2.Hello())
        yield warren_pb2.WorkerMessage(status=warren_pb2.StatusReport())
        while True:
            try:
                yield self._outbox.get(timeout=0.5)
            except queue.Empty:
                yield warren_pb2.WorkerMessage(heartbeat=warren_pb2.Heartbeat())

    def _listen(self) -> None:
        try:
            for message in self._call:
                self._report((*message.assignment.tasks, *message.delta.tasks))
        except grpc.RpcError:
            return

    def _report(self, tasks: Iterable[warren_pb2.Task]) -> None:
        now = time.perf_counter()
        reports = []
        for each in tasks:
            task = convert.from_message(each, Task)
            self.heard.setdefault(task.service, now)
            state = _answer(task)
            if state is not None:
                status = TaskStatus(state=state, since=task.created_at, address="10.88.0.2")
                reports.append(
                    warren_pb2.TaskReport(task_id=task.id, status=convert.to_message(status))
                )
        if reports:
            report = warren_pb2.StatusReport(tasks=reports)
            self._outbox.put(warren_pb2.WorkerMessage(status=report))


def _answer(task: Task) -> TaskState | None:
    if task.status.state is TaskState.ASSIGNED:
        return TaskState.RUNNING
    if task.desired is DesiredState.STOPPED and not task.status.state.terminal:
        return TaskState.STOPPED
    return None


def main() -> None:
    for count in (1, 3):
        with tempfile.TemporaryDirectory() as directory, hosts(Path(directory), count) as made:
            _measure(made)


def _measure(made: list[Host]) -> None:
    leader = grow(made)
    workers = [ScriptedWorker(host, leader) for host in made]
    try:
        wait_until(lambda: _all_ready(leader), "all workers are ready")
        print(f"{len(made)} manager{'s' if len(made) > 1 else ''}:")
        _measure_applies(leader, workers)
    finally:
        for worker in workers:
            worker.close()
    memory = ", ".join(f"{_resident_mb(host):.0f} MB" for host in made)
    print(f"  resident                     {memory}")
    if len(made) > 1:
        _measure_failover(made, leader)


def grow(made: list[Host]) -> Host:
    first = form(made)
    names = [host.name for host in made]
    wait_until(lambda: all(members(host.cluster()) == names for host in made), "all are members")
    view = wait_until(first.cluster, "m1 answers")
    return next(host for host in made if host.name == view.leader)


def _all_ready(host: Host) -> bool:
    with host.client() as client:
        return all(view.node.status.state is NodeState.READY for view in client.list_nodes())


def _measure_applies(leader: Host, workers: list[ScriptedWorker]) -> None:
    applied, told, running, reads = [], [], [], []
    with leader.client() as client, leader.client() as other:
        for number in range(ROUNDS):
            name = f"web-{number}"
            begin = time.perf_counter()
            client.apply_service(ServiceSpec(name=name, image="example/web:1"), ["image"])
            applied.append(time.perf_counter() - begin)
            for view in client.watch_service(name, timeout=10.0):
                if view.status.converged:
                    break
            running.append(time.perf_counter() - begin)
            told.append(min(w.heard[name] for w in workers if name in w.heard) - begin)
            begin = time.perf_counter()
            other.get_service(name)
            reads.append(time.perf_counter() - begin)
    for what, values in (
        ("apply answered", applied),
        ("apply until worker told", told),
        ("apply until seen running", running),
        ("get", reads),
    ):
        print(f"  {what:28} {_milliseconds(values)}")


def _measure_failover(made: list[Host], leader: Host) -> None:
    survivor = next(host for host in made if host is not leader)
    leader.kill()
    begin = time.perf_counter()
    while True:
        try:
            with survivor.client(timeout=10.0) as client:
                client.apply_service(ServiceSpec(name="after", image="example/web:1"), ["image"])
            break
        except WarrenError as error:
            print(f"  (refused: {error})")
    print(f"  leader killed until a write  {time.perf_counter() - begin:.2f} s")


def _resident_mb(host: Host) -> float:
    assert host.process is not None
    status = Path(f"/proc/{host.process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1000


def _milliseconds(values: list[float]) -> str:
    ordered = sorted(value * 1000 for value in values)
    return f"{statistics.median(ordered):6.1f} ms median, {ordered[-1]:6.1f} ms worst"


if __name__ == "__main__":
    main()
