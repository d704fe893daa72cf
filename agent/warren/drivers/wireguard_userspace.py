"""A wireguard-go device, by its configuration protocol on /var/run/wireguard/<interface>.sock.

The process is not ours: warren-wireguard.service runs it, so that the mesh outlives the worker.
The protocol's `set` is not atomic and its answers contain the private key: errors never quote them.
"""

import asyncio
import base64
import errno
import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path

from warren.drivers.mesh_plan import Device, DevicePeer, PeerChange
from warren.drivers.ports import PeerStatus
from warren.model.errors import DriverError

_SOCKETS = Path("/var/run/wireguard")
_TIMEOUT = 10.0


class UserspaceDevice:
    """DeviceDriver over the socket of a running wireguard-go."""

    def __init__(self, interface: str, *, sockets: Path = _SOCKETS) -> None:
        self._socket = sockets / f"{interface}.sock"

    async def ensure(self) -> None:
        """The service's to do; `read` says so when it has not."""

    async def read(self) -> Device:
        return _device(await self._request("get=1\n\n"))

    async def configure(self, private_key: str, listen_port: int) -> None:
        lines = (f"private_key={_hex(private_key)}", f"listen_port={listen_port}")
        await self._set(lines)

    async def change(self, changes: tuple[PeerChange, ...]) -> None:
        await self._set(line for change in changes for line in _lines(change))

    async def _set(self, lines: Iterable[str]) -> None:
        await self._request("\n".join(("set=1", *lines)) + "\n\n")

    async def _request(self, text: str) -> list[tuple[str, str]]:
        """Key and value of each line of the answer, without its `errno`."""
        try:
            async with asyncio.timeout(_TIMEOUT):
                answer = await self._exchange(text)
        except (OSError, asyncio.IncompleteReadError) as error:  # TimeoutError is an OSError
            raise DriverError(
                f"wireguard-go does not answer on {self._socket}: is warren-wireguard running?"
            ) from error
        pairs = [(key, value) for key, _, value in (line.partition("=") for line in answer)]
        code = abs(int(dict(pairs)["errno"]))
        if code:
            name = errno.errorcode.get(code, str(code))
            raise DriverError(f"wireguard-go refused the change: {os.strerror(code)} ({name})")
        return [pair for pair in pairs if pair[0] != "errno"]

    async def _exchange(self, text: str) -> list[str]:
        reader, writer = await asyncio.open_unix_connection(self._socket)
        try:
            writer.write(text.encode())
            await writer.drain()
            lines: list[str] = []
            while not lines or not lines[-1].startswith("errno="):
                lines.append((await reader.readuntil(b"\n")).decode().rstrip("\n"))
            return lines
        finally:
            writer.close()


def _lines(change: PeerChange) -> Iterator[str]:
    yield f"public_key={_hex(change.public_key)}"
    if change.remove:
        yield "remove=true"
        return
    if change.update_only:
        yield "update_only=true"
    if change.endpoint is not None:
        yield f"endpoint={change.endpoint}"
    if change.keepalive_s is not None:
        yield f"persistent_keepalive_interval={change.keepalive_s}"
    if change.allowed_ips is not None:
        yield "replace_allowed_ips=true"
        yield from (f"allowed_ip={network}" for network in change.allowed_ips)


def _device(pairs: list[tuple[str, str]]) -> Device:
    """Lines before the first `public_key` are the device's, those after it its peers'."""
    sections: list[list[tuple[str, str]]] = [[]]
    for key, value in pairs:
        if key == "public_key":
            sections.append([])
        sections[-1].append((key, value))
    own = dict(sections[0])
    return Device(
        private_key=_base64(own["private_key"]) if "private_key" in own else "",
        listen_port=int(own.get("listen_port", "0")),
        peers=tuple(_peer(section) for section in sections[1:]),
    )


def _peer(section: list[tuple[str, str]]) -> DevicePeer:
    values = dict(section)
    seconds = int(values.get("last_handshake_time_sec", "0"))
    nanoseconds = int(values.get("last_handshake_time_nsec", "0"))
    networks = (str(ip_network(value)) for key, value in section if key == "allowed_ip")
    return DevicePeer(
        status=PeerStatus(
            public_key=_base64(values["public_key"]),
            endpoint=values.get("endpoint", ""),
            allowed_ips=tuple(sorted(networks)),
            latest_handshake=_time(seconds, nanoseconds),
            received_bytes=int(values.get("rx_bytes", "0")),
            sent_bytes=int(values.get("tx_bytes", "0")),
        ),
        keepalive_s=int(values.get("persistent_keepalive_interval", "0")),
    )


def _time(seconds: int, nanoseconds: int) -> datetime | None:
    """Zero is never."""
    return datetime.fromtimestamp(seconds + nanoseconds / 1e9, UTC) if seconds else None


def _hex(key: str) -> str:
    return base64.b64decode(key).hex()


def _base64(key: str) -> str:
    return base64.b64encode(bytes.fromhex(key)).decode()
