"""A cgroup per task, above its containers: for the limits that CRI cannot carry.

CRI has no pids limit, and CPU shares of a container count only among its siblings. So each task
gets a parent cgroup with `pids.max` and its weight, and the runtime makes the containers in it.
Which hierarchy the host has is looked up, never assumed: v1 with one directory per controller
(also under "hybrid"), or v2. A `cgroup_parent` that ends in `.slice` means that the runtime leaves
cgroups to systemd (SystemdCgroup): then all tasks share that slice, weights count within it, and
pids are limited through `unified`, which v2 alone has.

Called by `containerd.py`. All calls are a few small writes below /sys and cannot block.
"""

from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from warren.model.errors import DriverError
from warren.model.services import Resources

_V2_CONTROLLERS = "+cpu +memory +pids"


class Hierarchy(Enum):
    """Which of the kernel's two cgroup interfaces rules the controllers."""

    V1 = "v1"
    V2 = "v2"


def detect(root: Path) -> Hierarchy:
    """Only a v2 root lists its controllers; a hybrid host's controllers are v1's."""
    return Hierarchy.V2 if (root / "cgroup.controllers").exists() else Hierarchy.V1


def shares_of(resources: Resources) -> int:
    """CPU shares from the reservation, as Kubernetes does: no reservation, no claim."""
    return min(262_144, max(2, round(resources.reservations.cpus * 1024)))


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskCgroups:
    """The parents of all tasks, below `parent` (`/warren`)."""

    parent: str
    root: Path = Path("/sys/fs/cgroup")

    def name(self, task_id: str) -> str:
        """What the runtime is told as `cgroup_parent`."""
        if self.parent.endswith(".slice"):
            return self.parent  # one for all: systemd would keep each task's slice for ever
        return f"{self.parent.rstrip('/')}/{task_id}"

    def unified(self, resources: Resources) -> dict[str, str]:
        """Limits of the container that only v2 takes directly."""
        if detect(self.root) is Hierarchy.V1 or not resources.limits.pids:
            return {}
        return {"pids.max": str(resources.limits.pids)}

    def prepare(self, task_id: str, resources: Resources) -> None:
        """Make the task's parent and set its limits; repeated, it sets them again."""
        try:
            match detect(self.root):
                case Hierarchy.V1:
                    self._prepare_v1(task_id, resources)
                case Hierarchy.V2:
                    self._prepare_v2(task_id, resources)
        except OSError as error:
            raise DriverError(
                f"cannot limit the resources of {task_id}: {error.strerror} ({error.filename})"
            ) from error

    def clean(self, task_id: str) -> None:
        """Remove the task's parent wherever it is empty; another attempt may be alive in it."""
        if self.parent.endswith(".slice"):
            return
        name = self.name(task_id).lstrip("/")
        for directory in (self.root, *(path for path in self.root.iterdir() if path.is_dir())):
            with suppress(OSError):  # absent, or still in use: then its next removal does it
                (directory / name).rmdir()

    def _prepare_v1(self, task_id: str, resources: Resources) -> None:
        if self.parent.endswith(".slice"):
            if resources.limits.pids:
                raise DriverError(
                    "a pids limit needs cgroup v2, or a runtime without SystemdCgroup"
                )
            return
        name = self.name(task_id).lstrip("/")
        _set(self.root / "cpu" / name, "cpu.shares", str(shares_of(resources)))
        if resources.limits.pids:
            # The sandbox's own process lives in this parent too.
            _set(self.root / "pids" / name, "pids.max", str(resources.limits.pids + 1))

    def _prepare_v2(self, task_id: str, resources: Resources) -> None:
        if self.parent.endswith(".slice"):
            return
        directory = self.root
        for part in self.name(task_id).strip("/").split("/"):
            (directory / "cgroup.subtree_control").write_text(_V2_CONTROLLERS)
            directory /= part
            directory.mkdir(exist_ok=True)
        weight = 1 + ((shares_of(resources) - 2) * 9999) // 262_142
        _set(directory, "cpu.weight", str(weight))


def _set(directory: Path, name: str, value: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / name).write_text(value)
