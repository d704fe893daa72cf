"""Work beside the Raft thread: writing a snapshot, in a thread of its own.

Never a forked process: a fork of a process with threads may hang for ever, and one that outlives
its parent renames an old snapshot over a newer state.
"""

import threading
import time
from collections.abc import Callable, Iterator

from warren.store.raft.snapshot_files import Meta

PAUSE = 0.001
"""Seconds after each piece: the Raft thread gets the interpreter at once, not after its 5 ms."""


def gently(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same pieces, leaving room for the Raft thread between them."""
    for piece in pieces:
        yield piece
        time.sleep(PAUSE)


class ThreadJob:
    """Implements `compaction.Job`."""

    def __init__(self, work: Callable[[], Meta]) -> None:
        """Start it."""
        self._work = work
        self._made: Meta | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="raft-snapshot", daemon=True)
        self._thread.start()

    def is_done(self) -> bool:
        return not self._thread.is_alive()

    def result(self) -> Meta:
        if self._failure is not None:
            raise self._failure
        assert self._made is not None
        return self._made

    def _run(self) -> None:
        try:
            self._made = self._work()
        except BaseException as error:  # noqa: BLE001 - raised again by `result`, in the Raft thread
            self._failure = error
