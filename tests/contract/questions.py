"""Asks a name server over UDP, from any thread; quicker than `dig`, a process a question."""

import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address
from types import TracebackType

A, AAAA, SRV = 1, 28, 33
PATIENCE = 5.0
_FIXED = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`code` 0 is NOERROR, 2 SERVFAIL, 3 NXDOMAIN; `addresses` are the values of A records."""

    code: int
    count: int
    addresses: tuple[str, ...] = ()


class Asker:
    """One socket to one name server."""

    def __init__(self, server: str, *, patience: float = PATIENCE) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.settimeout(patience)
        self._socket.connect((server, 53))
        self._number = 0

    def __enter__(self) -> "Asker":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def ask(self, name: str, kind: int = A) -> Answer:
        """Raises TimeoutError if there is no answer."""
        self._number = (self._number + 1) % 65536
        labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
        question = labels + b"\0" + struct.pack(">HH", kind, 1)
        self._socket.send(struct.pack(">HHHHHH", self._number, 256, 1, 0, 0, 0) + question)
        answer = self._socket.recv(65536)
        while answer[:2] != struct.pack(">H", self._number):
            answer = self._socket.recv(65536)
        flags, _, count = struct.unpack(">HHH", answer[2:8])
        return Answer(
            code=flags & 15,
            count=count,
            addresses=_addresses(answer, _FIXED + len(question), count),
        )


def _addresses(answer: bytes, at: int, count: int) -> tuple[str, ...]:
    """Sorted. An owner's name in an answer is a pointer, two bytes."""
    found = []
    for _ in range(count):
        kind, _, _, length = struct.unpack(">HHIH", answer[at + 2 : at + 12])
        value = answer[at + 12 : at + 12 + length]
        if kind == A:
            found.append(str(IPv4Address(value)))
        at += 12 + length
    return tuple(sorted(found))
