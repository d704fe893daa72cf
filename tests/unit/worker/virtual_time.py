"""An event loop whose clock jumps to the next timer as soon as nothing else is left to do.

Tests with it take no real time and cannot depend on the machine's speed. Nothing in them may wait
for a socket, a thread or a process.
"""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import ParamSpec

START = datetime(2026, 1, 1, tzinfo=UTC)
P = ParamSpec("P")


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Begins at 0."""

    def __init__(self) -> None:
        self.virtual_now = 0.0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return self.virtual_now


class _JumpingSelector(selectors.SelectSelector):
    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "every task waits for something that can never happen"
        self._loop.virtual_now += max(timeout, 0)
        return []


def now() -> datetime:
    """Wall clock of the running virtual loop."""
    return START + timedelta(seconds=asyncio.get_running_loop().time())


def in_virtual_time(test: Callable[P, Coroutine[None, None, None]]) -> Callable[P, None]:
    """Makes an ordinary test of an async one."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run
