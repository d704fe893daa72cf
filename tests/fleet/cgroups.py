"""The control groups of a host: made before it boots, listed to kill it, removed after it.

A host is started inside its own group in every hierarchy, so the cgroup namespace that nspawn
gives it begins there: inside, the host sees a cgroup tree of its own, like any other machine.
It also means that all processes of a host can be found without a PID file, after any wreck; no
PID is on file that might by now be a stranger's. The registry is kept the same way.
Works with cgroup v1, v2 and the hybrid of both.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from tests.fleet import commands
from tests.fleet.errors import FleetError

MOUNT = Path("/sys/fs/cgroup")
# Two groups per host: version 2 allows no process beside a group that hands out controllers, and
# so the small shell that restarts a rebooting host must not share a group with the host.
POWER, MACHINE = "power", "machine"

ENTER = 'while [ "$1" != -- ]; do echo $$ > "$1" || exit 1; shift; done; shift; exec "$@"'
POWER_SUPPLY = 'code=133; while [ "$code" = 133 ]; do "$@"; code=$?; done; exit "$code"'


def hierarchies() -> tuple[Path, ...]:
    """The mounted hierarchies: one for cgroup v2, one for each controller for v1."""
    if (MOUNT / "cgroup.controllers").exists():
        return (MOUNT,)
    found = {entry.resolve() for entry in MOUNT.iterdir() if (entry / "cgroup.procs").exists()}
    if not found:
        raise FleetError(f"no cgroup hierarchy is mounted at {MOUNT}")
    return tuple(sorted(found))


def start(group: str, argv: Sequence[str], log: Path) -> None:
    """Start a program that outlives this command, in the group; what it prints goes to the log.

    A small shell stands above it: it reaps the program even where PID 1 is slow to, and runs it
    again if it ends with 133, which is how nspawn says that its host reboots.
    """
    _create(group)
    supply = ["sh", "-c", POWER_SUPPLY, "sh", *_entering(group, MACHINE, argv)]
    with log.open("ab") as output:
        process = subprocess.Popen(
            _entering(group, POWER, supply),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            start_new_session=True,
        )
    while not processes(group) and process.poll() is None:
        time.sleep(0.002)


def run(group: str, argv: Sequence[str], environment: Mapping[str, str]) -> str:
    """Run a program to its end, in the group; whatever it leaves running, now or before, dies."""
    kill(group)
    _create(group)
    try:
        inside = _entering(group, MACHINE, argv)
        return commands.run(inside, environment=environment, label=argv[0])
    finally:
        kill(group)


def _create(group: str) -> None:
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


def _entering(group: str, part: str, argv: Sequence[str]) -> list[str]:
    """The command that enters that part of the group in every hierarchy, and becomes `argv`."""
    files = [str(hierarchy / group / part / "cgroup.procs") for hierarchy in hierarchies()]
    return ["sh", "-c", ENTER, "sh", *files, "--", *argv]


def processes(group: str) -> frozenset[int]:
    """Every process in the group or below it, in any hierarchy."""
    found: set[int] = set()
    for hierarchy in hierarchies():
        for directory in _tree(hierarchy / group):
            with contextlib.suppress(OSError):  # the group went away, or is of threads
                text = (directory / "cgroup.procs").read_text(encoding="ascii")
                found.update(map(int, text.split()))
    return frozenset(found)


def signal_all(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def init_of_host(pid: int) -> bool:
    """Whether it is PID 1 one PID namespace down; its death takes all of that namespace along."""
    numbers = _numbers(str(pid))
    return len(numbers) == len(_numbers("self")) + 1 and numbers[-1] == "1"


def wait_empty(group: str, *, timeout_s: float) -> bool:
    """Wait until no process is left in the group; whether that came to be."""
    deadline = time.monotonic() + timeout_s
    while processes(group):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def kill(group: str) -> None:
    """Kill everything in the group, a host's init first, and remove the group."""
    deadline = time.monotonic() + 20
    while pids := processes(group):
        if time.monotonic() > deadline:
            raise FleetError(f"{group}: processes {sorted(pids)} do not die")
        signal_all(sorted(pids, key=init_of_host, reverse=True), signal.SIGKILL)
        time.sleep(0.02)
    remove(group)


def remove(group: str) -> None:
    """Remove the group in every hierarchy. Its processes must be gone; the kernel may lag."""
    deadline = time.monotonic() + 10
    for hierarchy in hierarchies():
        while (hierarchy / group).exists():
            for directory in sorted(_tree(hierarchy / group), reverse=True):
                with contextlib.suppress(OSError):
                    directory.rmdir()
            if time.monotonic() > deadline:
                raise FleetError(f"cgroup {hierarchy / group} is still in use")
            time.sleep(0.002)


def groups(fleet: str) -> frozenset[str]:
    """The groups of this fleet (hosts, registry) that are there now, on file or not."""
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


def _numbers(process: str) -> list[str]:
    """The PIDs of a process, from our PID namespace inwards; none if it has ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    except OSError:
        return []
    return next(line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:"))
