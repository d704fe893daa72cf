"""Sessions with workers, on the leader: hears their heartbeats and reports, tells assignments.

A session is a stream that begins with Hello. The worker's node is known by its certificate. It says
how its tasks are before it is told anything: managers may have been away for long, and what runs
counts. Then it is told its assignment, and after that what changes of it; it answers up to where
its rules have followed.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import grpc

from warren.api import convert, status, warren_pb2
from warren.core import nodes
from warren.core.assignment import Assignments
from warren.manager import authorization, mesh_keys
from warren.manager.authorization import Caller
from warren.manager.cluster import ManagerContext
from warren.manager.contacts import Contacts
from warren.manager.reports import Reports
from warren.manager.sessions import Session, Sessions
from warren.manager.task_files import Opener, Provision
from warren.manager.telling import Telling
from warren.model.errors import (
    FailedPrecondition,
    InvalidInput,
    LeaderMoved,
    NotFound,
    Unavailable,
    WarrenError,
)
from warren.model.nodes import HeldPort, Node, NodeDescription, NodeState
from warren.model.tasks import TaskStatus
from warren.state.commands import (
    Batch,
    Command,
    Rejected,
    SetHeldPorts,
    SetNodeDescription,
    SetNodePublicKey,
)

logger = logging.getLogger(__name__)

HELLO_TIMEOUT = timedelta(seconds=10)

Stream = grpc.aio.ServicerContext[warren_pb2.WorkerMessage, warren_pb2.ManagerMessage]
Messages = AsyncIterator[warren_pb2.WorkerMessage]


class Dispatcher:
    """Serves `Dispatcher.Session`."""

    def __init__(
        self, context: ManagerContext, sessions: Sessions, contacts: Contacts, reports: Reports
    ) -> None:
        self._context = context
        self._sessions = sessions
        self._contacts = contacts
        self._reports = reports
        self._telling = Telling()
        self._opener = Opener(context.keyring)

    async def serve(self, requests: Messages, stream: Stream) -> None:
        """One session, as gRPC calls it."""
        caller = authorization.caller_of(stream)
        try:
            roles = (authorization.WORKER, authorization.MANAGER)
            authorization.require(caller, roles, "Session")
            await self._require_lead(stream)
            await stream.send_initial_metadata(((status.SESSION_KEY, "open"),))
            await self.converse(requests, stream.write, caller, peer=stream.peer())
        except WarrenError as error:
            told: WarrenError = error
            if not self._context.leads():
                try:
                    await self._send_away(stream)
                except Unavailable as nobody:
                    told = nobody
            await stream.abort(status.code_of(told), str(told), status.metadata_of(told))

    async def converse(
        self, requests: Messages, write: Any, caller: Caller, *, peer: str = ""
    ) -> None:
        """Until the worker ends the stream; raises when this end must end it. `peer` is where the
        stream comes from, in gRPC's words."""
        hello = await _hello(requests)
        node = await self._greet(hello, caller.name, peer)
        session = Session(node.id, node.spec.name)
        if (previous := self._sessions.add(session)) is not None:
            previous.replace()
        logger.info("worker %s connected", session.node_name)
        try:
            await self._run(session, requests, write)
        finally:
            session.end()
            self._sessions.remove(session)
            logger.info("worker %s disconnected", session.node_name)

    async def _run(self, session: Session, requests: Messages, write: Any) -> None:
        """Reads, writes and assigns at once; the first to end ends the session."""
        parts = [
            asyncio.create_task(self._read(session, requests)),
            asyncio.create_task(_write(session, write)),
            asyncio.create_task(self._assign(session)),
            asyncio.create_task(session.wait_replaced()),
        ]
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)
        for part in done:
            part.result()

    async def _greet(self, hello: warren_pb2.Hello, node_id: str, peer: str) -> Node:
        """Note what the host says of itself, as far as it is new."""
        state = await self._context.store.barrier()
        node = state.nodes.get(node_id)
        if node is None:
            raise NotFound(f"node {node_id} is not in the cluster: it was removed")
        commands = [*self._news_of(node, hello), *mesh_keys.seen(node, peer)]
        if commands:
            await self._note(commands)
        for command in commands:
            await self._report_refusal(node, command)
        self._hear(node_id)
        return node

    async def _note(self, commands: list[Command]) -> None:
        """What members of an older version do not know is left out, and noted when the worker comes
        again: a worker of a newer version must be let in."""
        try:
            await self._context.store.propose(Batch(commands=tuple(commands)))
        except FailedPrecondition:
            plain = tuple(_without_news(command) for command in commands)
            await self._context.store.propose(Batch(commands=plain))

    def _news_of(self, node: Node, hello: warren_pb2.Hello) -> list[Command]:
        """What the host says of itself that the state does not have. Its address it may leave
        out."""
        commands: list[Command] = []
        description = convert.from_message(hello.description, NodeDescription)
        if not description.address:
            description = replace(description, address=node.description.address)
        if description != node.description:
            commands.append(SetNodeDescription(node_id=node.id, description=description))
        return commands + self._news_of_keys(node, hello, hello.endpoint)

    def _news_of_keys(
        self, node: Node, said: warren_pb2.Hello | warren_pb2.MeshKeys, endpoint: str = ""
    ) -> list[Command]:
        return mesh_keys.commands_for(
            node,
            public_key=said.public_key,
            next_public_key=said.next_public_key,
            endpoint=endpoint,
            now=self._context.now(),
        )

    async def _take_keys(self, session: Session, keys: warren_pb2.MeshKeys) -> None:
        """What cannot be stored now ends the session; the next one begins with it."""
        node = self._context.store.state.nodes.get(session.node_id)
        commands = self._news_of_keys(node, keys) if node is not None else []
        if commands:
            await self._context.store.propose(Batch(commands=tuple(commands)))

    async def _take_held_ports(self, session: Session, held: warren_pb2.HeldPorts) -> None:
        """What cannot be stored now ends the session; the next one begins with it."""
        node = self._context.store.state.nodes.get(session.node_id)
        ports = tuple(convert.from_message(port, HeldPort) for port in held.ports)
        if node is not None and node.held_ports != ports:
            await self._context.store.propose(SetHeldPorts(node_id=node.id, ports=ports))

    async def _report_refusal(self, node: Node, command: Command) -> None:
        """A batch answers as a whole; a mesh key that another node has is worth a line."""
        if not isinstance(command, SetNodePublicKey):
            return
        stored = self._context.store.state.nodes.get(node.id)
        if stored is not None and stored.mesh.public_key != command.public_key:
            outcome = await self._context.store.propose(command)
            if isinstance(outcome, Rejected):
                logger.warning("mesh key of %s refused: %s", node.spec.name, outcome.message)

    async def _read(self, session: Session, requests: Messages) -> None:
        async for message in requests:
            self._hear(session.node_id)
            self._note_progress(session)
            match message.WhichOneof("message"):
                case "heartbeat":
                    session.send(warren_pb2.ManagerMessage(heard=warren_pb2.Heard()))
                case "status":
                    self._reports.add(session.node_id, _statuses(message.status))
                    session.note_reported()
                case "carried":
                    session.acknowledge(message.carried.index)
                    self._note_progress(session)
                case "mesh_keys":
                    await self._take_keys(session, message.mesh_keys)
                case "held_ports":
                    await self._take_held_ports(session, message.held_ports)
                case "away":
                    self._contacts.excuse(session.node_id, nodes.AWAY_MAX)
                case "measured":
                    await session.take(message.measured.request_id, message.measured)
                case "volumes":
                    await session.take(message.volumes.request_id, message.volumes)
                case "logs":
                    await session.take(message.logs.request_id, message.logs)
                case "exec":
                    await session.take(message.exec.request_id, message.exec)
                case other:
                    logger.warning("%s sent %s, which means nothing", session.node_name, other)

    async def _assign(self, session: Session) -> None:
        """Tell the assignment, then what changes of it, while this manager leads."""
        term = self._context.store.status.term
        await session.wait_reported()
        await self._reports.wait_written()
        told: Assignments | None = None
        provision = Provision(self._opener, session.node_id)
        store = self._context.store
        while True:
            self._require_term(term)
            count = store.changes.count
            newest = self._telling.newest(store.state)
            for files in provision.news(newest):
                session.send(files)
            message = self._telling.message(told, newest, session.node_id, base=session.told)
            if message is not None:
                session.told = newest.index
                session.send(message)
            told, session.looked = newest, newest.index
            self._note_progress(session)
            await session.wait_written()
            await store.changes.wait_newer(count)

    def _require_term(self, term: int) -> None:
        """A session lasts no longer than a term: what was said in one may not have reached the
        log, and each begins with all that a worker has to say."""
        self._context.require_lead()
        if self._context.store.status.term != term:
            raise LeaderMoved("the leader has changed: ask again")

    def _note_progress(self, session: Session) -> None:
        """Once it was told something, its report is in the state."""
        if session.told:
            self._contacts.report(session.node_id)
            self._contacts.carry(session.node_id, session.carried)

    def _hear(self, node_id: str) -> None:
        node = self._context.store.state.nodes.get(node_id)
        is_news = node is not None and node.status.state is not NodeState.READY
        self._contacts.hear(node_id, is_news=is_news)

    async def _require_lead(self, stream: Stream) -> None:
        if not self._context.leads():
            await self._send_away(stream)

    async def _send_away(self, stream: Stream) -> None:
        """To the leader, if one is known."""
        leader = self._context.leader()
        if leader is None or leader.node_id == self._context.membership.node_id:
            raise Unavailable("no leader: a majority of the managers is needed")
        message = f"{leader.name} leads, at {leader.api}"
        metadata = ((status.ERROR_KEY, "FailedPrecondition"), (status.LEADER_KEY, leader.api))
        await stream.abort(grpc.StatusCode.FAILED_PRECONDITION, message, metadata)


def _without_news(command: Command) -> Command:
    if not isinstance(command, SetNodeDescription):
        return command
    description = replace(command.description, volume_drivers=(), bind_paths=())
    return replace(command, description=description)


async def _hello(requests: Messages) -> warren_pb2.Hello:
    try:
        async with asyncio.timeout(HELLO_TIMEOUT.total_seconds()):
            message = await anext(requests, None)
    except TimeoutError as error:
        raise InvalidInput("a session begins with Hello") from error
    if message is None or message.WhichOneof("message") != "hello":
        raise InvalidInput("a session begins with Hello")
    return message.hello


def _statuses(report: warren_pb2.StatusReport) -> dict[str, TaskStatus]:
    return {task.task_id: convert.from_message(task.status, TaskStatus) for task in report.tasks}


async def _write(session: Session, write: Any) -> None:
    while True:
        await write(await session.wait_outgoing())
