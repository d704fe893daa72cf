"""One task on this host, from its assignment until nothing is left of it.

Repeats step -> act -> observe: `core/task.py` decides, the runtime acts, and its next look or its
answer is what is observed. Errors of the runtime become status; none ends the runner.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import assert_never

from warren.core import task as law
from warren.drivers.ports import Mount, Prober, Runtime, StartOrder
from warren.model.errors import WarrenError
from warren.model.instances import Instance, InstanceState
from warren.model.services import Port, Protocol
from warren.model.tasks import DesiredState, Task
from warren.worker import task_logs
from warren.worker.images import Images
from warren.worker.local_store import ProgressFile
from warren.worker.observer import Observer
from warren.worker.probing import Probing, Subject
from warren.worker.reporter import Reporter
from warren.worker.task_files import TaskFiles
from warren.worker.volumes import Volumes

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class NameServers:
    """Whom tasks ask for names. Without addresses: whom their host asks."""

    addresses: tuple[str, ...] = ()
    domain: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What the runners of one host share."""

    node_name: str
    log_dir: Path
    runtime: Runtime
    prober: Prober
    observer: Observer
    images: Images
    reporter: Reporter
    progress_file: ProgressFile
    starts: asyncio.Semaphore
    """Bounds the starts at once: more makes each slower and none sooner."""
    network_ready: asyncio.Event
    """Set once tasks can have addresses."""
    now: Callable[[], datetime]
    name_servers: Callable[[], NameServers]
    withdrawn: Callable[[Task], Awaitable[None]]
    """Waits until this host sends no new connections to a task."""
    files: TaskFiles
    volumes: Volumes


