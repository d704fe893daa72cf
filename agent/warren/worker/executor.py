"""All tasks of this host: one runner each, started, told and ended as assignments come.

Nothing is done before both an assignment and a first look at the runtime are there: until then a
container could be taken for a stray. From then on every container, log directory and kept progress
belongs to an assigned task or is removed. Ending the executor touches no container.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from warren.drivers.ports import ExecOutput, Prober, Runtime
from warren.model.assignments import ServiceTraffic
from warren.model.errors import FailedPrecondition, NotFound
from warren.model.instances import Instance
from warren.model.services import Port
from warren.model.tasks import Task
from warren.worker import task_logs
from warren.worker.images import Images
from warren.worker.local_store import ProgressFile
from warren.worker.observer import Observer
from warren.worker.reporter import Reporter
from warren.worker.runner import Host, NameServers, Runner
from warren.worker.task_files import TaskFiles

log = logging.getLogger(__name__)

STARTS_AT_ONCE = 4


async def at_once(_: Task) -> None:
    """Without traffic there is nothing to wait for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the executor works with."""

    node_name: str
    log_dir: Path
    runtime: Runtime
    prober: Prober
    reporter: Reporter
    progress_file: ProgressFile
    files: TaskFiles
    network_ready: asyncio.Event
    now: Callable[[], datetime]
    name_servers: Callable[[], NameServers] = NameServers
    withdrawn: Callable[[Task], Awaitable[None]] = at_once
    """Waits until this host sends no new connections to a task."""


class Executor:
    """Runs what is assigned and removes what is not."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._observer = Observer(surroundings.runtime, self._on_look)
        self._host = Host(
            node_name=surroundings.node_name,
            log_dir=surroundings.log_dir,
            runtime=surroundings.runtime,
            prober=surroundings.prober,
            observer=self._observer,
            images=Images(surroundings.runtime, surroundings.files),
            reporter=surroundings.reporter,
            progress_file=surroundings.progress_file,
            starts=asyncio.Semaphore(STARTS_AT_ONCE),
            network_ready=surroundings.network_ready,
            now=surroundings.now,
            name_servers=surroundings.name_servers,
            withdrawn=surroundings.withdrawn,
            files=surroundings.files,
        )
        self._tasks: dict[str, Task] = {}
        self._services: Mapping[str, ServiceTraffic] = {}
        self._runners: dict[str, Runner] = {}
        self._assigned = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None

    def assign(
        self, tasks: Sequence[Task], services: Mapping[str, ServiceTraffic] | None = None
    ) -> None:
        """These are the tasks of this node, and no others; services by name, for their ports."""
        self._tasks = {task.id: task for task in tasks}
        self._services = services or {}
        self._assigned.set()
        self._tell_runners()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._observer.run())
            await self._observer.wait_look(0)
            await self._assigned.wait()
            self._group = group
            found = self._host.progress_file.task_ids() | task_logs.task_ids(self._host.log_dir)
            found |= self._host.files.task_ids()
            for task_id in sorted(found):
                self._ensure_runner(task_id)
            self._tell_runners()

    def running(self) -> Sequence[Instance]:
        """Every instance that runs now, as far as is known."""
        found = (runner.running_instance for runner in self._runners.values())
        return [instance for instance in found if instance is not None]

    async def execute(self, task_id: str, command: Sequence[str], timeout: timedelta) -> ExecOutput:
        """Run a command in a task that runs here."""
        runner = self._runners.get(task_id)
        if runner is None:
            raise NotFound(f"task {task_id} is not on node {self._host.node_name}")
        instance = runner.running_instance
        if instance is None:
            raise FailedPrecondition(f"task {task_id} is not running")
        return await self._host.runtime.execute(instance, command, timeout)

    def _on_look(self) -> None:
        if self._group is None:
            return
        for runner in self._runners.values():
            runner.look()
        for task_id in self._observer.last.instances.keys() - self._runners.keys():
            self._ensure_runner(task_id)

    def _tell_runners(self) -> None:
        if self._group is None:
            return
        for task_id, runner in self._runners.items():
            runner.assign(self._tasks.get(task_id), self._ports(task_id))
        for task_id in (*self._tasks, *self._observer.last.instances):
            self._ensure_runner(task_id)

    def _ensure_runner(self, task_id: str) -> None:
        if task_id in self._runners:
            return
        assert self._group is not None
        task = self._tasks.get(task_id)
        if task is None:
            log.info("task %s is not assigned to this node, removing what is left of it", task_id)
        self._runners[task_id] = Runner(self._host, task_id, task, self._ports(task_id))
        self._group.create_task(self._run(task_id), name=f"task {task_id}")

    def _ports(self, task_id: str) -> tuple[Port, ...]:
        task = self._tasks.get(task_id)
        service = self._services.get(task.service) if task is not None else None
        return service.ports if service is not None else ()

    async def _run(self, task_id: str) -> None:
        await self._runners[task_id].run()
        del self._runners[task_id]
