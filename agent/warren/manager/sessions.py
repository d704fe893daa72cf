"""The workers connected to this leader, and the questions under way with them.

A `Session` is one worker's stream as the rest of the manager sees it: messages to send, how far the
worker has followed what it was told, and answers to commands (logs, exec, measuring) found again by
request id. `dispatcher.py` reads and writes the stream itself.
"""

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from datetime import timedelta

from warren.api import convert, warren_pb2
from warren.model.errors import DeadlineExceeded, FailedPrecondition, Unavailable, WarrenError
from warren.model.volumes import Volume

logger = logging.getLogger(__name__)

CHUNKS_MAX = 256
"""Of one answer, waiting for its reader."""
STALL_MAX = timedelta(seconds=1)
"""How long a slow reader of logs may hold up its worker's stream, heartbeats included."""
REPORT_MAX = timedelta(seconds=6)
"""How long a session waits for the worker's first report, before it assigns all the same."""
EXEC_SLACK = timedelta(seconds=5)
"""On top of a command's own timeout, which the worker keeps."""

Message = (
    warren_pb2.LogChunk | warren_pb2.ExecResult | warren_pb2.MeshMeasured | warren_pb2.VolumesAnswer
)
Answer = Message | WarrenError
Outgoing = warren_pb2.ManagerMessage | bytes
"""A message, or its encoding."""


class Session:
    """One worker's stream."""

    def __init__(self, node_id: str, node_name: str) -> None:
        self.node_id = node_id
        self.node_name = node_name
        self._outbox: deque[Outgoing] = deque()
        self._wake = asyncio.Event()
        self._replaced = asyncio.Event()
        self._reported = asyncio.Event()
        self._written = asyncio.Event()
        self._written.set()
        self.told = 0
        """Index of the last assignment or delta that was sent."""
        self.looked = 0
        """Index up to which nothing else concerned the node."""
        self._acknowledged = 0
        self._ids = itertools.count(1)
        self._requests: dict[int, asyncio.Queue[Answer]] = {}

    def replace(self) -> None:
        """The node has opened another session: this one shall end."""
        self._replaced.set()

    async def wait_replaced(self) -> None:
        """Raises Unavailable when the node has opened another session."""
        await self._replaced.wait()
        raise Unavailable("the node opened another session")

    def send(self, message: Outgoing) -> None:
        """Send soon."""
        self._outbox.append(message)
        self._written.clear()
        self._wake.set()

    async def wait_outgoing(self) -> Outgoing:
        """The next message to write."""
        while not self._outbox:
            self._written.set()
            self._wake.clear()
            await self._wake.wait()
        return self._outbox.popleft()

    async def wait_written(self) -> None:
        """Until all messages are on their way. What changes meanwhile is told at once: a worker
        that reads slowly costs steps on the way, and never memory."""
        await self._written.wait()

    def note_reported(self) -> None:
        """The worker has said how its tasks are."""
        self._reported.set()

    async def wait_reported(self) -> None:
        """Until it has; not for ever."""
        try:
            async with asyncio.timeout(REPORT_MAX.total_seconds()):
                await self._reported.wait()
        except TimeoutError:
            logger.warning("%s does not say how its tasks are", self.node_name)

    def acknowledge(self, index: int) -> None:
        """The worker carries what it was told up to `index`."""
        self._acknowledged = max(self._acknowledged, index)

    @property
    def carried(self) -> int:
        """Up to which index the node's rules are as they should be. What was found not to concern
        it needs no acknowledgement."""
        return self.looked if self._acknowledged >= self.told > 0 else self._acknowledged

    async def logs(
        self, task_ids: Sequence[str], *, follow: bool, tail: int
    ) -> AsyncGenerator[warren_pb2.LogLine, None]:
        """Lines of tasks on this node; without `follow`, until all were sent."""
        with _Request(self) as request:
            command = warren_pb2.LogsCommand(
                request_id=request.id, task_ids=task_ids, follow=follow, tail=tail
            )
            self.send(warren_pb2.ManagerMessage(logs=command))
            while True:
                chunk = await request.answer()
                assert isinstance(chunk, warren_pb2.LogChunk)
                for line in chunk.lines:
                    yield line
                if chunk.error:
                    raise FailedPrecondition(f"logs from {self.node_name}: {chunk.error}")
                if chunk.end:
                    request.ended = True
                    return

    async def execute(
        self, task_id: str, command: Sequence[str], timeout: timedelta
    ) -> warren_pb2.ExecResponse:
        """Run a command in a task on this node and wait for its end."""
        with _Request(self) as request:
            order = warren_pb2.ExecCommand(request_id=request.id, task_id=task_id, command=command)
            order.timeout.FromTimedelta(timeout)
            self.send(warren_pb2.ManagerMessage(exec=order))
            result = await request.only_answer(timeout + EXEC_SLACK)
            assert isinstance(result, warren_pb2.ExecResult)
            return result.response

    async def measure(self, timeout: timedelta) -> Sequence[warren_pb2.MeshLink]:
        """Have this node measure the way to every other."""
        with _Request(self) as request:
            command = warren_pb2.MeasureCommand(request_id=request.id)
            self.send(warren_pb2.ManagerMessage(measure=command))
            result = await request.only_answer(timeout)
            assert isinstance(result, warren_pb2.MeshMeasured)
            return result.links

    async def measure_volumes(
        self, volumes: Sequence[Volume], timeout: timedelta
    ) -> Sequence[warren_pb2.VolumeUsage]:
        """Ask how large these are here. The node leaves out what it does not know yet."""
        with _Request(self) as request:
            command = warren_pb2.MeasureVolumesCommand(
                request_id=request.id, volumes=map(convert.to_message, volumes)
            )
            self.send(warren_pb2.ManagerMessage(measure_volumes=command))
            result = await request.only_answer(timeout)
            assert isinstance(result, warren_pb2.VolumesAnswer)
            return result.volumes

    async def delete_volume(self, volume: Volume, timeout: timedelta) -> None:
        """Have the data of a volume deleted here."""
        with _Request(self) as request:
            command = warren_pb2.DeleteVolumeCommand(
                request_id=request.id, volume=convert.to_message(volume)
            )
            self.send(warren_pb2.ManagerMessage(delete_volume=command))
            await request.only_answer(timeout)

    async def take(self, request_id: int, answer: Answer) -> None:
        """Hand an answer to whoever asked; nobody asks any more: drop it."""
        queue = self._requests.get(request_id)
        if queue is None:
            return
        try:
            async with asyncio.timeout(STALL_MAX.total_seconds()):
                await queue.put(answer)
        except TimeoutError:
            self._fail(queue, FailedPrecondition("the reader of the logs is too slow"))
            self.cancel(request_id)

    def end(self) -> None:
        """The stream is gone, and with it all answers to come."""
        for queue in self._requests.values():
            self._fail(queue, Unavailable(f"the connection to {self.node_name} broke"))
        self._requests.clear()

    def cancel(self, request_id: int) -> None:
        """Tell the worker that nobody wants the answer any more."""
        if self._requests.pop(request_id, None) is not None:
            command = warren_pb2.CancelCommand(request_id=request_id)
            self.send(warren_pb2.ManagerMessage(cancel=command))

    def open(self) -> tuple[int, "asyncio.Queue[Answer]"]:
        """A new request and the queue of its answers."""
        request_id = next(self._ids)
        queue: asyncio.Queue[Answer] = asyncio.Queue(maxsize=CHUNKS_MAX)
        self._requests[request_id] = queue
        return request_id, queue

    def close(self, request_id: int) -> None:
        """The request has had its last answer."""
        self._requests.pop(request_id, None)

    @staticmethod
    def _fail(queue: "asyncio.Queue[Answer]", error: WarrenError) -> None:
        if queue.full():
            queue.get_nowait()
        queue.put_nowait(error)


