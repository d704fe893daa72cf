"""A manager's store as a process, for `raft_store.py`: it runs a workload and prints what it took.

Lines of JSON in, lines of JSON out. The state machine is the real one.
"""

import asyncio
import json
import os
import resource
import sys
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from warren.api import convert
from warren.model.errors import WarrenError
from warren.model.tasks import Task, TaskState
from warren.state.cluster import ClusterState
from warren.state.commands import (
    Applied,
    AssignTask,
    CreateCluster,
    CreateTask,
    PutService,
    SetTaskStatus,
)
from warren.store.log import LogMember
from warren.store.raft.compaction import Limits
from warren.store.raft.engine import RaftLog
from warren.store.store import Store, pieces
from warren.testing.builders import NOON, a_cluster, a_node, a_spec, a_task, at

from tests.contract.raft_members import Pki, a_config, address, node_id

TIMEOUT = timedelta(seconds=10)
TASKS = 50


class Bench:
    """One member and its workloads."""

    def __init__(self, directory: Path, number: int, port: int, limits: Limits) -> None:
        pki = Pki(directory / "pki", None)  # type: ignore[arg-type]  # certificates exist already
        config = a_config(directory, number, pki, port=port, limits=limits)
        self.log = RaftLog(config, on_failure=_die)
        self.store = Store(self.log)
        self.port = port

    async def found(self) -> None:
        """A cluster with a few tasks to write about."""
        await self.store.commit(CreateCluster(cluster=a_cluster(), node=a_node("m1")))
        await self.store.commit(PutService(spec=a_spec(), expected_version=0, now=NOON))
        for slot in range(1, TASKS + 1):
            task = _task(slot)
            await self.store.commit(CreateTask(task=task))
            await self.store.commit(AssignTask(task_id=task.id, node_id="m1", now=NOON))

    async def write(self, count: int) -> dict[str, Any]:
        """One write after another."""
        times = []
        for number in range(count):
            began = time.perf_counter()
            await self.store.commit(self._status(number))
            times.append(time.perf_counter() - began)
        return _percentiles(times)

    async def flood(self, in_flight: int, seconds: float) -> dict[str, Any]:
        """Many writers at once."""
        done, end = 0, time.perf_counter() + seconds

        async def writer(number: int) -> None:
            nonlocal done
            while time.perf_counter() < end:
                await self.store.commit(self._status(number + done))
                done += 1

        began = time.perf_counter()
        await asyncio.gather(*(writer(number) for number in range(in_flight)))
        return {"per_second": done / (time.perf_counter() - began)}

    async def read(self, count: int) -> dict[str, Any]:
        """One linearizable read after another."""
        times = []
        for _ in range(count):
            began = time.perf_counter()
            await self.store.barrier()
            times.append(time.perf_counter() - began)
        return _percentiles(times)

    async def first_write(self) -> dict[str, Any]:
        """When a write is accepted here or elsewhere: tried until it is."""
        try:
            await self.store.propose(self._status(1), timedelta(seconds=1))
        except WarrenError:
            return {"done": False}
        return {"done": True}

    async def pause(self, seconds: float) -> dict[str, Any]:
        """Times between two writes' ends while writing without a break, with and without a snapshot
        being written: what is the same in both is the machine's doing, its disk's above all.
        """
        last = time.perf_counter()
        end, number = last + seconds, 0
        gaps: dict[bool, list[float]] = {True: [0.0], False: [0.0]}
        before = (await self.log.metrics()).snapshots_written
        while time.perf_counter() < end:
            number += 1
            writing = self._writes_snapshot()
            await self.store.propose(self._status(number))
            now = time.perf_counter()
            gaps[writing or self._writes_snapshot()].append(now - last)
            last = now
        after = (await self.log.metrics()).snapshots_written
        return {
            "snapshots": after - before,
            "during": _percentiles(gaps[True]),
            "otherwise": _percentiles(gaps[False]),
        }

    def _writes_snapshot(self) -> bool:
        shell = self.log._shell
        return shell is not None and shell.node._compaction.is_running

    async def fill(self, objects: int) -> dict[str, Any]:
        """So many tasks, in batches; answers what applying one more takes."""
        tasks = iter(range(TASKS + 1, TASKS + objects + 1))
        began = time.perf_counter()
        while some := [slot for _, slot in zip(range(64), tasks, strict=False)]:
            await asyncio.gather(
                *(self.store.propose(CreateTask(task=_task(slot))) for slot in some)
            )
        return {"seconds": time.perf_counter() - began, "memory_mib": _memory_mib()}

    def _status(self, number: int) -> SetTaskStatus:
        task = _task(number % TASKS + 1)
        status = replace(task.status, state=TaskState.RUNNING, since=at(number))
        return SetTaskStatus(task_id=task.id, status=status)


