"""Commands of the manager within a session: logs, exec, measure, volumes, cancel.

Each is a bounded job. A job ends with a message that says so, be it an error, unless its session
ends first. What goes wrong in one job is that job's answer and disturbs nothing else.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from warren.api import convert, warren_pb2
from warren.drivers.ports import ExecOutput
from warren.model.errors import FailedPrecondition, WarrenError
from warren.model.views import MeshLink
from warren.model.volumes import Volume
from warren.worker.logs import LogReader
from warren.worker.volumes import Volumes

log = logging.getLogger(__name__)

JOBS_AT_ONCE = 64
_DEFAULT_TIMEOUT = timedelta(minutes=1)

Send = Callable[[warren_pb2.WorkerMessage], Awaitable[None]]


class Execute(Protocol):
    """`Executor.execute`."""

    async def __call__(
        self, task_id: str, command: Sequence[str], timeout: timedelta
    ) -> ExecOutput: ...


Measure = Callable[[], Awaitable[Sequence[MeshLink]]]
"""Measures the way to every other node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What commands are carried out with."""

    logs: LogReader
    execute: Execute
    measure: Measure
    volumes: Volumes


class Requests:
    """Serves the commands of one session after another."""

    def __init__(
        self, logs: LogReader, execute: Execute, measure: Measure, volumes: Volumes
    ) -> None:
        self._with = Surroundings(logs=logs, execute=execute, measure=measure, volumes=volumes)

    def begin_session(self, group: asyncio.TaskGroup, send: Send) -> "SessionRequests":
        """The jobs of a session run in its task group, and end with it."""
        return SessionRequests(self._with, group, send)


class SessionRequests:
    """The jobs of one session, by request id."""

    def __init__(self, surroundings: Surroundings, group: asyncio.TaskGroup, send: Send) -> None:
        self._with = surroundings
        self._group = group
        self._send = send
        self._jobs: dict[int, asyncio.Task[None]] = {}

    def handle(self, message: warren_pb2.ManagerMessage) -> None:
        """Begin or cancel a job; other messages need no answer."""
        match message.WhichOneof("message"):
            case "logs":
                self._begin(message.logs.request_id, self._read_logs(message.logs))
            case "exec":
                self._begin(message.exec.request_id, self._run_command(message.exec))
            case "measure":
                self._begin(message.measure.request_id, self._measure_mesh(message.measure))
            case "measure_volumes":
                order = message.measure_volumes
                self._begin(order.request_id, self._measure_volumes(order))
            case "delete_volume":
                deletion = message.delete_volume
                self._begin(deletion.request_id, self._delete_volume(deletion))
            case "cancel":
                job = self._jobs.get(message.cancel.request_id)
                if job is not None:
                    job.cancel()

    def cancel_all(self) -> None:
        """The session is over."""
        for job in self._jobs.values():
            job.cancel()

    def _begin(self, request_id: int, work: Coroutine[None, None, None]) -> None:
        job = self._group.create_task(work)
        self._jobs[request_id] = job
        job.add_done_callback(lambda _: self._jobs.pop(request_id, None))

    async def _read_logs(self, command: warren_pb2.LogsCommand) -> None:
        request_id, error = command.request_id, ""
        try:
            self._admit()
            async for lines in self._with.logs.read(
                tuple(command.task_ids), tail=command.tail, follow=command.follow
            ):
                chunk = warren_pb2.LogChunk(request_id=request_id, lines=lines)
                await self._send(warren_pb2.WorkerMessage(logs=chunk))
        except (WarrenError, OSError) as problem:
            error = str(problem)
        chunk = warren_pb2.LogChunk(request_id=request_id, end=True, error=error)
        await self._send(warren_pb2.WorkerMessage(logs=chunk))

    async def _run_command(self, command: warren_pb2.ExecCommand) -> None:
        result = warren_pb2.ExecResult(request_id=command.request_id)
        try:
            self._admit()
            timeout = command.timeout.ToTimedelta() or _DEFAULT_TIMEOUT
            output = await self._with.execute(command.task_id, tuple(command.command), timeout)
            result.response.CopyFrom(
                warren_pb2.ExecResponse(
                    stdout=output.stdout,
                    stderr=output.stderr,
                    exit_code=output.exit_code,
                    task_id=command.task_id,
                )
            )
        except WarrenError as error:
            result.error = str(error)
        await self._send(warren_pb2.WorkerMessage(exec=result))

    async def _measure_mesh(self, command: warren_pb2.MeasureCommand) -> None:
        result = warren_pb2.MeshMeasured(request_id=command.request_id)
        try:
            self._admit()
            links = await self._with.measure()
            result.links.extend(convert.to_message(link) for link in links)
        except WarrenError as error:
            result.error = str(error)
        await self._send(warren_pb2.WorkerMessage(measured=result))

    async def _measure_volumes(self, command: warren_pb2.MeasureVolumesCommand) -> None:
        answer = warren_pb2.VolumesAnswer(request_id=command.request_id)
        try:
            self._admit()
            asked = [convert.from_message(each, Volume) for each in command.volumes]
            usages = await self._with.volumes.measure(asked)
            answer.volumes.extend(convert.to_message(usage) for usage in usages)
        except WarrenError as error:
            answer.error = str(error)
        await self._send(warren_pb2.WorkerMessage(volumes=answer))

    async def _delete_volume(self, command: warren_pb2.DeleteVolumeCommand) -> None:
        answer = warren_pb2.VolumesAnswer(request_id=command.request_id)
        try:
            self._admit()
            await self._with.volumes.delete(convert.from_message(command.volume, Volume))
        except WarrenError as error:
            answer.error = str(error)
        await self._send(warren_pb2.WorkerMessage(volumes=answer))

    def _admit(self) -> None:
        if len(self._jobs) > JOBS_AT_ONCE:
            raise FailedPrecondition(f"the node already serves {JOBS_AT_ONCE} requests")
