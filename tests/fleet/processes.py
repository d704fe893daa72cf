"""Processes that outlive the command that started them, and how to tell whose they are.

A PID on file may by now belong to a stranger, and nobody here signals a stranger. So a PID file
also holds the time the process started and the boot it belongs to. (Hosts need no PID file: their
processes are found by control group.)
"""

import contextlib
import json
import os
import signal
import time
from pathlib import Path

from tests.fleet import fleets


def remember(file: Path, pid: int) -> None:
    mark = {"pid": pid, "started": _started(pid), "boot": _boot()}
    fleets.write_atomically(file, json.dumps(mark) + "\n")


def recall(file: Path) -> int | None:
    """The PID in the file, if that very process still runs."""
    try:
        mark = json.loads(file.read_text(encoding="utf-8"))
        pid = int(mark["pid"])
        same = mark["boot"] == _boot() and mark["started"] == _started(pid)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return pid if same else None


def send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def end(file: Path, *, timeout_s: float) -> None:
    """End the process of this file, by force if it does not go within the timeout."""
    for number, patience_s in ((signal.SIGTERM, timeout_s), (signal.SIGKILL, 5.0)):
        deadline = time.monotonic() + patience_s
        pid = recall(file)
        if pid is not None:
            send(pid, number)
        while recall(file) is not None and time.monotonic() < deadline:
            time.sleep(0.02)
    file.unlink(missing_ok=True)


def is_init_of_a_host(pid: int) -> bool:
    """Whether it is PID 1 one PID namespace down; its death takes all of that namespace along."""
    numbers = _numbers(str(pid))
    return len(numbers) == len(_numbers("self")) + 1 and numbers[-1] == "1"


def _numbers(process: str) -> list[str]:
    """The PIDs of a process, from our PID namespace inwards; none if it has ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    except OSError:
        return []
    return next(line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:"))


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _started(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None if it has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return None
    state, *rest = text.rpartition(")")[2].split()
    return None if state in "ZX" else int(rest[18])
