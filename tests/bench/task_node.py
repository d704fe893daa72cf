"""A node whose worker runs nothing, and says that its tasks run: for benches of managers.

It goes to whichever manager leads, and says there first how all of its tasks are, as a real worker
does. So a change of the leader costs it no task.
"""

import queue
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import cycle

import grpc
from warren.api import warren_pb2, warren_pb2_grpc
from warren.bootstrap import node_files

from tests.contract.manager_processes import Host

BEAT = 0.5
"""Seconds between two signs of life."""
AGAIN_AFTER = 0.1
"""Seconds until the next manager is asked, after one that does not lead or ended the session."""
_ENDED = (
    warren_pb2.TASK_STATE_STOPPED,
    warren_pb2.TASK_STATE_COMPLETE,
    warren_pb2.TASK_STATE_FAILED,
    warren_pb2.TASK_STATE_LOST,
)


class TaskNode:
    """The worker of `host`, in a thread of its own. `number` makes addresses of tasks its own."""

    def __init__(self, host: Host, managers: Sequence[Host], number: int) -> None:
        self.running: dict[str, warren_pb2.TaskStatus] = {}
        """By task id, as last said."""
        self.heard: dict[str, float] = {}
        """When it was first told of a service, by the performance counter."""
        self.sessions = 0
        """That were begun and accepted."""
        self._number = number
        self._started = 0
        self._managers = managers
        self._credentials = node_files.read_credentials(host.config)
        self._outbox: queue.Queue[warren_pb2.WorkerMessage] = queue.Queue()
        self._channel: grpc.Channel | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        if self._channel is not None:
            self._channel.close()
        self._thread.join()

    def say(self, task_id: str, health: "warren_pb2.Health.ValueType") -> None:
        """This is how the task is now."""
        status = self.running[task_id]
        status.health = health
        self._report([(task_id, status)])

    def _run(self) -> None:
        for manager in cycle(self._managers):
            self._converse(manager)
            if self._closed.wait(AGAIN_AFTER):
                return

    def _converse(self, manager: Host) -> None:
        """One session, for as long as it lasts."""
        with self._connected(manager) as self._channel:
            self._outbox = queue.Queue()  # what is put there from now on comes after the report
            call = warren_pb2_grpc.DispatcherStub(self._channel).Session(self._messages())
            try:
                for message in call:
                    self.sessions += message.WhichOneof("message") == "assignment"
                    self._follow((*message.assignment.tasks, *message.delta.tasks))
            except (grpc.RpcError, ValueError):  # the latter of a channel that was just closed
                return

    def _connected(self, manager: Host) -> grpc.Channel:
        return grpc.secure_channel(
            f"{manager.address}:{manager.spec.api_port}",
            grpc.ssl_channel_credentials(
                self._credentials.ca_certificate.encode(),
                self._credentials.key.encode(),
                self._credentials.certificate.encode(),
            ),
            (
                ("grpc.ssl_target_name_override", "manager.warren"),
                ("grpc.max_receive_message_length", 64 * 2**20),
            ),
        )

    def _messages(self) -> Iterator[warren_pb2.WorkerMessage]:
        outbox = self._outbox
        yield warren_pb2.WorkerMessage(hello=warren_pb2.Hello())
        yield warren_pb2.WorkerMessage(status=_report(list(self.running.items())))
        while outbox is self._outbox and not self._closed.is_set():
            try:
                yield outbox.get(timeout=BEAT)
            except queue.Empty:
                yield warren_pb2.WorkerMessage(heartbeat=warren_pb2.Heartbeat())

    def _follow(self, tasks: Iterable[warren_pb2.Task]) -> None:
        now = time.perf_counter()
        reports = []
        for task in tasks:
            self.heard.setdefault(task.service, now)
            if task.status.state in _ENDED:
                continue
            if task.desired == warren_pb2.DESIRED_STATE_STOPPED:
                self.running.pop(task.id, None)
                reports.append((task.id, _stopped(task)))
            elif task.id not in self.running:
                self.running[task.id] = self._start(task)
                reports.append((task.id, self.running[task.id]))
        if reports:
            self._report(reports)

    def _start(self, task: warren_pb2.Task) -> warren_pb2.TaskStatus:
        place = self._started
        self._started += 1
        return warren_pb2.TaskStatus(
            state=warren_pb2.TASK_STATE_RUNNING,
            since=task.created_at,
            address=f"10.{88 + self._number}.{place // 250}.{place % 250 + 1}",
            health=warren_pb2.HEALTH_NONE,
        )

    def _report(self, reports: Sequence[tuple[str, warren_pb2.TaskStatus]]) -> None:
        self._outbox.put(warren_pb2.WorkerMessage(status=_report(reports)))


def _report(reports: Sequence[tuple[str, warren_pb2.TaskStatus]]) -> warren_pb2.StatusReport:
    told = [warren_pb2.TaskReport(task_id=task_id, status=status) for task_id, status in reports]
    return warren_pb2.StatusReport(tasks=told)


def _stopped(task: warren_pb2.Task) -> warren_pb2.TaskStatus:
    return warren_pb2.TaskStatus(
        state=warren_pb2.TASK_STATE_STOPPED,
        since=task.created_at,
        health=warren_pb2.HEALTH_NONE,
    )
