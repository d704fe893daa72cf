"""Keeps each processor busy for a part of the time: a process per processor, bounded in time.

They end with `stop`, with their time, or when whoever started them is gone.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

SLICE = 0.1
"""Seconds: busy for a part of each, so that nobody can use the processor meanwhile."""
BURN = f"""
import os, sys, time
processor, share, seconds = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
os.sched_setaffinity(0, [processor])
parent, end = os.getppid(), time.monotonic() + seconds
while os.getppid() == parent and (begin := time.monotonic()) < end:
    while time.monotonic() - begin < {SLICE} * share:
        pass
    time.sleep({SLICE} * (1 - share))
"""


class Load:
    """Busy while the block lasts."""

    def __init__(self, share: float, seconds: float) -> None:
        self._share, self._seconds = share, seconds
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "Load":
        for processor in sorted(os.sched_getaffinity(0)):
            words = [sys.executable, "-c", BURN, str(processor), str(self._share)]
            self._processes.append(subprocess.Popen([*words, str(self._seconds)]))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


class Busy:
    """How busy the machine was since the last question."""

    def __init__(self) -> None:
        self._before = _ticks()

    def share(self) -> float:
        """Of the time of all processors."""
        idle, whole = _ticks()
        idle_before, whole_before = self._before
        self._before = idle, whole
        return 1 - (idle - idle_before) / max(1, whole - whole_before)


def _ticks() -> tuple[int, int]:
    """Idle, and in all."""
    first = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0]
    user, nice, system, idle, waiting, *others = map(int, first.split()[1:9])
    return idle + waiting, user + nice + system + idle + waiting + sum(others)


def average() -> float:
    """Processes that wanted a processor, over the last minute, for each processor."""
    return os.getloadavg()[0] / len(os.sched_getaffinity(0))


def now() -> str:
    return time.strftime("%H:%M:%S")