class _Request:
    """A request under way; leaving it early cancels it on the worker."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.id, self._queue = session.open()
        self.ended = False

    def __enter__(self) -> "_Request":
        return self

    def __exit__(self, *_: object) -> None:
        if self.ended:
            self._session.close(self.id)
        else:
            self._session.cancel(self.id)

    async def answer(self) -> Message:
        answer = await self._queue.get()
        if isinstance(answer, WarrenError):
            raise answer
        return answer

    async def only_answer(self, timeout: timedelta) -> Message:
        """That of a request which has one answer, and not an error."""
        try:
            async with asyncio.timeout(timeout.total_seconds()):
                answer = await self.answer()
        except TimeoutError as error:
            message = f"{self._session.node_name} did not answer in time"
            raise DeadlineExceeded(message) from error
        assert not isinstance(answer, warren_pb2.LogChunk)
        self.ended = True
        if answer.error:
            raise FailedPrecondition(answer.error)
        return answer


class Sessions:
    """All sessions of this leader, by node id. A node's newest session is its session."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}

    def add(self, session: Session) -> Session | None:
        """Register; answers the session that this one replaces."""
        previous = self._sessions.get(session.node_id)
        self._sessions[session.node_id] = session
        return previous

    def remove(self, session: Session) -> None:
        """Forget it, unless a newer one has taken its place."""
        if self._sessions.get(session.node_id) is session:
            del self._sessions[session.node_id]

    def get(self, node_id: str) -> Session | None:
        """The node's session, if it is connected here."""
        return self._sessions.get(node_id)