class Runner:
    """Carries one task through its life on this host."""

    def __init__(
        self, host: Host, task_id: str, task: Task | None, ports: tuple[Port, ...] = ()
    ) -> None:
        self._host = host
        self._task_id = task_id
        self._task = task
        self._ports = ports
        self._assigned = task is not None
        kept = host.progress_file.get(task_id)
        self._progress = kept or law.begin(task, host.now())
        self._instances: tuple[Instance, ...] = ()
        self._blind_until = 0
        self._changed = asyncio.Event()
        self._patience: asyncio.Timeout | None = None

    def assign(self, task: Task | None, ports: tuple[Port, ...] = ()) -> None:
        """What the newest assignment says of the task, with the ports of its service; None: it is
        not in there."""
        if task is not None:
            self._assigned = True
            if (task, ports) == (self._task, self._ports):
                return
            self._task, self._ports = task, ports
        elif self._assigned:
            self._assigned = False
        else:
            return
        self._changed.set()
        if self._patience is not None and not self._wanted:
            self._patience.reschedule(asyncio.get_running_loop().time())

    def look(self) -> None:
        """The observer has looked; wakes the runner if that concerns it."""
        if self._seen() != self._instances:
            self._changed.set()

    @property
    def running_instance(self) -> Instance | None:
        """The instance that runs now, as far as is known."""
        found = (i for i in self._instances if i.state is InstanceState.RUNNING)
        return max(found, key=lambda instance: instance.attempt, default=None)

    async def run(self) -> None:
        """Until nothing is left of the task here."""
        async with asyncio.TaskGroup() as group:
            probing = Probing(
                self._host.prober,
                group,
                now=self._host.now,
                record=lambda: self._progress.checks,
                checked=self._note_check,
            )
            await self._run_steps(probing)
            probing.follow(None)

    async def _run_steps(self, probing: Probing) -> None:
        while True:
            self._changed.clear()
            self._instances = self._seen()
            step = law.step(
                law.Situation(
                    task=self._task,
                    assigned=self._assigned,
                    instances=self._instances,
                    progress=self._progress,
                    now=self._host.now(),
                    receives=bool(self._ports),
                )
            )
            self._advance(step.progress)
            probing.follow(self._subject())
            if self._progress.status.state.terminal and self.running_instance is None:
                self._host.files.remove(self._task_id)
                await self._host.volumes.remove(self._task_id)
            if isinstance(step.action, law.Forget):
                await self._host.volumes.remove(self._task_id)
                self._forget()
                return
            await self._act(step.action)

    def _subject(self) -> Subject | None:
        """What is to be checked now: the running instance, if its service says how.

        Without a port there is nothing to check: the manager refuses such a service, so its ports
        are only not known yet.
        """
        instance, task = self.running_instance, self._task
        if not self._assigned or task is None or task.template.health is None or instance is None:
            return None
        if task.desired is DesiredState.STOPPED:
            return None
        check = task.template.health
        tcp = (port.target for port in self._ports if port.protocol is Protocol.TCP)
        port = check.port or next(tcp, 0)
        if check.port is not None and not port:
            return None
        return Subject(check=check, instance=instance, port=port)

    def _note_check(self, event: law.Checked) -> None:
        """A result; mostly it says what was known."""
        before = self._progress
        self._happened(event)
        if self._progress != before:
            self._changed.set()

    @property
    def _wanted(self) -> bool:
        task = self._task
        return (
            self._assigned
            and task is not None
            and task.desired is DesiredState.RUNNING
            and not task.status.state.terminal
        )

    def _seen(self) -> tuple[Instance, ...]:
        """The newest knowledge: a look that began after our last action, or that action's own."""
        look = self._host.observer.last
        if look.number > self._blind_until:
            return look.instances.get(self._task_id, ())
        return self._instances

    def _acted(self, instances: tuple[Instance, ...]) -> None:
        """Note what an action left behind; looks begun before its end would know less."""
        self._instances = instances
        self._blind_until = self._host.observer.begun

    async def _look_again(self) -> None:
        self._blind_until = self._host.observer.begun
        self._host.observer.ask()
        await self._host.observer.wait_look(self._blind_until)

    def _advance(self, progress: law.Progress) -> None:
        """Take over progress: keep what must survive, tell the manager, leave a trace."""
        before, self._progress = self._progress, progress
        if not self._assigned or self._task is None:
            return
        self._host.progress_file.keep(self._task_id, progress)
        self._host.reporter.put(self._task_id, progress.status)
        status = progress.status
        if (status.state, status.message) != (before.status.state, before.status.message):
            detail = f": {status.message}" if status.message else ""
            log.info(
                "task %s (%s) %s%s", self._task.name, self._task_id, status.state.value, detail
            )

    def _happened(self, event: law.Event) -> None:
        if self._task is not None:
            now = self._host.now()
            self._advance(law.after(self._task.template, self._progress, event, now))

    def _forget(self) -> None:
        self._host.observer.forget(self._task_id)
        self._host.reporter.forget(self._task_id)
        self._host.files.remove(self._task_id)
        task_logs.remove(self._host.log_dir, self._task_id)
        self._host.progress_file.forget(self._task_id)
        log.info("task %s forgotten", self._task_id)

    async def _act(self, action: law.Action) -> None:
        try:
            await self._try(action)
        except WarrenError as error:
            await self._failed(action, str(error), transient=error.transient)
        except Exception as error:
            # A bug in a driver must not end the other tasks.
            log.exception("task %s: %s failed", self._task_id, type(action).__name__)
            await self._failed(action, f"internal error: {error}", transient=False)

    async def _try(self, action: law.Action) -> None:
        match action:
            case law.Wait():
                await self._wait(action.until)
            case law.EnsureImage():
                await self._ensure_image(action)
            case law.Start():
                await self._start(action)
            case law.Examine():
                path = task_logs.path_of(self._host.log_dir, self._task_id, action.attempt)
                last_log = task_logs.last_line(path)
                self._happened(law.Ended(instance=action.instance, last_log=last_log))
                task_logs.prune(self._host.log_dir, self._task_id)
            case law.Stop():
                # Who drains is withdrawn already; who was given up for lost meanwhile is not.
                if self._task is not None and self._ports:
                    await self._host.withdrawn(self._task)
                instance = action.instance
                await self._host.runtime.stop(instance, signal=action.signal, grace=action.grace)
                await self._look_again()
            case law.Remove():
                await self._host.runtime.remove(action.instance)
                self._acted(tuple(i for i in self._instances if i != action.instance))
            case law.Forget():
                raise AssertionError("run() ends with it")
            case _:
                assert_never(action)

    async def _failed(self, action: law.Action, reason: str, *, transient: bool) -> None:
        """An action failed: a start counts as an attempt, all else is tried again after a look."""
        if isinstance(action, law.EnsureImage | law.Start) and not transient:
            self._happened(law.Refused(reason=reason))
            self._acted(self._instances)
            return
        self._happened(law.Interrupted(reason=reason))
        await self._look_again()

    async def _wait(self, until: datetime | None) -> None:
        delay = None if until is None else max((until - self._host.now()).total_seconds(), 0)
        try:
            async with asyncio.timeout(delay):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _ensure_image(self, action: law.EnsureImage) -> None:
        """A pull may take minutes; `assign` cuts the wait short when the task is not wanted."""
        try:
            async with asyncio.timeout(None) as self._patience:
                digest = await self._host.images.ensure(action.template, self._say_waiting)
        except TimeoutError:
            if self._wanted:
                raise
            return
        finally:
            self._patience = None
        self._happened(law.ImageReady(digest=digest))

    def _say_waiting(self, reason: str) -> None:
        self._happened(law.Waiting(reason=reason))

    async def _start(self, action: law.Start) -> None:
        """A start that has begun is not broken off: what it made would have to be found again."""
        files, volumes, template = self._host.files, self._host.volumes, action.task.template
        try:
            async with asyncio.timeout(None) as self._patience:
                await files.wait(template, self._say_waiting)
                await volumes.wait(action.task, self._say_waiting)
                await self._host.network_ready.wait()
                await self._host.starts.acquire()
        except TimeoutError:
            if self._wanted:
                raise
            return
        finally:
            self._patience = None
        names = self._host.name_servers()
        try:
            placed = await volumes.place(action.task, action.attempt)
            mounts = _outer_first((*placed, *files.place(action.task)))
            instance = await self._host.runtime.start(
                StartOrder(
                    dns_servers=names.addresses,
                    dns_domain=names.domain,
                    task=action.task,
                    attempt=action.attempt,
                    sandbox_id=action.sandbox_id,
                    node_name=self._host.node_name,
                    mounts=mounts,
                    log_path=task_logs.path_of(self._host.log_dir, self._task_id, action.attempt),
                )
            )
        finally:
            self._host.starts.release()
        self._acted((*self._instances, instance))


def _outer_first(mounts: Iterable[Mount]) -> tuple[Mount, ...]:
    """One that is inside of another comes after it, or would be covered by it."""
    return tuple(sorted(mounts, key=lambda mount: mount.target.count("/")))
