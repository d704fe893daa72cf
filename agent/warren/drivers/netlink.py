"""Interfaces, addresses and routes of this host, by rtnetlink. Reads first, changes what differs.

Used by `wireguard.py`. Our routes carry a protocol number of their own, so that those which are
no longer wanted are found again, and nobody else's are touched.
"""

import errno
import os
import socket
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

from warren.drivers.pyroute2_parts import AsyncIPRoute, NetlinkError, rt_type
from warren.model.errors import DriverError

_OUR_ROUTES = 87
"""In the kernel's range for routing daemons (5-255); known to no other program we found."""
_MAIN_TABLE = 254
_UP = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteConfig:
    """A network reached through the interface, with the address that our packets to it carry."""

    network: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfaceConfig:
    """What an interface should be."""

    name: str
    mtu: int
    address: str
    """With prefix length; others on the interface are removed."""
    routes: tuple[RouteConfig, ...]
    unreachable: tuple[str, ...]
    """Networks that must not leave by a wider route; answered at once with an ICMP error."""


@dataclass(frozen=True, slots=True)
class _Route:
    network: str
    source: str
    link: int
    """0 for unreachable ones."""


class Links:
    """Opens a netlink socket per call: calls are rare, and a socket can go stale."""

    async def mtu_of_address(self, address: str) -> int:
        """MTU of the interface that has `address`; DriverError when none has."""
        async with AsyncIPRoute() as ipr:
            found = [a async for a in await ipr.addr("dump", family=socket.AF_INET)]
            index = next((a["index"] for a in found if _local(a) == address), None)
            if index is None:
                raise DriverError(f"no interface of this node has the address {address}")
            (link,) = await ipr.link("get", index=index)
            return int(link.get_attr("IFLA_MTU"))

    async def ensure_wireguard(self, name: str) -> None:
        """Make a WireGuard interface of that name, unless it exists."""
        async with AsyncIPRoute() as ipr:
            if await ipr.link_lookup(ifname=name):
                return
            try:
                await ipr.link("add", ifname=name, kind="wireguard")
            except NetlinkError as error:
                if error.code == errno.EEXIST:
                    return
                if error.code == errno.EOPNOTSUPP:
                    raise DriverError(
                        'the kernel of this node has no WireGuard: set mesh_driver = "userspace"'
                    ) from error
                raise DriverError(
                    f"cannot make interface {name}: {os.strerror(error.code)}"
                ) from error

    async def configure(self, config: InterfaceConfig) -> None:
        """MTU, state, address and routes."""
        async with AsyncIPRoute() as ipr:
            index = next(iter(await ipr.link_lookup(ifname=config.name)), None)
            if index is None:
                raise DriverError(f"interface {config.name} does not exist")
            try:
                await _configure_address(ipr, index, config.address)
                await _configure_link(ipr, index, config.mtu)
                await _configure_routes(ipr, index, config)
            except NetlinkError as error:
                raise DriverError(
                    f"cannot configure {config.name}: {os.strerror(error.code)}"
                ) from error


async def _configure_link(ipr: AsyncIPRoute, index: int, mtu: int) -> None:
    (link,) = await ipr.link("get", index=index)
    if link.get_attr("IFLA_MTU") != mtu:
        await ipr.link("set", index=index, mtu=mtu)
    if not link["flags"] & _UP:
        await ipr.link("set", index=index, state="up")


async def _configure_address(ipr: AsyncIPRoute, index: int, address: str) -> None:
    dumped = [a async for a in await ipr.addr("dump", family=socket.AF_INET, index=index)]
    present = {f"{_local(a)}/{a['prefixlen']}" for a in dumped if a["index"] == index}
    for text in present - {address}:
        await _address(ipr, "del", index, text)
    if address not in present:
        await _address(ipr, "add", index, address)


async def _address(ipr: AsyncIPRoute, command: str, index: int, text: str) -> None:
    host, _, prefix = text.partition("/")
    await ipr.addr(command, index=index, address=host, prefixlen=int(prefix))


async def _configure_routes(ipr: AsyncIPRoute, index: int, config: InterfaceConfig) -> None:
    wanted = {_Route(_normal(r.network), r.source, index) for r in config.routes}
    wanted |= {_Route(_normal(network), "", 0) for network in config.unreachable}
    dumped = [r async for r in await ipr.route("dump", family=socket.AF_INET)]
    present = {_route(r) for r in dumped if r["proto"] == _OUR_ROUTES}
    for route in present - wanted:
        await _change_route(ipr, "del", route)
    for route in wanted - present:
        await _change_route(ipr, "replace", route)


async def _change_route(ipr: AsyncIPRoute, command: str, route: _Route) -> None:
    values: dict[str, object] = {"dst": route.network, "proto": _OUR_ROUTES}
    if route.link:
        # A tunnel has no link-layer neighbours: the whole network is on the other side.
        values |= {"oif": route.link, "prefsrc": route.source, "scope": 253}
    else:
        values |= {"type": "unreachable"}
    await ipr.route(command, table=_MAIN_TABLE, **values)


def _route(message: Any) -> _Route:
    network = f"{message.get_attr('RTA_DST')}/{message['dst_len']}"
    if message["type"] == rt_type["unreachable"]:
        return _Route(network, "", 0)
    source = message.get_attr("RTA_PREFSRC") or ""
    return _Route(network, source, message.get_attr("RTA_OIF") or 0)


def _local(message: Any) -> str | None:
    """Of a tunnel, IFA_ADDRESS may be the other end."""
    address: str | None = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
    return address


def _normal(network: str) -> str:
    return str(IPv4Network(network))
