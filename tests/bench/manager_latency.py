"""Prints how fast managers are, as real processes here: `python -m tests.bench.manager_latency`.

Apply of a service until its worker is told of the task, until the watcher sees it run (the worker
here only says so), a read, the time without a leader when it is killed, and resident memory.
"""

import statistics
import tempfile
import time
from pathlib import Path

from warren.model.errors import WarrenError
from warren.model.nodes import NodeState
from warren.model.services import ServiceSpec

from tests.bench.task_node import TaskNode
from tests.contract.manager_processes import SPEC, Host, form, hosts, members, wait_until

ROUNDS = 30
API_PORT = SPEC.api_port


def main() -> None:
    for count in (1, 3):
        with tempfile.TemporaryDirectory() as directory, hosts(Path(directory), count) as made:
            _measure(made)


def _measure(made: list[Host]) -> None:
    leader = grow(made)
    workers = [TaskNode(host, made, number) for number, host in enumerate(made)]
    try:
        wait_until(lambda: _all_ready(leader), "all workers are ready")
        print(f"{len(made)} manager{'s' if len(made) > 1 else ''}:")
        _measure_applies(leader, workers)
        memory = ", ".join(f"{_resident_mb(host):.0f} MB" for host in made)
        print(f"  resident                     {memory}")
        if len(made) > 1:
            _measure_failover(made, leader, workers)
    finally:
        for worker in workers:
            worker.close()


def grow(made: list[Host]) -> Host:
    first = form(made)
    names = [host.name for host in made]
    wait_until(lambda: all(members(host.cluster()) == names for host in made), "all are members")
    view = wait_until(first.cluster, "m1 answers")
    return next(host for host in made if host.name == view.leader)


def _all_ready(host: Host) -> bool:
    with host.client() as client:
        return all(view.node.status.state is NodeState.READY for view in client.list_nodes())


def _measure_applies(leader: Host, workers: list[TaskNode]) -> None:
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


def _measure_failover(made: list[Host], leader: Host, workers: list[TaskNode]) -> None:
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
    told = wait_until(lambda: [w.heard["after"] for w in workers if "after" in w.heard], "told")
    print(f"  ... until a worker is told   {min(told) - begin:.2f} s")


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
