"""Changes of the rules of services, as the kernels of several hosts of this machine tell them."""

import select
import socket
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from tests.contract import namespaces

PATIENCE = 10.0

_NETFILTER, _NFTABLES_GROUP = 12, 7
_NEW_GENERATION = (10 << 8) | 15
"""Type of the message by which a kernel ends the telling of a change: NFT_MSG_NEWGEN."""


class Kernel:
    """Hears of every change of the rules in one host's kernel."""

    def __init__(self, name: str, namespace: str | Path) -> None:
        with namespaces.entered(namespace):
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER)
        self._socket.bind((0, 1 << (_NFTABLES_GROUP - 1)))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 * 2**20)
        self.name = name

    def fileno(self) -> int:
        return self._socket.fileno()

    def forget(self) -> None:
        """What has been told until now is of no interest."""
        self._socket.setblocking(False)
        try:
            while True:
                self._socket.recv(2**16)
        except (BlockingIOError, OSError):
            self._socket.setblocking(True)

    def has_changed(self) -> bool:
        """Whether what it tells now ends a change."""
        data = self._socket.recv(2**16)
        while len(data) >= 16:
            length = int.from_bytes(data[:4], sys.byteorder)
            if int.from_bytes(data[4:6], sys.byteorder) == _NEW_GENERATION:
                return True
            data = data[(length + 3) & ~3 :]
        return False

    def close(self) -> None:
        self._socket.close()


def changed(kernels: Iterable[Kernel], what: str) -> tuple[float, ...]:
    """Wait until each has told of a change: when, by the clock `time.perf_counter`."""
    waiting, times = list(kernels), []
    while waiting:
        ready, _, _ = select.select(waiting, [], [], PATIENCE)
        assert ready, f"{', '.join(k.name for k in waiting)} did not hear of {what}"
        for kernel in ready:
            if kernel.has_changed():
                times.append(time.perf_counter())
                waiting.remove(kernel)
    return tuple(times)
