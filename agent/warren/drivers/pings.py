"""ICMP echo over IPv4: how long a packet of a given size takes to another host and back.

Packets must not be divided on their way (DF), so that a size which is answered is one that passes.
Used to measure the mesh; needs CAP_NET_RAW. One socket per target, connected, so that the kernel
sorts the answers.
"""

import asyncio
import os
import socket
import struct
import time
from contextlib import suppress
from datetime import timedelta

from warren.model.errors import DriverError

_ECHO_REQUEST, _ECHO_REPLY = 8, 0
_IP_MTU_DISCOVER, _PROBE = 10, 3
"""Set DF and send whatever the size, also beyond what the kernel believes of the path."""
_HEADERS = 28
"""IPv4 and ICMP: what a packet is larger than its content."""
_MARK = 8
"""Bytes of a packet's content that tell it from every other."""


class Pinger:
    """Packets to one address. Use `with`."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._number = 0
        self._id = int.from_bytes(os.urandom(2), "big")

    def __enter__(self) -> "Pinger":
        try:
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        except OSError as error:
            raise DriverError(f"cannot send pings: {error.strerror}") from error
        try:
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PROBE)
            self._socket.connect((self._address, 0))
        except OSError as error:
            self._socket.close()
            raise DriverError(f"cannot ping {self._address}: {error.strerror}") from error
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    async def ping(self, size: int, timeout: timedelta) -> timedelta | None:
        """The time there and back of a packet of `size` bytes as a whole; None: no answer."""
        self._number = (self._number + 1) & 0xFFFF
        mark = os.urandom(_MARK)
        content = mark.ljust(max(_MARK, size - _HEADERS), b"\0")
        begin = time.perf_counter()
        try:
            async with asyncio.timeout(timeout.total_seconds()):
                loop = asyncio.get_running_loop()
                await loop.sock_sendall(self._socket, _packet(self._id, self._number, content))
                while not _answers(await self._receive(loop), self._id, self._number, mark):
                    pass
        except (TimeoutError, OSError):  # too large for the interface, or nothing leads there
            return None
        return timedelta(seconds=time.perf_counter() - begin)

    async def _receive(self, loop: asyncio.AbstractEventLoop) -> bytes:
        """The kernel may hand over, as errors, what routers said about earlier packets."""
        for _ in range(3):
            with suppress(ConnectionError):
                return await loop.sock_recv(self._socket, 65535)
        return await loop.sock_recv(self._socket, 65535)


def _packet(identifier: int, number: int, content: bytes) -> bytes:
    head = struct.pack("!BBHHH", _ECHO_REQUEST, 0, 0, identifier, number)
    return (
        struct.pack("!BBHHH", _ECHO_REQUEST, 0, _checksum(head + content), identifier, number)
        + content
    )


def _answers(packet: bytes, identifier: int, number: int, mark: bytes) -> bool:
    """Raw sockets see every ICMP packet from the address, with its IP header."""
    if not packet:
        return False
    message = packet[(packet[0] & 15) * 4 :]
    if len(message) < 8 + _MARK:
        return False
    kind, _, _, answered, answered_number = struct.unpack_from("!BBHHH", message)
    return (kind, answered, answered_number, message[8 : 8 + _MARK]) == (
        _ECHO_REPLY,
        identifier,
        number,
        mark,
    )


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
