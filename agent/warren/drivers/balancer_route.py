"""The way of the host's own connections to virtual addresses.

The kernel routes a packet before it is translated, so there must be a route to the network of
virtual addresses, and the route decides which address the connection comes from: this host's own
on the task network, which answers find from everywhere in the mesh. That address is on `lo`, too:
on the interfaces of tasks it comes and goes with them.
"""

import errno
import os
import socket
from ipaddress import IPv4Network
from typing import Any

from warren.drivers.ports import BalancerConfig
from warren.drivers.pyroute2_parts import AsyncIPRoute, NetlinkError
from warren.model.errors import DriverError

PROTOCOL = 88
"""Marks our route; the mesh's have 87."""
LABEL = "lo:warren"
"""Marks our address."""
_MAIN_TABLE = 254
_LINK, _HOST = 253, 254


async def ensure_route(config: BalancerConfig) -> None:
    """The address and the route are there, and those of an earlier configuration are not."""
    async with AsyncIPRoute() as ipr:
        (loopback,) = await ipr.link_lookup(ifname="lo")
        try:
            # Addresses go last: the kernel takes routes away with the address that they name.
            await _ensure_address(ipr, loopback, config.gateway)
            await _ensure_route(ipr, loopback, config)
            await _remove_addresses(ipr, loopback, besides=config.gateway)
        except NetlinkError as error:
            raise DriverError(
                f"cannot set the route to {config.vip_network}: {os.strerror(error.code)}"
            ) from error


async def local_addresses() -> frozenset[str]:
    """Every IPv4 address of this host."""
    async with AsyncIPRoute() as ipr:
        dumped = [a async for a in await ipr.addr("dump", family=socket.AF_INET)]
        return frozenset(str(a.get_attr("IFA_LOCAL")) for a in dumped)


async def _ensure_address(ipr: AsyncIPRoute, loopback: int, gateway: str) -> None:
    if gateway and gateway not in await _addresses(ipr, loopback):
        try:
            await ipr.addr(
                "add", index=loopback, address=gateway, prefixlen=32, scope=_HOST, label=LABEL
            )
        except NetlinkError as error:
            if error.code != errno.EEXIST:  # put there by somebody else, which will do
                raise


async def _remove_addresses(ipr: AsyncIPRoute, loopback: int, *, besides: str) -> None:
    for address in await _addresses(ipr, loopback) - {besides}:
        await ipr.addr("del", index=loopback, address=address, prefixlen=32)


async def _addresses(ipr: AsyncIPRoute, loopback: int) -> set[str]:
    """Ours."""
    dumped = [a async for a in await ipr.addr("dump", family=socket.AF_INET, index=loopback)]
    return {str(a.get_attr("IFA_LOCAL")) for a in dumped if a.get_attr("IFA_LABEL") == LABEL}


async def _ensure_route(ipr: AsyncIPRoute, loopback: int, config: BalancerConfig) -> None:
    wanted = (str(IPv4Network(config.vip_network)), config.gateway)
    dumped = [r async for r in await ipr.route("dump", family=socket.AF_INET)]
    present = {_route(r) for r in dumped if r["proto"] == PROTOCOL}
    ours = {"oif": loopback, "proto": PROTOCOL, "scope": _LINK, "table": _MAIN_TABLE}
    if wanted not in present:
        source = {"prefsrc": config.gateway} if config.gateway else {}
        await ipr.route("replace", dst=wanted[0], **ours, **source)
    for network in {network for network, _ in present} - {wanted[0]}:
        await ipr.route("del", dst=network, **ours)


def _route(message: Any) -> tuple[str, str]:
    network = f"{message.get_attr('RTA_DST')}/{message['dst_len']}"
    return network, message.get_attr("RTA_PREFSRC") or ""
