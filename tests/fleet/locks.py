"""Locks between processes, so that two commands at once wait for each other.

A lock is a file that is never removed: removing it would let two holders in. The kernel drops a
lock with its holder, so a crash leaves none behind.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

LOCKS = Path("/run/lock")


@contextlib.contextmanager
def held(subject: str) -> Iterator[None]:
    """Hold the lock of `subject` (a fleet, a base image); wait for whoever has it now."""
    LOCKS.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(LOCKS / f"warren-fleet-{subject}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another command that works on {subject}", flush=True)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