async def _serve(directory: Path, number: int, port: int, entries: int) -> None:
    limits = Limits(snapshot_entries=entries, snapshot_entries_max=4 * entries)
    bench = Bench(directory, number, port, limits)
    began = time.perf_counter()
    await bench.store.start()
    started = time.perf_counter() - began
    _say({"started": started, "objects": len(bench.store.state.tasks), "memory_mib": _memory_mib()})
    reader = asyncio.StreamReader(limit=1 << 24)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        _say(await _do(bench, json.loads(line)))
    await bench.store.stop()


async def _do(bench: Bench, request: dict[str, Any]) -> dict[str, Any]:
    match request.pop("do"):
        case "add":
            other = request["number"]
            member = LogMember(node_id=node_id(other), address=address(other, bench.port))
            await bench.store.add_member(member)
            return {}
        case "status":
            status = bench.store.status
            tasks = len(bench.store.state.tasks)
            return {"leads": status.is_leader, "term": status.term, "objects": tasks}
        case "metrics":
            metrics = await bench.log.metrics()
            return {
                "sync_p50_ms": metrics.sync_p50.total_seconds() * 1e3,
                "sync_p99_ms": metrics.sync_p99.total_seconds() * 1e3,
                "elections": metrics.elections_won,
                "snapshots": metrics.snapshots_written,
                "memory_mib": _memory_mib(),
            }
        case "transfer":
            began = time.perf_counter()
            await bench.store.transfer_leadership()
            return {"seconds": time.perf_counter() - began}
        case name:
            answer: dict[str, Any] | None = await getattr(bench, name)(**request)
            return answer or {}


def write_state(path: Path, objects: int) -> None:
    """The bytes of a state with so many tasks: what a snapshot holds."""
    tasks = {task.id: task for task in (a_task(slot, "m1") for slot in range(1, objects + 1))}
    state = ClusterState(index=objects, cluster=a_cluster(), tasks=tasks)
    path.write_bytes(b"".join(pieces(state)))


def apply_cost(objects: int, count: int = 2000) -> dict[str, float]:
    """Microseconds of decoding and of applying one command, with so many objects in the state."""
    from warren.state import apply

    tasks = {task.id: task for task in (a_task(slot, "m1") for slot in range(1, objects + 1))}
    state = ClusterState(index=objects, cluster=a_cluster(), tasks=tasks)
    task = _task(7)
    command = SetTaskStatus(
        task_id=task.id, status=replace(task.status, state=TaskState.RUNNING, since=NOON)
    )
    data = convert.command_to_bytes(command)
    state, _ = apply.apply(state, command)  # a large mapping is put into buckets once
    began = time.perf_counter()
    for _ in range(count):
        convert.command_from_bytes(data)
    decoded = time.perf_counter()
    for _ in range(count):
        state, outcome = apply.apply(state, command)
        assert isinstance(outcome, Applied)
    applied = time.perf_counter()
    return {"decode": (decoded - began) / count * 1e6, "apply": (applied - decoded) / count * 1e6}


def _task(slot: int) -> Task:
    """New: nobody has it yet."""
    return a_task(slot=slot)


def _percentiles(times: list[float]) -> dict[str, Any]:
    times.sort()
    return {
        "p50_ms": times[len(times) // 2] * 1e3,
        "p99_ms": times[len(times) * 99 // 100] * 1e3,
        "max_ms": times[-1] * 1e3,
    }


def _memory_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _die(reason: str) -> None:
    print(f"fatal: {reason}", file=sys.stderr, flush=True)
    os._exit(3)


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
