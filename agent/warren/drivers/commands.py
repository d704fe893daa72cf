"""Running a program of the host and hearing what it says."""

import asyncio
from collections.abc import Sequence

from warren.model.errors import DriverError

_TIMEOUT = 30.0


async def run(command: Sequence[str], text: str = "") -> tuple[int, str, str]:
    """Exit code, what it printed, and the first line of its complaints. DriverError if it is not
    installed, or does not end in time."""
    name = command[0]
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except FileNotFoundError as error:
        raise DriverError(f"{name} is not installed on this node") from error
    try:
        async with asyncio.timeout(_TIMEOUT):
            printed, errors = await process.communicate(text.encode())
    except BaseException as error:
        if process.returncode is None:
            process.kill()
        await process.wait()
        if isinstance(error, TimeoutError):
            raise DriverError(f"{name} did not end within {_TIMEOUT:.0f} s") from error
        raise
    assert process.returncode is not None, "communicate waits for the end"
    complaint = next(iter(errors.decode(errors="replace").splitlines()), "no reason given")
    return process.returncode, printed.decode(errors="replace"), complaint
