"""`Watch`: the newest of a series of values, for many waiters.

Waiters are told that there is something newer, not each value: who was slow sees the newest state
and nothing in between, so no queue grows. Belongs to one event loop.
"""

import asyncio
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Watch(Generic[T]):
    """Holds the newest value and wakes those who wait for a newer one."""

    def __init__(self, value: T) -> None:
        self._value = value
        self._count = 0
        self._changed = asyncio.Event()

    @property
    def value(self) -> T:
        """The newest value."""
        return self._value

    @property
    def count(self) -> int:
        """How many values were set: pass it to `wait_newer` to miss nothing in between."""
        return self._count

    def set(self, value: T) -> None:
        """Make `value` the newest and wake everyone."""
        self._value = value
        self._count += 1
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait_newer(self, count: int) -> int:
        """Wait until more than `count` values were set; answers how many now."""
        while self._count <= count:
            await self._changed.wait()
        return self._count


async def wait_any_newer(*seen: tuple[Watch[Any], int], timeout: float | None = None) -> None:
    """Wait until one of the watches has more values than were seen of it, or for `timeout` s."""
    waits = [asyncio.create_task(watch.wait_newer(count)) for watch, count in seen]
    try:
        await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
