"""The directories of this node's tasks: volumes, paths of the node, memory.

A task holds its volumes from before its start until nothing of it runs any more. That is kept on
the disk, so that another agent knows it: a task that was given up for lost may still be here, and
the next one that writes to the same volume waits for its end. Volumes are told with the assignment;
what the node's owner allows is in its configuration alone.
"""

import asyncio
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from pathlib import Path

from warren.core import volume_filters
from warren.drivers.ports import Mount, MountDrivers, VolumeDriver
from warren.files import write_whole
from warren.model.errors import DriverError, FailedPrecondition, WarrenError
from warren.model.services import TaskTemplate
from warren.model.tasks import Task
from warren.model.volumes import MountKind, MountSpec, Volume, VolumeUsage
from warren.state import mounts
from warren.worker.news import News

log = logging.getLogger(__name__)

MEASURE_PATIENCE = timedelta(seconds=2)
MEASURE_INTERVAL = timedelta(minutes=5)
_MEASURE_SHARE = 20
"""A measurement is followed by so many times its own length without one."""


class Volumes:
    """Of one node."""

    def __init__(self, drivers: MountDrivers, node_name: str, holds: Path) -> None:
        self._drivers = drivers
        self._node_name = node_name
        self._known: dict[str, Volume] = {}
        self._holds = _Holds(holds)
        self._news = News()
        self._usages: dict[str, VolumeUsage] = {}
        """What was measured last, by the volume's id."""
        self._measuring: dict[str, asyncio.Task[VolumeUsage | None]] = {}

    @property
    def drivers(self) -> tuple[str, ...]:
        """Names of those that the host has."""
        return tuple(sorted(self._drivers.volumes))

    @property
    def bind_paths(self) -> tuple[str, ...]:
        """What the node's owner lets tasks mount."""
        return self._drivers.bind_paths

    def learn(self, volumes: Iterable[Volume]) -> None:
        """Those that tasks of this node could have."""
        self._known = {volume.spec.name: volume for volume in volumes}

    def task_ids(self) -> frozenset[str]:
        """Tasks that hold something."""
        return self._holds.task_ids()

    # ---- of tasks

    def missing(self, task: Task) -> str:
        """What a start must wait for, as a sentence; empty: nothing."""
        for volume in self._alone(task.template):
            other = self._holds.writer(volume.directory, than=task.id)
            if other:
                return f"waits for the end of {other}, which writes to volume {volume.spec.name}"
        return ""

    async def wait(self, task: Task, say: Callable[[str], None] = lambda _: None) -> None:
        """Until nothing is missing, and says what is; then the task holds its volumes."""
        await self._news.wait_complete(lambda: self.missing(task), say)
        if task.template.mounts:
            written = {volume.directory for volume in self._alone(task.template)}
            self._holds.put(task.id, self._directories(task.template), written)

    async def place(self, task: Task, attempt: int) -> tuple[Mount, ...]:
        """Have what the attempt mounts. FailedPrecondition, DriverError: it cannot be had."""
        found = []
        for place, mount in enumerate(task.template.mounts):
            source = await self._source(task, mount, f"{attempt}.{place}")
            found.append(Mount(source=source, target=mount.target, read_only=mount.read_only))
        await self._leave_memory(task.id, but=f"{attempt}.")
        return tuple(found)

    async def remove(self, task_id: str) -> None:
        """Nothing of the task runs any more."""
        if task_id not in self._holds.task_ids():
            return
        try:
            await self._leave_memory(task_id)
            held = self._holds.of(task_id)
            self._holds.drop(task_id)
            for volume in self._known.values():
                if volume.directory in held and not self._holds.holders(volume.directory):
                    await self._driver(volume).unmount(volume)
        except WarrenError as error:
            log.warning("%s", error)
        finally:
            self._news.tell()

    def _alone(self, template: TaskTemplate) -> Sequence[Volume]:
        """Volumes to which a task of the template is the only one that writes."""
        named = (self._known.get(mount.source) for mount in mounts.of_volumes(template))
        return [v for v in named if v is not None and mounts.one_writer(v, template)]

    def _directories(self, template: TaskTemplate) -> set[str]:
        named = (self._known.get(mount.source) for mount in mounts.of_volumes(template))
        return {volume.directory for volume in named if volume is not None}

    async def _source(self, task: Task, mount: MountSpec, place: str) -> Path:
        match mount.type:
            case MountKind.VOLUME:
                volume = self._known.get(mount.source)
                if volume is None:
                    message = f"volume {mount.source} is not on {self._node_name}"
                    raise FailedPrecondition(message)
                return await self._driver(volume).mount(volume)
            case MountKind.BIND:
                return self._bind(mount.source)
            case MountKind.TMPFS:
                target = self._memory(task.id) / place
                size = (f"size={mount.size}",) if mount.size else ()
                options = (*size, f"mode={mount.mode or '1777'}", "nosuid", "nodev")
                await self._drivers.mounts.mount("tmpfs", "tmpfs", target, options)
                return target

    def _bind(self, path: str) -> Path:
        """What it leads to counts, not what it is called: links could lead anywhere."""
        allowed = [os.path.realpath(each) for each in self.bind_paths]
        real = os.path.realpath(path)
        if not volume_filters.is_below(path, self.bind_paths) or not volume_filters.is_below(
            real, allowed
        ):
            leads = f" (it leads to {real})" if real != path else ""
            message = f"{self._node_name} does not let tasks mount {path}{leads}: see bind_paths"
            raise FailedPrecondition(message)
        if not os.path.exists(real):  # noqa: PTH110 - as the rest of this function
            hidden = "or hidden from its agent, as /home, /root and /tmp are"
            raise FailedPrecondition(f"{path} is not there on {self._node_name}, {hidden}")
        return Path(real)

    def _driver(self, volume: Volume) -> VolumeDriver:
        driver = self._drivers.volumes.get(volume.spec.driver)
        if driver is None:
            raise DriverError(f"{self._node_name} has no volume driver {volume.spec.driver}")
        return driver

    def _memory(self, task_id: str) -> Path:
        return self._drivers.mounts_dir / "tasks" / task_id

    async def _leave_memory(self, task_id: str, but: str = "/") -> None:
        """What attempts before had in memory is gone."""
        directory = self._memory(task_id)
        for target in sorted(directory.glob("*")):
            if not target.name.startswith(but):
                await self._drivers.mounts.unmount(target)
        if directory.exists() and not any(directory.iterdir()):
            directory.rmdir()

    # ---- of volumes

    async def delete(self, volume: Volume) -> None:
        """Delete its data. FailedPrecondition if a task here still has it."""
        holders = self._holds.holders(volume.directory)
        if holders:
            raise FailedPrecondition(f"{', '.join(holders)} still has it")
        await self._driver(volume).delete(volume)
        self._usages.pop(volume.id, None)
        log.info("the data of volume %s (%s) is deleted", volume.spec.name, volume.id)

    async def measure(self, volumes: Sequence[Volume]) -> tuple[VolumeUsage, ...]:
        """How large they are, as far as that is known soon; the rest hears who asks next."""
        jobs = [self._measure(volume) for volume in volumes]
        if jobs:
            await asyncio.wait(jobs, timeout=MEASURE_PATIENCE.total_seconds())
        return tuple(self._usages[each.id] for each in volumes if each.id in self._usages)

    def usages(self) -> tuple[VolumeUsage, ...]:
        """As they were measured last."""
        return tuple(self._usages.values())

    async def run(self) -> None:
        """Measure now and then, until cancelled."""
        while True:
            begun = time.monotonic()
            here = [v for v in self._known.values() if v.is_local and v.node_id]
            for volume in here:
                await asyncio.wait([self._measure(volume)])
            lasted = timedelta(seconds=time.monotonic() - begun)
            await asyncio.sleep(max(MEASURE_INTERVAL, lasted * _MEASURE_SHARE).total_seconds())

    def _measure(self, volume: Volume) -> "asyncio.Task[VolumeUsage | None]":
        """One measurement at a time of each."""
        job = self._measuring.get(volume.id)
        if job is None or job.done():
            job = self._measuring[volume.id] = asyncio.create_task(self._measured(volume))
        return job

    async def _measured(self, volume: Volume) -> VolumeUsage | None:
        try:
            usage = await self._driver(volume).measure(volume)
        except WarrenError as error:
            log.warning("volume %s cannot be measured: %s", volume.spec.name, error)
            return None
        self._usages.pop(volume.id, None)
        if usage is not None:
            self._usages[volume.id] = usage
        return usage


