"""One open stream to the leader, found again whenever it is lost.

Says Hello, tells the status of all tasks, then heartbeats and changes; takes an assignment and its
deltas, says up to which of them traffic follows, and hands commands to `requests.py`. A manager
that says nothing for three heartbeats is taken for dead. Nothing here decides about tasks:
without a session everything goes on as last assigned.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

import grpc

from warren.api import convert, status, warren_pb2, warren_pb2_grpc
from warren.core.assignment import apply_delta, sharing
from warren.model.assignments import Assignment, AssignmentDelta
from warren.model.clusters import ClusterSpec
from warren.model.errors import InvalidInput, WarrenError
from warren.model.tasks import TaskStatus
from warren.worker import search
from warren.worker.held_ports import HeldPorts
from warren.worker.mesh import KeyNews
from warren.worker.reporter import Reporter
from warren.worker.requests import Requests

log = logging.getLogger(__name__)

_SILENT_HEARTBEATS = 3
_LEADER_KEY = "warren-leader"

Call = grpc.aio.StreamStreamCall[warren_pb2.WorkerMessage, warren_pb2.ManagerMessage]


Messages = AsyncIterator[warren_pb2.ManagerMessage]


class _Over(Exception):
    """Ends a session; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What sessions work with."""

    connect: Callable[[str], grpc.aio.Channel]
    """A channel to a manager's API address, with the node certificate as it is on disk now."""
    hello: Callable[[], Awaitable[warren_pb2.Hello]]
    assigned: Callable[[Assignment], None]
    files: Callable[[warren_pb2.TaskFiles], None]
    """Secrets and configs; the tasks that refer to them are assigned after that."""
    reporter: Reporter
    carriage: "Carriage"
    mesh_keys: KeyNews
    held_ports: HeldPorts
    requests: Requests


class Carriage:
    """Up to which index of what it was told this node's traffic follows; the newest counts."""

    def __init__(self) -> None:
        self._index = 0
        self._news = asyncio.Event()

    def put(self, index: int) -> None:
        """Traffic is as the assignment of that index says."""
        if index != self._index:
            self._index = index
            self._news.set()

    def begin_session(self) -> None:
        """Indexes of other sessions mean nothing to this one: their log may have been another."""
        self._index = 0
        self._news.clear()

    async def wait_news(self) -> int:
        """The next index to tell."""
        await self._news.wait()
        self._news.clear()
        return self._index


