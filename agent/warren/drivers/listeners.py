"""Which ports processes of this host hold, read from /proc.

A rule for a published port comes before every process that listens there, and would hide it: the
host's ssh, say. Looked at are sockets that others could reach by an address of the host: not those
on loopback, nor on an address where published ports do not answer, as name servers have.
"""

import asyncio
import contextlib
import socket
from collections.abc import Iterator, Mapping, Set
from pathlib import Path

from warren.model.services import Protocol

_LISTENING = {Protocol.TCP: "0A", Protocol.UDP: "07"}
_EVERYWHERE = {"00000000", "0" * 32}

Held = tuple[Protocol, int]


class Listeners:
    """Knows who holds a port; remembers processes by their sockets."""

    def __init__(self, root: Path = Path("/proc")) -> None:
        self._root = root
        self._owners: Mapping[str, str] = {}

    async def held(self, wanted: Set[Held], *, besides: str) -> dict[Held, str]:
        """Those of the ports `wanted` that a process holds, with its name: `sshd (pid 812)`.

        `besides` is an address that does not count.
        """
        sockets = _sockets(wanted, besides, self._root)
        inodes = set(sockets.values())
        if not inodes <= self._owners.keys():
            self._owners = await asyncio.to_thread(_owners, inodes, self._root)
        return {port: self._owners[inode] for port, inode in sockets.items()}


def _sockets(wanted: Set[Held], besides: str, root: Path) -> dict[Held, str]:
    """Inode of a socket that holds the port, for each."""
    found = {}
    ephemeral = _ephemeral(root)
    for protocol in {protocol for protocol, _ in wanted}:
        for file in (protocol.value, f"{protocol.value}6"):
            for address, port, inode in _listening(root / "net" / file, protocol):
                # Any program's question, to a name server say, comes from a port such as these.
                passing = protocol is Protocol.UDP and port in ephemeral
                if (protocol, port) in wanted and not passing and _counts(address, besides):
                    found[protocol, port] = inode
    return found


def _listening(table: Path, protocol: Protocol) -> Iterator[tuple[str, int, str]]:
    """Address, port and inode. The kernel lists sockets that listen before connections."""
    with contextlib.suppress(OSError), table.open(encoding="ascii") as lines:
        next(lines, None)
        for line in lines:
            columns = line.split()
            if columns[3] != _LISTENING[protocol]:
                if protocol is Protocol.TCP:
                    return
                continue
            address, _, port = columns[1].rpartition(":")
            yield address, int(port, 16), columns[9]


def _counts(address: str, besides: str) -> bool:
    """Whether packets to the host's IPv4 addresses, but for `besides`, arrive at this one."""
    if address in _EVERYWHERE:
        return True
    if len(address) == 32:
        return address.startswith("0" * 16 + "FFFF0000") and _counts(address[24:], besides)
    own = socket.inet_ntoa(bytes.fromhex(address)[::-1])
    return not own.startswith(("127.", "169.254.")) and own != besides


def _ephemeral(root: Path) -> range:
    """Ports that the kernel gives to sockets that asked for none in particular."""
    text = (root / "sys/net/ipv4/ip_local_port_range").read_text()
    low, high = map(int, text.split())
    return range(low, high + 1)


def _owners(inodes: Set[str], root: Path) -> Mapping[str, str]:
    """The process that has each socket open; WireGuard's, say, no process has."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[str, str] = {}
    for process in root.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                inode = wanted.get(str(descriptor.readlink()))
                if inode is not None and inode not in found:
                    name = (process / "comm").read_text().strip()
                    found[inode] = f"{name} (pid {process.name})"
    return {inode: found.get(inode, "the kernel") for inode in inodes}
