"""What the daemons and systemd have to say to each other. Without systemd, nothing is said."""

import asyncio
import os
import socket

from warren.drivers import commands
from warren.model.errors import DriverError

_ANSWER_SECONDS = 1.0


def notify(state: str) -> None:
    """`READY=1`, `STOPPING=1`, `STATUS=…`."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
        connection.sendto(state.encode(), address)


async def host_ends() -> bool:
    """The host is being shut down or restarted, or nobody says that it is not."""
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            _, printed, _ = await commands.run(("systemctl", "is-system-running"))
    except (TimeoutError, DriverError):
        return True
    return printed.strip() in ("", "stopping")
