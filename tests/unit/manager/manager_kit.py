"""What tests of the manager share: a context over a fake log, and a whole manager on a socket."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
from warren.api import convert, warren_pb2
from warren.bootstrap import certificates, create, node_files
from warren.bootstrap.node_files import Membership
from warren.config import Config
from warren.core.assignment import apply_delta
from warren.manager.authorization import Caller
from warren.manager.cluster import ManagerContext
from warren.manager.dispatcher import Dispatcher
from warren.manager.manager import Manager
from warren.manager.sessions import Session
from warren.model.assignments import Assignment, AssignmentDelta, ManagerAddress
from warren.model.clusters import ClusterSpec
from warren.model.nodes import NodeRole, NodeSpec
from warren.state.cluster import ClusterState
from warren.store.store import Store
from warren.testing.builders import NOON, a_node, a_state, counting_ids
from warren.testing.clock import ManualClock
from warren.testing.fake_log import FakeLog

BOTH = (NodeRole.MANAGER, NodeRole.WORKER)
AUTHORITY = certificates.create_authority("c1", "warren", NOON)
M1 = a_node("m1", roles=BOTH)
RAFT = "10.86.0.1:7445"


def a_cluster_state(**content: object) -> ClusterState:
    """A state with a CA that can sign; otherwise as the builder makes it."""
    state = a_state(**content)  # type: ignore[arg-type]
    assert state.cluster is not None
    cluster = replace(state.cluster, ca_certificate=AUTHORITY.certificate, ca_key=AUTHORITY.key)
    return replace(state, cluster=cluster)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kit:
    """A manager's context and what lies under it."""

    context: ManagerContext
    log: FakeLog
    clock: ManualClock

    @property
    def state(self) -> ClusterState:
        return self.context.store.state

    async def wait_newer_state(self, index: int) -> None:
        """Wait for a state newer than `index`."""
        changes = self.context.store.changes
        count = changes.count
        while self.state.index <= index:
            count = await changes.wait_newer(count)


@asynccontextmanager
async def a_kit(state: ClusterState | None = None) -> AsyncIterator[Kit]:
    """The context of manager m1, which leads; the state is `state`."""
    snapshot = convert.to_message(state or a_cluster_state(nodes=[M1])).SerializeToString()
    log, clock = FakeLog(RAFT, snapshot=snapshot), ManualClock()
    store = Store(log)
    await store.start()
    context = ManagerContext(
        config=Config(),
        membership=a_membership(),
        store=store,
        now=clock.now,
        new_id=counting_ids(),
    )
    yield Kit(context=context, log=log, clock=clock)
    await store.stop()


def a_membership() -> Membership:
    """Of m1."""
    return Membership(
        cluster_id="c1",
        cluster="warren",
        node_id="m1",
        name="m1",
        roles=BOTH,
        mesh_address="10.86.0.1",
        api_port=7443,
        join_port=7444,
        raft_port=7445,
        mesh_port=51820,
        managers=(
            ManagerAddress(node_id="m1", name="m1", api="192.0.2.1:7443", raft=RAFT),
            ManagerAddress(node_id="m2", name="m2", api="192.0.2.2:7443", raft="10.86.0.2:7445"),
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningManager:
    """A manager that serves on a unix socket, created as a user would create it."""

    manager: Manager
    context: ManagerContext
    log: FakeLog
    channel: grpc.aio.Channel
    """As root on the socket."""


@asynccontextmanager
async def running_manager() -> AsyncIterator[RunningManager]:
    """A new cluster of one manager, leading. TCP ports are any that are free."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        config = Config(
            state_dir=directory / "state",
            run_dir=directory / "run",
            advertise_address="127.0.0.1",
            listen_address="127.0.0.1",
        )
        spec = ClusterSpec(api_port=0, join_port=0)
        membership = create.create_cluster(config, spec, NodeSpec(name="m1", roles=BOTH), "key")
        log = FakeLog(membership.raft_address)
        context = ManagerContext(config=config, membership=replace(membership), store=Store(log))
        manager, stop, ready = Manager(context), asyncio.Event(), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(manager.run(stop, ready.set))
            await ready.wait()
            while not context.store.state.nodes:
                await context.store.changes.wait_newer(context.store.changes.count)
            async with grpc.aio.insecure_channel(f"unix:{config.socket_path}") as channel:
                yield RunningManager(manager=manager, context=context, log=log, channel=channel)
            stop.set()
        assert not node_files.raft_path(config).joinpath(create.BOOTSTRAP_FILE).exists()


class Stopwatch:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def read(self) -> float:
        return self.seconds


class ScriptedWorker:
    """The worker's end of a session, without a network between."""

    def __init__(
        self, running: RunningManager | Dispatcher, node_id: str, *, reports: bool = True
    ) -> None:
        dispatcher = running if isinstance(running, Dispatcher) else running.manager.dispatcher
        self._reports = reports
        self._to_manager: asyncio.Queue[warren_pb2.WorkerMessage | None] = asyncio.Queue()
        self._from_manager: asyncio.Queue[warren_pb2.ManagerMessage | bytes] = asyncio.Queue()
        self.assignment: Assignment | None = None
        caller = Caller(name=node_id, roles=frozenset({"worker"}))
        self.session = asyncio.create_task(
            dispatcher.converse(self._messages(), self._from_manager.put, caller)
        )

    async def _messages(self) -> AsyncIterator[warren_pb2.WorkerMessage]:
        while (message := await self._to_manager.get()) is not None:
            yield message

    def say(self, **message: object) -> None:
        """Send a message; its one field is named. After Hello, no task is all that there is."""
        self._to_manager.put_nowait(warren_pb2.WorkerMessage(**message))  # type: ignore[arg-type]
        if "hello" in message and self._reports:
            self.say(status=warren_pb2.StatusReport())

    def leave(self) -> None:
        """End the stream in order."""
        self._to_manager.put_nowait(None)

    async def hears(self) -> warren_pb2.ManagerMessage:
        """The next message of the manager."""
        async with asyncio.timeout(10):
            message = await self._from_manager.get()
        if isinstance(message, bytes):
            return warren_pb2.ManagerMessage.FromString(message)
        return message

    async def hears_assignment(self) -> warren_pb2.Assignment:
        """The next assignment, whole or after a delta; what comes before it is dropped."""
        while True:
            message = await self.hears()
            match message.WhichOneof("message"):
                case "assignment":
                    self.assignment = convert.from_message(message.assignment, Assignment)
                case "delta":
                    assert self.assignment is not None, "a whole one comes first"
                    delta = convert.from_message(message.delta, AssignmentDelta)
                    self.assignment = apply_delta(self.assignment, delta)
                case _:
                    continue
            whole: warren_pb2.Assignment = convert.to_message(self.assignment)
            return whole


async def outgoing(session: Session) -> warren_pb2.ManagerMessage:
    """The next message that the session would write."""
    message = await session.wait_outgoing()
    assert isinstance(message, warren_pb2.ManagerMessage)
    return message
