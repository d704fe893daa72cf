"""A WireGuard device of the kernel, by generic netlink.

The kernel splits its answer over several messages once there are about twenty peers, and may cut
one peer in two: everything is merged by public key. One peer is set per message.
"""

import os
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from ipaddress import ip_address, ip_network
from typing import Any, Protocol

from warren.drivers import mesh_endpoints
from warren.drivers.mesh_plan import Device, DevicePeer, PeerChange
from warren.drivers.netlink import Links
from warren.drivers.ports import PeerStatus
from warren.drivers.pyroute2_parts import NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkError
from warren.drivers.pyroute2_parts import wireguard as wire
from warren.model.errors import DriverError


class Socket(Protocol):
    """What we use of pyroute2's AsyncWireGuard."""

    @property
    def prid(self) -> int:
        """Number of the netlink family."""

    async def nlm_request(
        self, msg: wire.wgmsg, msg_type: int, msg_flags: int
    ) -> AsyncIterator[wire.wgmsg]:
        """Send a message; iterate over the answers."""


class KernelDevice:
    """DeviceDriver over netlink; the interface is made here if it does not exist."""

    def __init__(
        self,
        interface: str,
        *,
        links: Links | None = None,
        socket: Callable[[], AbstractAsyncContextManager[Socket]] = wire.AsyncWireGuard,
    ) -> None:
        self._interface = interface
        self._links = links or Links()
        self._socket = socket

    async def ensure(self) -> None:
        await self._links.ensure_wireguard(self._interface)

    async def read(self) -> Device:
        answers = await self._exchange([self._message(wire.WG_CMD_GET_DEVICE)], NLM_F_DUMP)
        return _device(answers)

    async def configure(self, private_key: str, listen_port: int) -> None:
        message = self._message(
            wire.WG_CMD_SET_DEVICE,
            ["WGDEVICE_A_PRIVATE_KEY", private_key],
            ["WGDEVICE_A_LISTEN_PORT", listen_port],
        )
        await self._exchange([message], NLM_F_ACK)

    async def change(self, changes: tuple[PeerChange, ...]) -> None:
        messages = (
            self._message(wire.WG_CMD_SET_DEVICE, ["WGDEVICE_A_PEERS", [_peer_attributes(change)]])
            for change in changes
        )
        await self._exchange(messages, NLM_F_ACK)

    def _message(self, command: int, *attributes: list[object]) -> wire.wgmsg:
        message = wire.wgmsg()
        message["cmd"] = command
        message["version"] = wire.WG_GENL_VERSION
        message["attrs"] = [["WGDEVICE_A_IFNAME", self._interface], *attributes]
        return message

    async def _exchange(self, messages: Iterable[wire.wgmsg], flags: int) -> list[wire.wgmsg]:
        answers = []
        try:
            async with self._socket() as socket:
                for message in messages:
                    request = partial(socket.nlm_request, msg_type=socket.prid)
                    answer = await request(message, msg_flags=NLM_F_REQUEST | flags)
                    answers.extend([part async for part in answer])
        except NetlinkError as error:
            raise DriverError(
                f"WireGuard refused {self._interface}: {os.strerror(error.code)}"
            ) from error
        return answers


def _peer_attributes(change: PeerChange) -> dict[str, Any]:
    attributes: list[list[object]] = [["WGPEER_A_PUBLIC_KEY", change.public_key]]
    flags = 0
    if change.remove:
        flags |= wire.WGPEER_F_REMOVE_ME
    if change.update_only:
        flags |= wire.WGPEER_F_UPDATE_ONLY
    if change.allowed_ips is not None:
        flags |= wire.WGPEER_F_REPLACE_ALLOWEDIPS
    attributes.append(["WGPEER_A_FLAGS", flags])
    if change.endpoint is not None:
        host, _, port = change.endpoint.rpartition(":")
        value = {"addr": host.strip("[]"), "port": int(port)}
        attributes.append(["WGPEER_A_ENDPOINT", value])
    if change.keepalive_s is not None:
        attributes.append(["WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL", change.keepalive_s])
    if change.allowed_ips is not None:
        networks = [_network_attributes(text) for text in change.allowed_ips]
        attributes.append(["WGPEER_A_ALLOWEDIPS", networks])
    return {"attrs": attributes}


def _network_attributes(text: str) -> dict[str, Any]:
    network = ip_network(text)
    family = wire.AF_INET if network.version == 4 else wire.AF_INET6
    return {
        "attrs": [
            ["WGALLOWEDIP_A_FAMILY", family],
            ["WGALLOWEDIP_A_IPADDR", network.network_address.packed],
            ["WGALLOWEDIP_A_CIDR_MASK", network.prefixlen],
        ]
    }


def _device(answers: list[wire.wgmsg]) -> Device:
    private_key, listen_port = "", 0
    peers: dict[str, DevicePeer] = {}
    for answer in answers:
        private_key = _text(answer.get_attr("WGDEVICE_A_PRIVATE_KEY")) or private_key
        listen_port = answer.get_attr("WGDEVICE_A_LISTEN_PORT") or listen_port
        for part in answer.get_attr("WGDEVICE_A_PEERS") or ():
            peer = _peer(part)
            key = peer.status.public_key
            peers[key] = _merged(peers[key], peer) if key in peers else peer
    return Device(private_key=private_key, listen_port=listen_port, peers=tuple(peers.values()))


def _peer(part: Any) -> DevicePeer:
    endpoint = part.get_attr("WGPEER_A_ENDPOINT")
    handshake = part.get_attr("WGPEER_A_LAST_HANDSHAKE_TIME")
    networks = (
        str(ip_network(network["addr"])) for network in part.get_attr("WGPEER_A_ALLOWEDIPS") or ()
    )
    return DevicePeer(
        status=PeerStatus(
            public_key=_text(part.get_attr("WGPEER_A_PUBLIC_KEY")),
            endpoint=_endpoint(endpoint) if endpoint else "",
            allowed_ips=tuple(sorted(networks)),
            latest_handshake=_time(handshake) if handshake else None,
            received_bytes=part.get_attr("WGPEER_A_RX_BYTES") or 0,
            sent_bytes=part.get_attr("WGPEER_A_TX_BYTES") or 0,
        ),
        keepalive_s=part.get_attr("WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL") or 0,
    )


def _merged(first: DevicePeer, second: DevicePeer) -> DevicePeer:
    """The second part of a peer that was cut repeats its key and goes on with its networks."""
    networks = {*first.status.allowed_ips, *second.status.allowed_ips}
    return replace(first, status=replace(first.status, allowed_ips=tuple(sorted(networks))))


def _endpoint(value: Any) -> str:
    return mesh_endpoints.join(str(ip_address(value["addr"])), int(value["port"]))


def _time(value: Any) -> datetime | None:
    """Zero is never."""
    if not value["tv_sec"]:
        return None
    return datetime.fromtimestamp(value["tv_sec"] + value["tv_nsec"] / 1e9, UTC)


def _text(value: bytes | str | None) -> str:
    return value.decode() if isinstance(value, bytes) else value or ""
