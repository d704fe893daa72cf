"""Sessions of a whole worker with a manager in this process, over real sockets."""

import asyncio
import logging
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from warren.api import convert, warren_pb2
from warren.drivers.ports import ExecOutput, Instance, StartOrder
from warren.model.assignments import AssignmentDelta, ServiceTraffic
from warren.model.services import Port, Protocol
from warren.model.tasks import TaskState
from warren.testing.fake_runtime import FakeRuntime
from warren.worker import membership
from warren.worker.assignment_store import AssignmentStore

from tests.unit.worker.worker_kit import (
    FakeManager,
    RunningWorker,
    a_task,
    an_assignment,
    stopped,
)


async def a_manager() -> FakeManager:
    manager = FakeManager()  # type: ignore[abstract] # what no worker asks for
    await manager.start()
    return manager


class StartsNoted(FakeRuntime):
    """Tells of each start as it comes."""

    def __init__(self) -> None:
        super().__init__()
        self.starts: asyncio.Queue[StartOrder] = asyncio.Queue()

    async def start(self, order: StartOrder) -> Instance:
        instance = await super().start(order)
        self.starts.put_nowait(order)
        return instance


async def test_says_hello_then_runs_what_is_assigned(tmp_path: Path) -> None:
    manager = await a_manager()
    task = a_task()
    manager.assignment = an_assignment(task, managers=(manager.address,))

    async with RunningWorker(tmp_path, manager.address) as worker:
        await manager.wait_states({task.id: TaskState.RUNNING})
        hello = manager.received[0].hello
    await manager.stop()

    assert (hello.public_key, hello.endpoint) == (worker.mesh.key, "10.77.0.21:51820")
    assert (hello.description.address, hello.description.runtime) == ("10.77.0.21", "fake 1.0")
    assert manager.ended == 1, "the session was ended in order"
    assert len(await worker.runtime.instances()) == 1, "ending the worker ends no task"


async def test_removes_what_a_restore_that_was_broken_off_has_left(tmp_path: Path) -> None:
    part = tmp_path / "volumes" / ".data.v1.restored"
    part.mkdir(parents=True)

    async with RunningWorker(tmp_path, "127.0.0.1:1"), asyncio.timeout(10):
        while part.exists():  # noqa: ASYNC110 - a thread removes it
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("host_ends", [False, True])
async def test_says_that_it_will_be_back_unless_its_host_ends(
    tmp_path: Path, host_ends: bool
) -> None:
    manager = await a_manager()
    manager.assignment = an_assignment(managers=(manager.address,))

    async with RunningWorker(tmp_path, manager.address) as worker:
        worker.host_ends = host_ends
        await manager.wait(lambda m: len(m.received) > 1)
    await manager.stop()

    last = manager.received[-1].WhichOneof("message")
    assert (last == "away") is not host_ends


