"""Keeps Python's collector of cyclic garbage from stopping the daemon for longer than a heartbeat.

A full collection walks every object while all threads wait: with 100,000 objects in the state, most
of a second, in which a leader is taken for dead. But the state and the log are trees: none of their
objects is ever part of a cycle. So what has survived a collection that was long is set aside
(`gc.freeze`), and later ones walk only what came after it. What is set aside is still freed when
nothing refers to it; only a cycle that was alive then and dies later is never found, and a process
whose state does not grow sets nothing aside.
"""

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager

LONG = 0.01
"""Seconds."""
_THRESHOLDS = (700, 10, 3)
"""The last: full collections often enough, once things were set aside, to be short."""
_USUAL = gc.get_threshold()
_began_at = 0.0


def keep_short() -> None:
    """From now on, in this process."""
    if _after_collection not in gc.callbacks:
        gc.callbacks.append(_after_collection)
    gc.set_threshold(*_THRESHOLDS)


def work_as_usual() -> None:
    """Walk everything again, for a process that lives on without the state."""
    if _after_collection in gc.callbacks:
        gc.callbacks.remove(_after_collection)
    gc.set_threshold(*_USUAL)
    gc.unfreeze()


@contextmanager
def set_aside() -> Iterator[None]:
    """What is made within lives long: it is not walked, neither now nor later."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


def _after_collection(phase: str, info: dict[str, int]) -> None:
    global _began_at
    if phase == "start":
        _began_at = time.perf_counter()
    elif info["generation"] == 2 and time.perf_counter() - _began_at > LONG:
        gc.freeze()
