"""The control groups of a host: made before it boots, listed to kill it, removed after it.

A host is started inside its own group in every hierarchy, so the cgroup namespace that nspawn
gives it begins there: inside, the host sees a cgroup tree of its own, like any other machine.
It also means that all processes of a host can be found without a PID file, after any wreck.
Works with cgroup v1, v2 and the hybrid of both.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from tests.fleet.errors import FleetError

MOUNT = Path("/sys/fs/cgroup")
# Two groups per host: version 2 allows no process beside a group that hands out controllers, and
# so the small shell that restarts a rebooting host must not share a group with the host.
POWER, MACHINE = "power", "machine"


def hierarchies() -> tuple[Path, ...]:
    """The mounted hierarchies: one for cgroup v2, one for each controller for v1."""
    if (MOUNT / "cgroup.controllers").exists():
        return (MOUNT,)
    found = {entry.resolve() for entry in MOUNT.iterdir() if (entry / "cgroup.procs").exists()}
    if not found:
        raise FleetError(f"no cgroup hierarchy is mounted at {MOUNT}")
    return tuple(sorted(found))


def create(group: str) -> None:
    for hierarchy in hierarchies():
        if hierarchy == MOUNT:
            _hand_out_controllers(hierarchy)
        for part in (group, f"{group}/{POWER}", f"{group}/{MACHINE}"):
            directory = hierarchy / part
            directory.mkdir(exist_ok=True)
            _fill_cpuset(directory)
        if hierarchy == MOUNT:
            _hand_out_controllers(hierarchy / group)


def _fill_cpuset(directory: Path) -> None:
    """A new v1 cpuset group has no processors, and refuses every process until it gets some."""
    if not (directory / "cgroup.clone_children").exists():
        return
    for name in ("cpuset.cpus", "cpuset.mems"):
        file = directory / name
        if file.exists() and not file.read_text(encoding="ascii").strip():
            file.write_text((directory.parent / name).read_text(encoding="ascii"), encoding="ascii")
            (directory / "cgroup.clone_children").write_text("1", encoding="ascii")


def _hand_out_controllers(directory: Path) -> None:
    for controller in (directory / "cgroup.controllers").read_text(encoding="ascii").split():
        with contextlib.suppress(OSError):  # some kernels keep a controller at the root
            (directory / "cgroup.subtree_control").write_text(f"+{controller}", encoding="ascii")


def entries(group: str, part: str) -> tuple[Path, ...]:
    """The files to write a PID to, to be in that part of the group in every hierarchy."""
    return tuple(hierarchy / group / part / "cgroup.procs" for hierarchy in hierarchies())


def processes(group: str) -> frozenset[int]:
    """Every process in the group or below it, in any hierarchy."""
    found: set[int] = set()
    for hierarchy in hierarchies():
        for directory in _tree(hierarchy / group):
            with contextlib.suppress(OSError):  # the group went away, or is of threads
                text = (directory / "cgroup.procs").read_text(encoding="ascii")
                found.update(map(int, text.split()))
    return frozenset(found)


def remove(group: str) -> None:
    """Remove the group in every hierarchy. Its processes must be gone; the kernel may lag."""
    for hierarchy in hierarchies():
        deadline = time.monotonic() + 10
        while (hierarchy / group).exists():
            for directory in sorted(_tree(hierarchy / group), reverse=True):
                with contextlib.suppress(OSError):
                    directory.rmdir()
            if time.monotonic() > deadline:
                raise FleetError(f"cgroup {hierarchy / group} is still in use")
            time.sleep(0.02)


def groups(fleet: str) -> frozenset[str]:
    """The groups of this fleet's hosts that are there now, known to a state file or not."""
    prefix = f"warren-{fleet}-"
    return frozenset(
        entry.name
        for hierarchy in hierarchies()
        for entry in hierarchy.glob(f"{prefix}*")
        if "-" not in entry.name.removeprefix(prefix)  # else it is of a fleet with a longer name
    )


def _tree(directory: Path) -> Iterator[Path]:
    for parent, _, _ in os.walk(directory):
        yield Path(parent)