async def test_a_cluster_without_managers_is_told_once_for_each(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def notes(*levels: int) -> list[str]:
        found = (r.getMessage() for r in caplog.records if r.levelno in levels)
        return [text.split(": ")[0] for text in found if "no session" in text]

    with caplog.at_level(logging.DEBUG):
        async with RunningWorker(tmp_path, "127.0.0.1:1", "127.0.0.1:2"), asyncio.timeout(10):
            while len(notes(logging.DEBUG, logging.WARNING)) < 5:  # noqa: ASYNC110 - a log is no event
                await asyncio.sleep(0.01)

    assert notes(logging.WARNING) == [
        f"no session with manager 127.0.0.1:{number}" for number in (1, 2)
    ]


async def test_tells_the_status_of_all_tasks_first_in_each_session(tmp_path: Path) -> None:
    first, second = await a_manager(), await a_manager()
    tasks = [a_task(1), a_task(2)]
    first.assignment = an_assignment(*tasks, managers=(first.address, second.address))
    second.assignment = first.assignment
    running = {task.id: TaskState.RUNNING for task in tasks}

    async with RunningWorker(tmp_path, first.address):
        await first.wait_states(running)
        await first.stop()
        await second.wait_states(running)
        kinds = [message.WhichOneof("message") for message in second.received]
        told = {report.task_id for report in second.received[1].status.tasks}
    await second.stop()

    assert kinds == ["hello", "status"]
    assert told == set(running)


async def test_tells_each_manager_which_ports_the_host_holds(tmp_path: Path) -> None:
    first, second = await a_manager(), await a_manager()
    service = ServiceTraffic(name="web", ports=(Port(target=8080, published=80),))
    for manager in (first, second):
        manager.assignment = replace(
            an_assignment(managers=(first.address, second.address)), services={"web": service}
        )

    def told(manager: FakeManager) -> list[str]:
        return [port.holder for m in manager.received for port in m.held_ports.ports]

    worker = RunningWorker(tmp_path, first.address)
    worker.balancer.held[80, Protocol.TCP] = "nginx (pid 7)"
    async with worker:
        await first.wait(lambda manager: bool(told(manager)))
        await first.stop()
        await second.wait(lambda manager: bool(told(manager)))
    await second.stop()

    assert (told(first), told(second)) == (["nginx (pid 7)"], ["nginx (pid 7)"])


async def test_goes_where_it_is_told_that_the_leader_is(tmp_path: Path) -> None:
    follower, leader = await a_manager(), await a_manager()
    follower.leader = leader.address

    async with RunningWorker(tmp_path, follower.address):
        await leader.wait(lambda m: m.sessions == 1)
    await follower.stop()
    await leader.stop()

    assert follower.sessions == 0


async def test_goes_where_a_manager_that_just_lost_the_lead_sends_it(tmp_path: Path) -> None:
    former, leader = await a_manager(), await a_manager()
    former.lost_lead = leader.address

    async with RunningWorker(tmp_path, former.address):
        await leader.wait(lambda m: m.sessions == 1)
    await former.stop()
    await leader.stop()

    assert former.sessions == 0


async def test_tries_the_next_manager_when_one_does_not_lead(tmp_path: Path) -> None:
    lost, leader = await a_manager(), await a_manager()
    lost.leader = ""

    async with RunningWorker(tmp_path, lost.address, leader.address):
        await leader.wait(lambda m: m.sessions == 1)
    await lost.stop()
    await leader.stop()


async def test_leaves_a_manager_that_is_silent(tmp_path: Path) -> None:
    silent, leader = await a_manager(), await a_manager()
    silent.answers_heartbeats = False
    silent.assignment = an_assignment(managers=(silent.address, leader.address), heartbeat_ms=30)
    leader.assignment = silent.assignment

    async with RunningWorker(tmp_path, silent.address):
        await leader.wait(lambda m: m.heartbeats >= 1)
    await silent.stop()
    await leader.stop()

    assert silent.heartbeats >= 1


async def test_sends_heartbeats_as_often_as_the_cluster_wants(tmp_path: Path) -> None:
    manager = await a_manager()
    manager.assignment = an_assignment(heartbeat_ms=50)

    async with RunningWorker(tmp_path, manager.address):
        await manager.wait(lambda m: m.heartbeats >= 20)  # gives up before 20 default intervals
    await manager.stop()

    assert manager.sessions == manager.ended


async def test_only_what_changed_is_told_within_a_session(tmp_path: Path) -> None:
    manager = await a_manager()
    tasks = [a_task(1), a_task(2)]
    manager.assignment = an_assignment(*tasks)

    async with RunningWorker(tmp_path, manager.address):
        await manager.wait_states({task.id: TaskState.RUNNING for task in tasks})
        before = len(manager.received)
        await manager.assign(an_assignment(tasks[0], stopped(tasks[1]), index=2))
        await manager.wait_states({tasks[1].id: TaskState.STOPPED})
        later = manager.received[before:]
    await manager.stop()

    assert {report.task_id for m in later for report in m.status.tasks} == {tasks[1].id}


async def test_goes_on_from_disk_with_no_manager(tmp_path: Path) -> None:
    manager = await a_manager()
    task = a_task()
    manager.assignment = an_assignment(task, managers=(manager.address,))
    async with RunningWorker(tmp_path, manager.address):
        await manager.wait_states({task.id: TaskState.RUNNING})
    await manager.stop()
    kept = tmp_path / "state/worker/assignment.db"

    rebooted = StartsNoted()
    async with RunningWorker(tmp_path, manager.address, runtime=rebooted):
        order = await rebooted.starts.get()

    assert kept.stat().st_mode & 0o777 == 0o600
    assert order.task == task


async def test_the_managers_of_an_assignment_are_remembered(tmp_path: Path) -> None:
    manager = await a_manager()
    task = a_task()
    manager.assignment = an_assignment(task, managers=("10.77.0.11:7443", manager.address))

    async with RunningWorker(tmp_path, manager.address) as worker:
        await manager.wait_states({task.id: TaskState.RUNNING})
    await manager.stop()

    file = worker.config.state_dir / "node.json"
    assert membership.load(file) == replace(worker.member, managers=manager.assignment.managers)
    assert file.stat().st_mode & 0o777 == 0o600


async def test_answers_exec_and_logs_and_ends_what_is_cancelled(tmp_path: Path) -> None:
    manager = await a_manager()
    task = a_task()
    manager.assignment = an_assignment(task)
    async with RunningWorker(tmp_path, manager.address) as worker:
        worker.runtime.outputs[("hostname",)] = ExecOutput(stdout=b"w\n", stderr=b"", exit_code=0)
        await manager.wait_states({task.id: TaskState.RUNNING})
        log = worker.config.log_dir / task.id / "0.log"
        log.parent.mkdir(parents=True)
        log.write_text("2026-01-01T00:00:00Z stdout F hello\n")

        await manager.send(_exec(1, task.id, "hostname"))
        await manager.send(_exec(2, "web-9-zzzzz", "hostname"))
        await manager.send(_logs(3, task.id))
        await manager.wait(lambda m: len(_answers(m)) >= 3)
        await manager.send(warren_pb2.ManagerMessage(cancel=warren_pb2.CancelCommand(request_id=3)))
        await manager.send(_exec(4, task.id, "true"))
        await manager.wait(lambda m: len(_answers(m)) >= 4)
    await manager.stop()

    results = {m.exec.request_id: m.exec for m in manager.received if m.HasField("exec")}
    chunks = [m.logs for m in manager.received if m.HasField("logs")]
    assert results[1].response.stdout == b"w\n"
    assert results[2].error == "task web-9-zzzzz is not on node w1"
    assert [line.line for chunk in chunks for line in chunk.lines] == [b"hello"]
    assert not any(chunk.error for chunk in chunks)


def _exec(request_id: int, task_id: str, *command: str) -> warren_pb2.ManagerMessage:
    order = warren_pb2.ExecCommand(request_id=request_id, task_id=task_id, command=command)
    order.timeout.FromTimedelta(timedelta(seconds=5))
    return warren_pb2.ManagerMessage(exec=order)


def _logs(request_id: int, task_id: str) -> warren_pb2.ManagerMessage:
    order = warren_pb2.LogsCommand(request_id=request_id, task_ids=[task_id], follow=True)
    return warren_pb2.ManagerMessage(logs=order)


def _answers(manager: FakeManager) -> list[warren_pb2.WorkerMessage]:
    return [m for m in manager.received if m.WhichOneof("message") in ("exec", "logs")]


WEB = ServiceTraffic(name="web", vip="10.92.0.1", ports=(Port(target=80),))


def _delta(base: int, index: int) -> warren_pb2.ManagerMessage:
    delta = AssignmentDelta(base=base, index=index, services=(WEB,))
    return warren_pb2.ManagerMessage(delta=convert.to_message(delta))


async def test_a_delta_is_followed_and_said_to_be_carried(tmp_path: Path) -> None:
    manager = await a_manager()
    manager.assignment = an_assignment(index=7)

    async with RunningWorker(tmp_path, manager.address) as worker:
        await manager.wait(lambda m: _carried(m) == [7])
        await manager.send(_delta(7, 9))
        await manager.wait(lambda m: _carried(m) == [7, 9])
    await manager.stop()

    assert worker.balancer.services == {"web": WEB}
    kept = AssignmentStore(tmp_path / "state/worker/assignment.db")
    assert kept.load() == replace(manager.assignment, index=9, services={"web": WEB})
    kept.close()


async def test_a_delta_that_does_not_fit_ends_the_session_and_the_next_begins_whole(
    tmp_path: Path,
) -> None:
    manager = await a_manager()
    manager.assignment = an_assignment(index=7, managers=(manager.address,))

    async with RunningWorker(tmp_path, manager.address):
        await manager.wait(lambda m: _carried(m) == [7])
        await manager.send(_delta(6, 9))
        await manager.wait(lambda m: _carried(m) == [7, 7])
    await manager.stop()

    assert manager.sessions == 2


def _carried(manager: FakeManager) -> list[int]:
    return [m.carried.index for m in manager.received if m.WhichOneof("message") == "carried"]
