"""A directory through which an archive passes in pieces, so that it is never whole on a node.

    <name>/000000 …    the pieces, put whole, removed by who takes them; an empty one is the end
    <name>/end         JSON: how the process ended
    <name>.lock        held by the process that packs or unpacks, as long as it lives

Whoever puts waits while `AHEAD` pieces lie there. Who removes the directory gives up, for both
sides. The lock is beside it, so that nobody begins anew before what was given up has ended: a
process that is slow to notice would take the new directory for its own.
"""

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from warren import files
from warren.model.errors import FailedPrecondition

AHEAD = 3
PIECE_BYTES = 32 << 20
_LOOK_SECONDS = 0.02
_STALE_SECONDS = 900.0
"""Whoever does nothing for so long is gone."""
_ENDING_SECONDS = 10.0
"""So long who gives up waits for the process to end, and who begins anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How the process ended."""

    error: str = ""
    changed: bool = False
    """Something changed while it was packed."""


class Gone(Exception):
    """The other side has given up, or is no more."""


class Spool:
    """The directory, named like its volume."""

    def __init__(self, directory: Path, *, piece_bytes: int = PIECE_BYTES) -> None:
        self.directory = directory
        self.piece_bytes = piece_bytes
        self._lock = directory.with_name(f"{directory.name}.lock")

    def begin(self) -> int:
        """Take the lock, and away what a run before has left. Answers the lock's descriptor.

        FailedPrecondition: another run has the volume.
        """
        self._lock.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = self._take_lock_at_end()
        if descriptor is None:
            raise FailedPrecondition(f"{self._volume} is being backed up or restored already")
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(mode=0o700)
        return descriptor

    def remove(self) -> None:
        """Give up, or be done. The process has ended then, or is stuck."""
        shutil.rmtree(self.directory, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            descriptor = self._take_lock_at_end()
            if descriptor is not None:
                self._lock.unlink(missing_ok=True)
                os.close(descriptor)

    def leave(self) -> None:
        """In the process, which does nothing more."""
        shutil.rmtree(self.directory, ignore_errors=True)
        self._lock.unlink(missing_ok=True)

    def exists(self) -> bool:
        """Nobody has given up."""
        return self.directory.is_dir()

    # ------------------------------------------------------------ pieces

    def put_all(self, parts: Iterable[bytes]) -> None:
        """All parts in pieces, and the end. Gone: nobody takes them."""
        number, waiting = 0, bytearray()
        for part in parts:
            waiting += part
            if len(waiting) >= self.piece_bytes:
                self._put(number, bytes(waiting))
                number += 1
                waiting.clear()
        if waiting:
            self._put(number, bytes(waiting))
            number += 1
        self._put(number, b"")

    def place_for(self, number: int) -> Path:
        """Where others may write that piece, when there is room; `put` it then."""
        before = self._piece(number - AHEAD)
        self._wait_with_process(lambda: not before.exists())
        return self._piece(number).with_suffix(".part")

    def put(self, number: int) -> None:
        """What was written there is whole."""
        piece = self._piece(number)
        piece.with_suffix(".part").replace(piece)

    def put_end(self, number: int) -> None:
        """There are so many pieces."""
        files.write_whole(self._piece(number), b"", durable=False)

    def piece(self, number: int) -> Path | None:
        """That piece, once it is there; the one before it has been taken. None: it is the end."""
        if number:
            self._piece(number - 1).unlink(missing_ok=True)
        piece = self._piece(number)
        self._wait_with_process(piece.exists)
        return piece if piece.stat().st_size else None

    def take(self, number: int) -> bytes:
        """The content of that piece, once it is there; empty at the end. Gone: it will not be."""
        piece = self._piece(number)
        self._wait_with_others(piece.exists)
        content = piece.read_bytes()
        piece.unlink()
        return content

    # ------------------------------------------------------------ the end

    def tell_end(self, end: End) -> None:
        """Tell how it went, and stay until whoever asked has seen it, or is gone."""
        data = json.dumps(asdict(end)).encode()
        with contextlib.suppress(OSError, Gone):
            files.write_whole(self.directory / "end", data, durable=False)
            self._wait_with_others(lambda: False)

    def wait_end(self) -> End:
        """How the process ended. FailedPrecondition: badly."""
        self._wait_with_process(lambda: False, ends=True)
        return End(**json.loads((self.directory / "end").read_bytes()))

    # ------------------------------------------------------------ waiting

    def _put(self, number: int, content: bytes) -> None:
        before = self._piece(number - AHEAD)
        self._wait_with_others(lambda: not before.exists())
        try:
            files.write_whole(self._piece(number), content, durable=False)
        except FileNotFoundError:
            raise Gone from None

    def _wait_with_others(self, condition: Callable[[], bool]) -> None:
        """In the process. Gone: the spool is removed, or nobody has done anything for long."""
        deadline = time.monotonic() + _STALE_SECONDS
        while self.exists() and time.monotonic() < deadline:
            if condition():
                return
            time.sleep(_LOOK_SECONDS)
        raise Gone

    def _wait_with_process(self, condition: Callable[[], bool], *, ends: bool = False) -> None:
        """For the process, or with `ends` for its end. FailedPrecondition: it has failed."""
        deadline = time.monotonic() + _STALE_SECONDS
        while True:
            # In this order: when it has ended, all that it has done is seen.
            living, told = self._process_lives(), (self.directory / "end").exists()
            if condition():
                return
            if told:
                end = End(**json.loads((self.directory / "end").read_bytes()))
                if ends and not end.error:
                    return
                raise FailedPrecondition(f"{self._volume}: {end.error or 'it has ended already'}")
            if not living:
                raise FailedPrecondition(f"{self._volume}: what packs and unpacks it was killed")
            if time.monotonic() > deadline:
                raise FailedPrecondition(f"{self._volume}: nothing for {_STALE_SECONDS:.0f} s")
            time.sleep(_LOOK_SECONDS)

    def _process_lives(self) -> bool:
        """Asked before its last words are looked for: it says them and then ends."""
        if not self._lock.exists():
            return False
        descriptor = self._take_lock()
        if descriptor is not None:
            os.close(descriptor)
        return descriptor is None

    def _take_lock_at_end(self) -> int | None:
        """The lock, now or when a run that was given up has ended; None: it has not."""
        deadline = time.monotonic() + _ENDING_SECONDS
        while True:
            descriptor = self._take_lock()
            if descriptor is not None or self.exists() or time.monotonic() > deadline:
                return descriptor
            time.sleep(_LOOK_SECONDS)

    def _take_lock(self) -> int | None:
        """Its descriptor; None: another has it."""
        while True:
            descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if not _lock(descriptor):
                os.close(descriptor)
                return None
            if _is(descriptor, self._lock):
                return descriptor
            os.close(descriptor)  # who had it has removed it meanwhile

    @property
    def _volume(self) -> str:
        return f"volume {self.directory.name}"

    def _piece(self, number: int) -> Path:
        return self.directory / f"{number:06d}"


class SpooledFile:
    """The pieces of a spool as one file that can be read, once."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._number = 0
        self._piece = memoryview(b"")
        self._at_end = False

    def read(self, size: int) -> bytes:
        """So many bytes; fewer only at the end."""
        taken = bytearray()
        while len(taken) < size and self._fill():
            part = self._piece[: size - len(taken)]
            self._piece = self._piece[len(part) :]
            taken += part
        return bytes(taken)

    def _fill(self) -> bool:
        """There is something left to take."""
        if not self._piece and not self._at_end:
            self._piece = memoryview(self._spool.take(self._number))
            self._number += 1
            self._at_end = not self._piece
        return bool(self._piece)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