class _Holds:
    """Which task has which directories, and to which it alone writes; on the disk, too."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: dict[str, dict[str, list[str]]] = self._load()

    def task_ids(self) -> frozenset[str]:
        return frozenset(self._kept)

    def of(self, task_id: str) -> frozenset[str]:
        """Directories that the task has."""
        return frozenset(self._kept.get(task_id, {}).get("has", ()))

    def holders(self, directory: str) -> tuple[str, ...]:
        """Tasks that have it."""
        return tuple(sorted(key for key, each in self._kept.items() if directory in each["has"]))

    def writer(self, directory: str, *, than: str) -> str:
        """Another task than that which writes to it alone; empty: there is none."""
        others = (key for key, each in self._kept.items() if directory in each["writes"])
        return next((key for key in others if key != than), "")

    def put(self, task_id: str, has: set[str], writes: set[str]) -> None:
        held = {"has": sorted(has), "writes": sorted(writes)}
        if self._kept.get(task_id) != held:
            self._kept[task_id] = held
            self._save()

    def drop(self, task_id: str) -> None:
        if self._kept.pop(task_id, None) is not None:
            self._save()

    def _load(self) -> dict[str, dict[str, list[str]]]:
        """What cannot be read is forgotten: containers that run are found by their labels, and end
        as their managers say."""
        try:
            kept: dict[str, dict[str, list[str]]] = json.loads(self._path.read_text())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            log.warning("%s cannot be read: %s", self._path, error)
            return {}
        return kept

    def _save(self) -> None:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(self._path, json.dumps(self._kept, sort_keys=True).encode())
        except OSError as error:
            raise DriverError(f"cannot write {self._path}: {error.strerror}") from error
