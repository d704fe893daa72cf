"""Sessions: what a worker may say, what it is told, and when it is sent away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from warren.api import convert, warren_pb2
from warren.core import assignment
from warren.core.nodes import AWAY_MAX
from warren.manager.contacts import Contacts
from warren.manager.dispatcher import Dispatcher
from warren.manager.reports import Reports
from warren.manager.sessions import Session, Sessions
from warren.manager.task_files import Opener, Provision
from warren.model.errors import (
    FailedPrecondition,
    InvalidInput,
    LeaderMoved,
    NotFound,
    Unavailable,
)
from warren.model.nodes import HeldPort, NodeDescription, NodeState
from warren.model.secrets import (
    ConfigReference,
    FileKey,
    FileKind,
    SecretReference,
    TaskFile,
)
from warren.model.services import Port, Protocol
from warren.model.tasks import Health, Task, TaskState, TaskStatus
from warren.state.commands import SetTaskStatus
from warren.store import sealing
from warren.store.locking import Keyring
from warren.testing.builders import NOON, a_config, a_node, a_secret, a_service, a_task

from tests.unit.manager.manager_kit import (
    Kit,
    RunningManager,
    ScriptedWorker,
    a_cluster_state,
    a_kit,
    outgoing,
    running_manager,
)


def node_id(manager: RunningManager) -> str:
    return next(iter(manager.context.store.state.nodes))


async def wait_ready(manager: RunningManager) -> None:
    store = manager.context.store
    async with asyncio.timeout(10):
        while store.state.nodes[node_id(manager)].status.state is not NodeState.READY:
            await store.changes.wait_newer(store.changes.count)


async def test_a_session_begins_with_hello() -> None:
    async with running_manager() as manager:
        worker = ScriptedWorker(manager, node_id(manager))
        worker.say(heartbeat=warren_pb2.Heartbeat())

        with pytest.raises(InvalidInput, match="a session begins with Hello"):
            await worker.session


async def test_a_removed_node_is_told_so() -> None:
    async with running_manager() as manager:
        worker = ScriptedWorker(manager, "gone")
        worker.say(hello=warren_pb2.Hello())

        with pytest.raises(NotFound, match="node gone is not in the cluster: it was removed"):
            await worker.session


async def test_what_a_host_says_of_itself_is_noted_once() -> None:
    description = NodeDescription(cpus=2.0, kernel="6.1")
    hello = warren_pb2.Hello(
        description=convert.to_message(description), public_key="new", endpoint="127.0.0.1:1"
    )
    async with running_manager() as manager:
        for _ in range(2):
            worker = ScriptedWorker(manager, node_id(manager))
            worker.say(hello=hello)
            await worker.hears_assignment()
            await wait_ready(manager)
            worker.leave()
            await worker.session

        node = manager.context.store.state.nodes[node_id(manager)]
        assert node.description == NodeDescription(address="127.0.0.1", cpus=2.0, kernel="6.1")
        assert (node.mesh.public_key, node.mesh.endpoint) == ("new", "127.0.0.1:1")
        kinds = [convert.command_from_bytes(entry) for entry in manager.log.entries]
        assert len(kinds) == 3, "the cluster, the host's words, the node is ready"


async def test_a_newer_worker_is_let_in_while_managers_are_upgraded() -> None:
    """What older managers do not know of its host is noted when it comes again."""
    description = NodeDescription(address="127.0.0.1", cpus=2.0, volume_drivers=("local",))
    hello = warren_pb2.Hello(description=convert.to_message(description))
    noted = []
    async with running_manager() as manager:
        for known in (3, 4):
            manager.log.known_version = known
            worker = ScriptedWorker(manager, node_id(manager))
            worker.say(hello=hello)
            await worker.hears_assignment()
            noted.append(manager.context.store.state.nodes[node_id(manager)].description)
            worker.leave()
            await worker.session

    assert noted == [replace(description, volume_drivers=()), description]


async def test_a_new_session_takes_the_place_of_the_old() -> None:
    async with running_manager() as manager:
        old = ScriptedWorker(manager, node_id(manager))
        old.say(hello=warren_pb2.Hello())
        await old.hears_assignment()
        new = ScriptedWorker(manager, node_id(manager))
        new.say(hello=warren_pb2.Hello())
        await new.hears_assignment()
        await wait_ready(manager)

        with pytest.raises(Unavailable, match="the node opened another session"):
            await old.session
        new.leave()
        await new.session


def running() -> TaskStatus:
    return TaskStatus(state=TaskState.RUNNING, since=NOON)


async def test_reports_count_only_for_the_nodes_own_living_tasks() -> None:
    tasks = [
        a_task(1, "w1", state=TaskState.STARTING),
        a_task(2, "w2", state=TaskState.STARTING),
        a_task(3, "w1", state=TaskState.LOST),
        a_task(4, "w1", address="10.88.0.4"),
    ]
    state = a_cluster_state(
        nodes=[a_node("w1"), a_node("w2")], services=[a_service(replicas=4)], tasks=tasks
    )
    async with a_kit(state) as kit:
        reports = Reports(kit.context)
        loop = asyncio.create_task(reports.run())
        unchanged = kit.state.tasks["web-4-r1"].status

        reports.add(
            "w1",
            {
                "web-1-r1": running(),
                "web-2-r1": running(),
                "web-3-r1": running(),
                "web-4-r1": unchanged,
                "gone": running(),
            },
        )
        async with asyncio.timeout(10):
            await kit.wait_newer_state(100)
        loop.cancel()

        states = {task.slot: task.status.state.value for task in kit.state.tasks.values()}
        assert states == {1: "running", 2: "starting", 3: "lost", 4: "running"}
        assert len(kit.log.entries) == 1


async def test_a_report_that_could_not_be_committed_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("warren.manager.reports.PAUSE", timedelta())
    task = a_task(1, "w1", state=TaskState.STARTING)
    state = a_cluster_state(nodes=[a_node("w1")], services=[a_service()], tasks=[task])
    async with a_kit(state) as kit:
        kit.log.fail_next(outcome_unknown=True)
        reports = Reports(kit.context)
        loop = asyncio.create_task(reports.run())
        await asyncio.sleep(0)

        reports.add("w1", {task.id: running()})
        async with asyncio.timeout(10):
            await kit.wait_newer_state(100)
        loop.cancel()

        assert kit.state.tasks[task.id].status == running()


def lines(*texts: str) -> list[warren_pb2.LogLine]:
    return [warren_pb2.LogLine(task_id="t", line=text.encode()) for text in texts]


async def test_lines_of_a_task_come_in_chunks_until_the_end() -> None:
    session = Session("w1", "w1")
    stream = session.logs(["t"], follow=False, tail=10)
    first = asyncio.create_task(anext(stream))
    command = (await outgoing(session)).logs

    await session.take(command.request_id, warren_pb2.LogChunk(request_id=1, lines=lines("a", "b")))
    await session.take(command.request_id, warren_pb2.LogChunk(request_id=1, end=True))

    received = [(await first).line, *[line.line async for line in stream]]
    assert (list(command.task_ids), command.tail, command.follow) == (["t"], 10, False)
    assert received == [b"a", b"b"]


async def test_nobody_reads_any_more_and_the_worker_is_told() -> None:
    session = Session("w1", "w1")
    stream = session.logs(["t"], follow=True, tail=0)
    first = asyncio.create_task(anext(stream))
    command = (await outgoing(session)).logs
    await session.take(command.request_id, warren_pb2.LogChunk(lines=lines("a")))
    await first

    await stream.aclose()

    cancel = await outgoing(session)
    assert cancel.cancel.request_id == command.request_id
    await session.take(command.request_id, warren_pb2.LogChunk(lines=lines("late")))


async def test_a_broken_connection_ends_the_lines_with_an_error() -> None:
    session = Session("w1", "w1")
    stream = session.logs(["t"], follow=True, tail=0)
    first = asyncio.create_task(anext(stream))
    await outgoing(session)

    session.end()

    with pytest.raises(Unavailable, match="the connection to w1 broke"):
        await first


async def test_a_command_runs_and_its_result_is_answered() -> None:
    session = Session("w1", "w1")
    result = asyncio.create_task(session.execute("t", ["ls"], timeout=timedelta(seconds=1)))
    command = (await outgoing(session)).exec

    await session.take(
        command.request_id,
        warren_pb2.ExecResult(response=warren_pb2.ExecResponse(stdout=b"bin\n", exit_code=0)),
    )

    assert (command.task_id, list(command.command)) == ("t", ["ls"])
    assert (await result).stdout == b"bin\n"


async def test_a_command_that_cannot_run_says_why() -> None:
    session = Session("w1", "w1")
    result = asyncio.create_task(session.execute("t", ["ls"], timeout=timedelta(seconds=1)))
    command = (await outgoing(session)).exec

    await session.take(command.request_id, warren_pb2.ExecResult(error="t does not run here"))

    with pytest.raises(FailedPrecondition, match="t does not run here"):
        await result


class Leader:
    """A leader whose state the tests write themselves: none of its loops runs."""

    def __init__(self, kit: Kit) -> None:
        self.kit = kit
        self.contacts = Contacts()
        self.reports = Reports(kit.context)
        self.dispatcher = Dispatcher(kit.context, Sessions(), self.contacts, self.reports)

    async def hears_carried(self, node_id: str, index: int) -> None:
        """Until the node is known to carry so much."""
        async with asyncio.timeout(10):
            self.contacts.awaited = frozenset({index})
            count = 0
            while self.contacts.carried().get(node_id, 0) < index:
                count = await self.contacts.news.wait_newer(count)

    async def set(self, task: Task) -> int:
        """Change a task; answers the index of the change."""
        status = SetTaskStatus(task_id=task.id, status=task.status)
        return (await self.kit.context.store.commit(status)).index


@asynccontextmanager
async def a_leader() -> AsyncIterator[Leader]:
    state = a_cluster_state(
        nodes=[a_node("w1"), a_node("w2")],
        services=[a_service("web", ports=(Port(target=80),)), a_service("db")],
        tasks=[a_task(1, "w1"), a_task(1, "w2", service="db")],
    )
    async with a_kit(state) as kit:
        yield Leader(kit)


def unhealthy(task: Task) -> Task:
    return replace(task, status=replace(task.status, health=Health.UNHEALTHY))


async def test_a_worker_is_told_nothing_before_it_has_reported() -> None:
    async with a_leader() as leader:
        worker = ScriptedWorker(leader.dispatcher, "w1", reports=False)
        loop = asyncio.create_task(leader.reports.run())
        task = leader.kit.state.tasks["web-1-r1"]
        sick = unhealthy(task).status

        worker.say(hello=warren_pb2.Hello())
        worker.say(heartbeat=warren_pb2.Heartbeat())
        first = await worker.hears()
        before = set(leader.contacts.reported())
        report = warren_pb2.TaskReport(task_id=task.id, status=convert.to_message(sick))
        worker.say(status=warren_pb2.StatusReport(tasks=[report]))
        assignment = await worker.hears_assignment()

        assert first.WhichOneof("message") == "heard"
        assert (before, set(leader.contacts.reported())) == (set(), {"w1"})
        assert convert.from_message(assignment.tasks[0].status, TaskStatus) == sick
        assert not assignment.services["web"].endpoints
        loop.cancel()
        worker.leave()
        await worker.session


async def test_a_change_is_told_as_a_delta_to_those_whom_it_concerns() -> None:
    async with a_leader() as leader:
        one, other = (ScriptedWorker(leader.dispatcher, name) for name in ("w1", "w2"))
        for worker in (one, other):
            worker.say(hello=warren_pb2.Hello())
            await worker.hears_assignment()
        bases = [worker.assignment.index for worker in (one, other) if worker.assignment]
        web = unhealthy(leader.kit.state.tasks["web-1-r1"])

        index = await leader.set(web)
        deltas = [(await worker.hears()).delta for worker in (one, other)]

        assert [(delta.base, delta.index) for delta in deltas] == [(base, index) for base in bases]
        assert [[task.id for task in delta.tasks] for delta in deltas] == [[web.id], []]
        assert [[s.name for s in delta.services] for delta in deltas] == [["web"], ["web"]]
        for worker in (one, other):
            worker.leave()
            await worker.session


async def test_a_worker_that_will_be_back_is_not_missed_meanwhile() -> None:
    async with a_leader() as leader:
        worker = ScriptedWorker(leader.dispatcher, "w1")
        worker.say(hello=warren_pb2.Hello())
        await worker.hears_assignment()

        worker.say(away=warren_pb2.Away())
        worker.leave()
        await worker.session

        silence = NOON - leader.contacts.times(NOON)["w1"]
        assert silence < timedelta(seconds=1) - AWAY_MAX


async def test_a_delta_begins_where_the_last_message_ended() -> None:
    async with a_leader() as leader:
        worker = ScriptedWorker(leader.dispatcher, "w1")
        worker.say(hello=warren_pb2.Hello())
        base = (await worker.hears_assignment()).index
        tasks = leader.kit.state.tasks
        status = replace(tasks["db-1-r1"].status, message="of no interest to others")

        await leader.set(replace(tasks["db-1-r1"], status=status))
        index = await leader.set(unhealthy(tasks["web-1-r1"]))
        delta = (await worker.hears()).delta

        assert (delta.base, delta.index) == (base, index)
        worker.leave()
        await worker.session


async def test_a_node_carries_what_it_acknowledged_and_what_does_not_concern_it() -> None:
    async with a_leader() as leader:
        worker = ScriptedWorker(leader.dispatcher, "w1")
        worker.say(hello=warren_pb2.Hello())
        told = (await worker.hears_assignment()).index
        tasks = leader.kit.state.tasks
        before = leader.contacts.carried().get("w1", 0)

        worker.say(carried=warren_pb2.Carried(index=told))
        await leader.hears_carried("w1", told)
        status = replace(tasks["db-1-r1"].status, message="of no interest to others")
        quiet = await leader.set(replace(tasks["db-1-r1"], status=status))
        await leader.hears_carried("w1", quiet)
        loud = await leader.set(unhealthy(tasks["web-1-r1"]))
        await worker.hears_assignment()
        behind = leader.contacts.carried()["w1"]
        worker.say(carried=warren_pb2.Carried(index=loud))
        await leader.hears_carried("w1", loud)

        assert (before, behind) == (0, quiet)
        worker.leave()
        await worker.session


async def test_a_node_says_which_ports_its_host_holds() -> None:
    held = HeldPort(service="web", port=80, protocol=Protocol.TCP, holder="nginx (pid 7)")
    async with a_leader() as leader:
        worker = ScriptedWorker(leader.dispatcher, "w1")
        worker.say(hello=warren_pb2.Hello())
        await worker.hears_assignment()
        count = leader.kit.context.store.changes.count

        for _ in range(2):
            worker.say(held_ports=warren_pb2.HeldPorts(ports=[convert.to_message(held)]))
        worker.say(heartbeat=warren_pb2.Heartbeat())
        await worker.hears()

        assert leader.kit.state.nodes["w1"].held_ports == (held,)
        assert leader.kit.context.store.changes.count == count + 1
        worker.leave()
        await worker.session


async def test_only_what_is_waited_for_wakes_the_leader() -> None:
    contacts = Contacts()
    contacts.awaited = frozenset({7})
    news = []
    for index in (5, 6, 8, 9):
        contacts.carry("w1", index)
        news.append(contacts.news.count)

    assert news == [0, 0, 1, 1]


async def test_a_session_lasts_no_longer_than_a_term() -> None:
    """Reports that came while another led are lost: only a new session tells them again."""
    async with a_leader() as leader:
        worker = ScriptedWorker(leader.dispatcher, "w1")
        worker.say(hello=warren_pb2.Hello())
        await worker.hears_assignment()

        leader.kit.log.follow("10.86.0.2:7445")
        leader.kit.log.lead()

        with pytest.raises(LeaderMoved):
            await worker.session


async def test_secrets_are_told_to_nodes_whose_tasks_have_them_before_these() -> None:
    keys = sealing.new_keys("c1", NOON)
    version = sealing.Sealer("c1", keys).seal("db", 1, b"marker-4d", NOON)
    secret = replace(a_secret(), versions=(version,))
    reference = SecretReference(name="db", pinned=1)
    nodes = [a_node("w1"), a_node("w2", number=2)]
    task = a_task(1, "w1", state=TaskState.ASSIGNED)
    services = [a_service("web", secrets=(reference,))]
    state = a_cluster_state(nodes=nodes, services=services, tasks=[task], secrets=[secret])
    async with a_kit(replace(state, secret_keys=keys)) as kit:
        opener, key = Opener(Keyring()), FileKey(kind=FileKind.SECRET, name="db", number=1)
        newest = assignment.begin(kit.state)
        consumer, other = Provision(opener, "w1"), Provision(opener, "w2")

        (message,) = consumer.news(newest)

        (file,) = message.files.files
        told = convert.from_message(file, TaskFile)
        assert told == TaskFile(key=key, data=b"marker-4d")
        assert "marker" not in repr(told)
        assert consumer.news(newest) == ()
        assert other.news(newest) == ()


async def test_a_secret_that_cannot_be_opened_is_told_with_its_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reference = SecretReference(name="db", pinned=1)
    state = a_cluster_state(
        nodes=[a_node("w1")],
        services=[a_service("web", secrets=(reference,))],
        tasks=[a_task(1, "w1", state=TaskState.ASSIGNED)],
        secrets=[a_secret()],
    )
    state = replace(state, secret_keys=sealing.new_keys("c1", NOON))

    (message,) = Provision(Opener(Keyring()), "w1").news(assignment.begin(state))

    reason = "secret db version 1 cannot be opened: its key is not in the cluster"
    assert message.files.files[0].error == reason
    assert caplog.messages == [reason]


async def test_files_come_before_the_tasks_that_refer_to_them() -> None:
    reference = ConfigReference(name="nginx", pinned=1)
    state = a_cluster_state(
        nodes=[a_node("w1")],
        services=[a_service("web", configs=(reference,))],
        tasks=[a_task(1, "w1", state=TaskState.ASSIGNED)],
        configs=[a_config()],
    )
    async with a_kit(state) as kit:
        dispatcher = Leader(kit).dispatcher
        worker = ScriptedWorker(dispatcher, "w1")
        worker.say(hello=warren_pb2.Hello())

        kinds = [(await worker.hears()).WhichOneof("message") for _ in range(2)]

        assert kinds == ["files", "assignment"]
        worker.leave()
        await worker.session
