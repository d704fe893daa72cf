"""Signals to processes by pidfd: never to another process that got the same number since."""

import asyncio
import os
import signal as signals
from datetime import timedelta

from warren.model.errors import DriverError


def signal_number(name: str) -> signals.Signals:
    """`SIGUSR1`, `USR1` or `10`."""
    try:
        if name.isdecimal():
            return signals.Signals(int(name))
        return signals.Signals[name if name.startswith("SIG") else f"SIG{name}"]
    except (KeyError, ValueError):
        raise DriverError(f"{name} is not a signal") from None


async def signal_and_wait(pid: int, signal: signals.Signals, grace: timedelta) -> None:
    """Signal the process, and wait until it is gone, but no longer than `grace`."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signals.pidfd_send_signal(descriptor, signal)
        await _wait_readable(descriptor, grace)
    except ProcessLookupError:
        return
    finally:
        os.close(descriptor)


async def _wait_readable(descriptor: int, timeout: timedelta) -> None:
    """A pidfd becomes readable when its process has ended."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        async with asyncio.timeout(timeout.total_seconds()):
            await ended.wait()
    except TimeoutError:
        return
    finally:
        loop.remove_reader(descriptor)
