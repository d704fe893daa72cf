"""The directory of a member's log, as the few operations that durability is made of.

`Disk` is what journal and snapshots are written against: the real one here, and the simulated one
of `testing/raft_simulation_disk.py`, which forgets whatever was not synced. Errors of a full or
read-only disk become `DiskUnwritable`; an error of sync means that the kernel may have dropped what
was written, and is `Broken`: nobody may go on from there.
"""

import errno
import fcntl
import os
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from warren.model.errors import Unavailable
from warren.store.raft.raft_state import Broken


class DiskUnwritable(Exception):
    """Nothing can be written just now; what was synced is intact."""


class File(Protocol):
    """An open file, written at its end."""

    def write(self, data: bytes) -> None:
        """Add `data`. Not durable."""

    def sync(self) -> None:
        """What was written is durable after this."""

    def close(self) -> None:
        """Let go."""


class Disk(Protocol):
    """One directory without subdirectories."""

    def names(self) -> tuple[str, ...]:
        """All files, sorted."""

    def read(self, name: str) -> bytes:
        """A whole file."""

    def read_at(self, name: str, offset: int, size: int) -> bytes:
        """A piece of a file; shorter at its end."""

    def size(self, name: str) -> int:
        """Bytes in a file."""

    def create(self, name: str) -> File:
        """A new empty file, in place of one of that name."""

    def extend(self, name: str) -> File:
        """An existing file, to be written at its end."""

    def truncate(self, name: str, size: int) -> None:
        """Cut a file, durably."""

    def rename(self, old: str, new: str) -> None:
        """Atomically; durable after `sync_names`."""

    def remove(self, name: str) -> None:
        """Unlink; durable after `sync_names`."""

    def sync_names(self) -> None:
        """Creations, renames and removals are durable after this."""


class RealDisk:
    """A directory of the host, locked for this process while it is open."""

    def __init__(self, directory: Path) -> None:
        """Raises Unavailable while another process uses the directory."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._syncs: deque[float] = deque(maxlen=1000)
        self._handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        self._lock = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.close()
            message = f"another process already keeps its log in {directory}"
            raise Unavailable(message) from error

    def close(self) -> None:
        """Unlock."""
        os.close(self._lock)
        os.close(self._handle)

    def sync_times(self) -> tuple[timedelta, timedelta]:
        """Median and 99th percentile of what syncing a file took lately."""
        times = sorted(self._syncs) or [0.0]
        half, most = times[len(times) // 2], times[len(times) * 99 // 100]
        return timedelta(seconds=half), timedelta(seconds=most)

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(path.name for path in self._directory.iterdir() if path.name != _LOCK))

    def read(self, name: str) -> bytes:
        return (self._directory / name).read_bytes()

    def read_at(self, name: str, offset: int, size: int) -> bytes:
        with (self._directory / name).open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def size(self, name: str) -> int:
        return (self._directory / name).stat().st_size

    def create(self, name: str) -> File:
        return self._open(name, os.O_CREAT | os.O_TRUNC)

    def extend(self, name: str) -> File:
        return self._open(name, os.O_APPEND)

    def truncate(self, name: str, size: int) -> None:
        handle = os.open(name, os.O_WRONLY, dir_fd=self._handle)
        try:
            os.ftruncate(handle, size)
            _sync(os.fsync, handle)
        except OSError as error:
            raise _unwritable(error) from error
        finally:
            os.close(handle)

    def rename(self, old: str, new: str) -> None:
        try:
            os.rename(old, new, src_dir_fd=self._handle, dst_dir_fd=self._handle)
        except OSError as error:
            raise _unwritable(error) from error

    def remove(self, name: str) -> None:
        try:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self._handle)
        except OSError as error:
            raise _unwritable(error) from error

    def sync_names(self) -> None:
        _sync(os.fsync, self._handle)

    def _open(self, name: str, flags: int) -> "_RealFile":
        try:
            handle = os.open(name, os.O_WRONLY | os.O_CLOEXEC | flags, 0o600, dir_fd=self._handle)
        except OSError as error:
            raise _unwritable(error) from error
        return _RealFile(handle, self._syncs)


class _RealFile:
    def __init__(self, handle: int, syncs: "deque[float]") -> None:
        self._handle = handle
        self._syncs = syncs

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._handle, view) :]
        except OSError as error:
            raise _unwritable(error) from error

    def sync(self) -> None:
        began = time.perf_counter()
        _sync(os.fdatasync, self._handle)
        self._syncs.append(time.perf_counter() - began)

    def close(self) -> None:
        os.close(self._handle)


_LOCK = "lock"
_WAIT_FOR_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}


def _unwritable(error: OSError) -> Exception:
    if error.errno in _WAIT_FOR_ROOM:
        return DiskUnwritable(f"the log cannot be written: {error.strerror}")
    return Broken(f"the disk of the log failed: {error}")


def _sync(operation: Callable[[int], None], handle: int) -> None:
    try:
        operation(handle)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _unwritable(error) from error
        raise Broken(f"the disk of the log failed to sync: {error}") from error
