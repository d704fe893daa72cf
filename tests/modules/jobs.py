"""A playbook that runs beside the test, and how it is killed with all that it started.

ansible gives its workers sessions of their own, so neither a process group nor a terminal holds
them together. What they keep is the environment: each process of a job has its mark in there.
"""

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

_MARK = "JOB_OF_A_TEST"


class Job:
    """It begins at once."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], cwd: Path) -> None:
        mark = uuid.uuid4().hex
        self._marked = f"\0{_MARK}={mark}\0".encode()
        self._process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**environment, _MARK: mark},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def processes(self) -> tuple[int, ...]:
        """Of those that live. What has ended and was not waited for has no environment any more."""
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                environment = path.read_bytes()
            except OSError:
                continue
            if self._marked in b"\0" + environment:
                found.append(int(path.parent.name))
        return tuple(sorted(found))

    def kill(self) -> None:
        """All of them, those included that are being started."""
        deadline = time.monotonic() + 60
        while living := self.processes():
            assert time.monotonic() < deadline, f"these do not end: {living}"
            for process in living:
                _kill(process)
            self._process.poll()
        self._process.wait()


def _kill(process: int) -> None:
    """It may have ended meanwhile."""
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return