class Sessions:
    """Keeps a session open, one after another."""

    def __init__(self, surroundings: Surroundings, managers: tuple[str, ...]) -> None:
        self._with = surroundings
        self._search = search.begin(managers)
        self._heartbeat_interval = ClusterSpec().heartbeat_interval
        self._new_pace = asyncio.Event()
        self._closing = asyncio.Event()
        self._is_away = False
        self._reasons: dict[str, str] = {}
        """Why there was no session with each manager, as last told, since there was one."""
        self._known: Assignment | None = None
        """The newest of all sessions, or from disk."""
        self._told: Assignment | None = None
        """The newest of this session: deltas begin at it."""

    @property
    def target(self) -> str:
        """The manager of this session, or the one that is tried now."""
        return self._search.target

    @property
    def _patience(self) -> timedelta:
        """How long a manager may be silent."""
        return self._heartbeat_interval * _SILENT_HEARTBEATS

    def learn(self, assignment: Assignment) -> None:
        """Take the managers and the heartbeat interval from an assignment."""
        self._known = assignment
        managers = tuple(manager.api for manager in assignment.managers)
        self._search = search.learn(self._search, managers)
        if self._heartbeat_interval != assignment.spec.heartbeat_interval:
            self._heartbeat_interval = assignment.spec.heartbeat_interval
            self._new_pace.set()

    def close(self, *, is_away: bool = False) -> None:
        """End the session in order; `run` returns when the manager has confirmed it. `is_away`: the
        agent will be back, and its tasks go on meanwhile."""
        self._is_away = is_away
        self._closing.set()

    async def run(self) -> None:
        """Until `close`."""
        while not self._closing.is_set():
            await self._wait(self._search.wait(random.random()))
            if self._closing.is_set():
                return
            target = self._search.target
            reason, leader = await self._session(target)
            if self._closing.is_set():
                return
            if leader and leader != target:
                log.info("manager %s says that %s leads", target, leader)
                self._search = search.redirect(self._search, leader)
                continue
            self._note_failure(target, reason)
            self._search = search.fail(self._search)

    def _note_failure(self, target: str, reason: str) -> None:
        """Once per reason: a cluster without managers would fill the journal otherwise."""
        level = logging.WARNING if reason != self._reasons.get(target) else logging.DEBUG
        log.log(level, "no session with manager %s: %s", target, reason)
        self._reasons[target] = reason

    async def _wait(self, delay: timedelta) -> None:
        if not delay:
            return
        try:
            async with asyncio.timeout(delay.total_seconds()):
                await self._closing.wait()
        except TimeoutError:
            return

    async def _session(self, target: str) -> tuple[str, str]:
        """One session from Hello to its end: why it ended, and who leads if the manager said."""
        self._told = None
        if not target:
            return "no manager is known", ""
        try:
            hello = await self._with.hello()
            channel = self._with.connect(target)
        except (WarrenError, OSError, ValueError) as error:
            return str(error), ""
        async with channel:
            leader, reason = await self._ask_leader(channel)
            if leader != target:
                return reason, leader
            call: Call = warren_pb2_grpc.DispatcherStub(channel).Session()  # type: ignore[call-arg]
            try:
                await self._converse(call, hello)
            except* _Over as over:
                reason = str(over.exceptions[0])
            except* (grpc.aio.AioRpcError, grpc.aio.InternalError, asyncio.InvalidStateError):
                log.debug("the stream to %s broke", target)
            finally:
                call.cancel()
            return (reason, "") if reason else await _end_of(call)

    async def _ask_leader(self, channel: grpc.aio.Channel) -> tuple[str, str]:
        """Who leads, or why that is not known; in an election, the manager answers at its end.

        A session with another than the leader would be refused, and its refusal can be lost
        behind our own first message.
        """
        try:
            answer = await warren_pb2_grpc.ManagersStub(channel).GetLeader(
                warren_pb2.GetLeaderRequest(wait=True),
                timeout=self._patience.total_seconds(),
            )
        except grpc.aio.AioRpcError as error:
            return "", error.details() or error.code().name
        managers = tuple(manager.api for manager in answer.managers)
        self._search = search.learn(self._search, managers)
        return answer.leader.api, "" if answer.leader.api else "it knows of no leader"

    async def _converse(self, call: Call, hello: warren_pb2.Hello) -> None:
        """Returns or raises when the session is over; a group, hence `except*`."""
        sender = _Sender(call)
        await sender.send(warren_pb2.WorkerMessage(hello=hello))
        await self._wait_admitted(call)
        async with asyncio.TaskGroup() as group:
            requests = self._with.requests.begin_session(group, sender.send)
            helpers = [
                group.create_task(self._report(sender)),
                group.create_task(self._beat(sender)),
                group.create_task(self._tell_carried(sender)),
                group.create_task(self._tell_keys(sender)),
                group.create_task(self._tell_held_ports(sender)),
                group.create_task(self._close_in_order(call, sender)),
            ]
            messages = aiter(call)
            while (message := await self._next(messages)) is not None:
                match message.WhichOneof("message"):
                    case "assignment":
                        self._take(self._read_assignment(message.assignment))
                    case "delta":
                        self._take(self._read_delta(message.delta))
                    case "files":
                        self._take_files(message.files)
                    case _:
                        requests.handle(message)
            for helper in helpers:
                helper.cancel()
            requests.cancel_all()

    async def _wait_admitted(self, call: Call) -> None:
        """Until the manager has taken the session, or refused it: were more written to it before,
        a refusal, and whom it names as the leader, could be lost behind that."""
        seconds = self._patience.total_seconds()
        try:
            async with asyncio.timeout(seconds):
                metadata = await call.initial_metadata()
                if status.SESSION_KEY not in (key for key, _ in metadata or ()):
                    await call.code()
                    raise asyncio.InvalidStateError("it was refused")
        except TimeoutError:
            raise _Over(f"it has been silent for {seconds:g} s") from None

    async def _next(self, messages: Messages) -> warren_pb2.ManagerMessage | None:
        """The next message, None at the end of the stream. Silence is the end, too."""
        seconds = self._patience.total_seconds()
        try:
            async with asyncio.timeout(seconds):
                return await anext(messages, None)
        except TimeoutError:
            raise _Over(f"it has been silent for {seconds:g} s") from None

    def _read_assignment(self, message: warren_pb2.Assignment) -> Assignment:
        try:
            assignment = convert.from_message(message, Assignment)
        except InvalidInput as error:
            raise _Over(f"it sent an assignment that cannot be read: {error}") from error
        return sharing(self._known, assignment)

    def _read_delta(self, message: warren_pb2.AssignmentDelta) -> Assignment:
        """A delta that does not fit ends the session: the next begins with a whole assignment."""
        if self._told is None:
            raise _Over("it sent changes of an assignment that it never sent")
        try:
            return apply_delta(self._told, convert.from_message(message, AssignmentDelta))
        except InvalidInput as error:
            raise _Over(f"it sent changes that cannot be made: {error}") from error

    def _take_files(self, message: warren_pb2.TaskFiles) -> None:
        try:
            self._with.files(message)
        except InvalidInput as error:
            raise _Over(f"it sent files that cannot be read: {error}") from error

    def _take(self, assignment: Assignment) -> None:
        if self._told is None:
            log.info("session with manager %s", self.target)
            self._with.carriage.begin_session()
        self._search = search.connected(self._search)
        self._reasons.clear()
        self._told = assignment
        self._with.assigned(assignment)

    async def _tell_carried(self, sender: "_Sender") -> None:
        while True:
            index = await self._with.carriage.wait_news()
            carried = warren_pb2.Carried(index=index)
            await sender.send(warren_pb2.WorkerMessage(carried=carried))

    async def _tell_keys(self, sender: "_Sender") -> None:
        """What is lost with a session, the next one's Hello says."""
        while True:
            keys = await self._with.mesh_keys.wait()
            message = warren_pb2.MeshKeys(
                public_key=keys.public_key, next_public_key=keys.next_public_key
            )
            await sender.send(warren_pb2.WorkerMessage(mesh_keys=message))

    async def _tell_held_ports(self, sender: "_Sender") -> None:
        self._with.held_ports.begin_session()
        while True:
            held = await self._with.held_ports.wait_news()
            ports = [convert.to_message(port) for port in held]
            message = warren_pb2.HeldPorts(ports=ports)
            await sender.send(warren_pb2.WorkerMessage(held_ports=message))

    async def _report(self, sender: "_Sender") -> None:
        """Tell all, were it nothing: the manager assigns only after that. Then changes as they
        come; those that come while one is being sent go together."""
        reporter = self._with.reporter
        await reporter.wait_complete()
        await sender.send(_report(reporter.begin_session()))
        while True:
            await reporter.wait_unsent()
            await sender.send(_report(reporter.take()))

    async def _beat(self, sender: "_Sender") -> None:
        """A new interval begins with a heartbeat: the silence that is allowed is new, too."""
        while True:
            self._new_pace.clear()
            await sender.send(warren_pb2.WorkerMessage(heartbeat=warren_pb2.Heartbeat()))
            try:
                async with asyncio.timeout(self._heartbeat_interval.total_seconds()):
                    await self._new_pace.wait()
            except TimeoutError:
                continue

    async def _close_in_order(self, call: Call, sender: "_Sender") -> None:
        await self._closing.wait()
        if self._is_away:
            await sender.send(warren_pb2.WorkerMessage(away=warren_pb2.Away()))
        await call.done_writing()


class _Sender:
    """Writes one message at a time; a manager that does not read holds writers up."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._turn = asyncio.Lock()

    async def send(self, message: warren_pb2.WorkerMessage) -> None:
        async with self._turn:
            await self._call.write(message)


def _report(statuses: Mapping[str, TaskStatus]) -> warren_pb2.WorkerMessage:
    tasks = [
        warren_pb2.TaskReport(task_id=task_id, status=convert.to_message(status))
        for task_id, status in statuses.items()
    ]
    return warren_pb2.WorkerMessage(status=warren_pb2.StatusReport(tasks=tasks))


async def _end_of(call: Call) -> tuple[str, str]:
    """What the manager gave as the end, and the leader that it named."""
    code, details = await call.code(), await call.details()
    metadata = await call.trailing_metadata() or ()
    leader = next((value for key, value in metadata if key == _LEADER_KEY), "")
    reason = "it ended the session" if code is grpc.StatusCode.OK else details or code.name
    return reason, leader if isinstance(leader, str) else leader.decode()
