"""Values and a small manager in this process, for the tests of the worker."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
from warren.api import convert, warren_pb2, warren_pb2_grpc
from warren.config import Config
from warren.model.assignments import Assignment, ManagerAddress
from warren.model.clusters import ClusterSpec
from warren.model.nodes import NodeMesh, NodeRole
from warren.model.services import RestartPolicy, TaskTemplate
from warren.model.tasks import DesiredState, Task, TaskState, TaskStatus
from warren.testing.fake_balancer import FakeBalancer
from warren.testing.fake_mesh import FakeMesh
from warren.testing.fake_network import FakeTaskNetwork
from warren.testing.fake_prober import FakeProber
from warren.testing.fake_runtime import FakeRuntime
from warren.testing.fake_task_files import FakeTaskFiles
from warren.testing.fake_volumes import fake_mount_drivers
from warren.worker import network, traffic
from warren.worker.membership import Membership
from warren.worker.worker import Drivers, Worker

START = datetime(2026, 1, 1, tzinfo=UTC)
MESH = NodeMesh(
    public_key="key", endpoint="10.77.0.21:51820", address="10.86.0.4", subnet="10.88.1.0/24"
)


def a_task(
    slot: int = 1,
    *,
    service: str = "web",
    image: str = "example:1",
    restart: RestartPolicy | None = None,
    desired: DesiredState = DesiredState.RUNNING,
    state: TaskState = TaskState.ASSIGNED,
) -> Task:
    """A task of a service, assigned to this node."""
    return Task(
        id=f"{service}-{slot}-abcde",
        service=service,
        slot=slot,
        revision=1,
        template=TaskTemplate(image=image, restart=restart or RestartPolicy()),
        created_at=START,
        node_id="node-1",
        desired=desired,
        status=TaskStatus(state=state, since=START),
    )


def stopped(task: Task) -> Task:
    """The task, no longer wanted."""
    return replace(task, desired=DesiredState.STOPPED)


def an_assignment(
    *tasks: Task, index: int = 1, managers: tuple[str, ...] = (), heartbeat_ms: int = 1000
) -> Assignment:
    """An assignment for this node."""
    return Assignment(
        index=index,
        tasks=tasks,
        spec=ClusterSpec(heartbeat_interval=timedelta(milliseconds=heartbeat_ms)),
        mesh=MESH,
        managers=tuple(
            ManagerAddress(node_id=f"m{number}", name=f"m{number}", api=api, raft="10.86.0.1:7445")
            for number, api in enumerate(managers, 1)
        ),
    )


class FakeManager(warren_pb2_grpc.DispatcherServicer, warren_pb2_grpc.ManagersServicer):
    """What a worker needs of one manager, on loopback, without TLS."""

    def __init__(self) -> None:
        self.leader: str | None = None
        """Whom it names as the leader, while it is not itself; empty: it knows of none."""
        self.lost_lead = ""
        """If set, it takes itself for the leader until the session, which it sends there."""
        self.assignment: Assignment | None = an_assignment()
        """Sent after Hello."""
        self.answers_heartbeats = True
        self.address = ""
        self.received: list[warren_pb2.WorkerMessage] = []
        """Of all sessions, in order, without heartbeats."""
        self.heartbeats = 0
        self.sessions = 0
        self.ended = 0
        self.statuses: dict[str, TaskStatus] = {}
        self._changed = asyncio.Condition()
        self._outgoing: asyncio.Queue[warren_pb2.ManagerMessage] = asyncio.Queue()
        self._server = grpc.aio.server()

    async def start(self) -> None:
        """Listen on a free port."""
        port = self._server.add_insecure_port("127.0.0.1:0")
        self.address = f"127.0.0.1:{port}"
        warren_pb2_grpc.add_DispatcherServicer_to_server(self, self._server)
        warren_pb2_grpc.add_ManagersServicer_to_server(self, self._server)
        await self._server.start()

    async def stop(self) -> None:
        """Go away at once."""
        await self._server.stop(None)

    async def assign(self, assignment: Assignment) -> None:
        """Send an assignment to the open session, and to each that comes."""
        self.assignment = assignment
        await self.send(warren_pb2.ManagerMessage(assignment=convert.to_message(assignment)))

    async def send(self, message: warren_pb2.ManagerMessage) -> None:
        """Send a message to the open session."""
        await self._outgoing.put(message)

    async def wait(self, condition: Callable[["FakeManager"], bool]) -> None:
        """Until something that was received makes the condition true."""
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(lambda: condition(self))

    async def wait_states(self, states: Mapping[str, TaskState]) -> None:
        """Until these tasks have been reported to be in these states."""
        await self.wait(
            lambda m: all(
                m.statuses[i].state is s if i in m.statuses else False for i, s in states.items()
            )
        )

    async def Session(  # noqa: N802 - the schema's name
        self,
        request_iterator: AsyncIterator[warren_pb2.WorkerMessage],
        context: grpc.aio.ServicerContext[warren_pb2.WorkerMessage, warren_pb2.ManagerMessage],
    ) -> AsyncIterator[warren_pb2.ManagerMessage]:
        """Serve one session."""
        if self.lost_lead:
            context.set_trailing_metadata((("warren-leader", self.lost_lead),))
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not the leader")
        await context.send_initial_metadata((("warren-session", "open"),))
        self.sessions += 1
        self._outgoing = asyncio.Queue()
        receiver = asyncio.create_task(self._receive(request_iterator))
        if self.assignment is not None:
            yield warren_pb2.ManagerMessage(assignment=convert.to_message(self.assignment))
        try:
            while True:
                sender = asyncio.ensure_future(self._outgoing.get())
                await asyncio.wait({sender, receiver}, return_when=asyncio.FIRST_COMPLETED)
                if not sender.done():
                    sender.cancel()
                    return
                yield sender.result()
        finally:
            receiver.cancel()
            self.ended += 1
            await self._note()

    async def GetLeader(  # noqa: N802 - the schema's name
        self,
        request: warren_pb2.GetLeaderRequest,
        context: grpc.aio.ServicerContext[
            warren_pb2.GetLeaderRequest, warren_pb2.GetLeaderResponse
        ],
    ) -> warren_pb2.GetLeaderResponse:
        """Tell who leads."""
        leader = self.address if self.leader is None else self.leader
        address = warren_pb2.ManagerAddress(api=leader)
        return warren_pb2.GetLeaderResponse(leader=address if leader else None)

    async def _receive(self, requests: AsyncIterator[warren_pb2.WorkerMessage]) -> None:
        async for message in requests:
            if message.WhichOneof("message") == "heartbeat":
                self.heartbeats += 1
                if self.answers_heartbeats:
                    await self.send(warren_pb2.ManagerMessage(heard=warren_pb2.Heard()))
            else:
                self.received.append(message)
                for report in message.status.tasks:
                    self.statuses[report.task_id] = convert.from_message(report.status, TaskStatus)
            await self._note()

    async def _note(self) -> None:
        async with self._changed:
            self._changed.notify_all()


def write_node_file(state_dir: Path, member: Membership) -> None:
    """node.json as joining a cluster leaves it."""
    state_dir.mkdir(parents=True, exist_ok=True)
    values = {**asdict(member), "cluster": "demo", "roles": ["worker"]}
    (state_dir / "node.json").write_text(json.dumps(values))


class RunningWorker:
    """A worker with fake drivers, in this loop; `async with` runs it."""

    def __init__(self, directory: Path, *managers: str, runtime: FakeRuntime | None = None) -> None:
        self.runtime = runtime or FakeRuntime(now=lambda: datetime.now(UTC))
        self.mesh = FakeMesh()
        self.balancer = FakeBalancer()
        self.prober = FakeProber()
        self.task_network = FakeTaskNetwork()
        self.files = FakeTaskFiles()
        self.config = Config(
            state_dir=directory / "state",
            log_dir=directory / "logs",
            volumes_dir=directory / "volumes",
            advertise_address="10.77.0.21",
            mesh_interface="warren-test",
        )
        self.member = Membership(
            cluster_id="cluster-1",
            node_id="node-1",
            name="w1",
            mesh_port=51820,
            managers=an_assignment(managers=managers).managers,
            roles=(NodeRole.WORKER,),
        )
        self.host_ends = False
        self._stop = asyncio.Event()
        write_node_file(self.config.state_dir, self.member)

    async def __aenter__(self) -> "RunningWorker":
        self.worker = Worker(
            self.config,
            self.member,
            Drivers(
                runtime=self.runtime,
                prober=self.prober,
                network=network.Drivers(mesh=self.mesh, task_network=self.task_network),
                traffic=traffic.Drivers(balancer=self.balancer),
                files=self.files,
                mounts=fake_mount_drivers(self.config.state_dir.parent / "host"),
            ),
            connect=lambda address: grpc.aio.insecure_channel(
                address, options=[("grpc.use_local_subchannel_pool", 1)]
            ),
            host_ends=self._ends,
        )
        self._run = asyncio.create_task(self.worker.run(self._stop))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await self._run

    async def _ends(self) -> bool:
        return self.host_ends
