"""The WireGuard mesh interface of this host: device, address, routes.

Implements `ports.Mesh` on a kernel device (`wireguard_kernel.py`) or on wireguard-go
(`wireguard_userspace.py`). `apply` always reads before it writes, so it may be called at any time,
and repairs an interface that vanished with its process. Which peers there are is the cluster's
business; `mesh_plan.py` says what to change.
"""

import asyncio
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import IPv4Network
from pathlib import Path
from typing import Protocol

from warren.drivers import mesh_key, mesh_plan
from warren.drivers.netlink import InterfaceConfig, Links, RouteConfig
from warren.drivers.ports import MeshConfig, PeerStatus
from warren.drivers.wireguard_kernel import KernelDevice
from warren.drivers.wireguard_userspace import UserspaceDevice
from warren.model.errors import DriverError

_OVERHEAD = 80
"""Outer IPv6 40, UDP 8, WireGuard 32: the worst case."""
_MTU_MIN, _MTU_MAX = 1280, 1420


class DeviceDriver(Protocol):
    """A WireGuard device, without addresses and routes. Raises DriverError."""

    async def ensure(self) -> None:
        """Make the interface, where that is ours to do."""

    async def read(self) -> mesh_plan.Device:
        """All that it knows."""

    async def configure(self, private_key: str, listen_port: int) -> None:
        """Set both; peers stay."""

    async def change(self, changes: tuple[mesh_plan.PeerChange, ...]) -> None:
        """Apply changes of peers, in order. May stop in the middle: then read and plan again."""


class WireGuard:
    """Mesh over one interface."""

    def __init__(
        self,
        interface: str,
        *,
        userspace: bool,
        key_path: Path,
        underlay_address: str,
        device: DeviceDriver | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`underlay_address` is this node's own: its interface carries the mesh's packets."""
        self._interface = interface
        kind = UserspaceDevice if userspace else KernelDevice
        self._device: DeviceDriver = device or kind(interface)
        self._links = Links()
        self._key_path = key_path
        self._underlay_address = underlay_address
        self._now = now
        self._lock = asyncio.Lock()
        self._public_keys: dict[str, str] = {}
        """By private key: each is derived once."""
        self._memory = mesh_plan.Memory()

    async def public_key(self) -> str:
        return await self._public_key_in(self._key_path)

    async def next_public_key(self) -> str:
        return await self._public_key_in(mesh_key.next_path(self._key_path))

    async def switch_key(self) -> None:
        mesh_key.switch(self._key_path)

    async def mtu(self) -> int:
        return mesh_mtu(await self._links.mtu_of_address(self._underlay_address))

    async def apply(self, config: MeshConfig) -> None:
        async with self._lock:
            private_key = mesh_key.load_or_create(self._key_path)
            await self._device.ensure()
            device = await self._device.read()
            if (device.private_key, device.listen_port) != (private_key, config.listen_port):
                await self._device.configure(private_key, config.listen_port)
            plan = mesh_plan.plan(config, device.peers, self._memory, self._now())
            self._memory = plan.memory
            if plan.changes:
                await self._device.change(plan.changes)
            mtu = config.mtu or await self.mtu()
            await self._links.configure(self._interface_config(config, mtu))
        if plan.refusals:
            raise DriverError("; ".join(plan.refusals))

    async def peers(self) -> tuple[PeerStatus, ...]:
        device = await self._device.read()
        return tuple(peer.status for peer in device.peers)

    async def close(self) -> None:
        """Sockets live for one call only; the interface stays."""

    async def _public_key_in(self, path: Path) -> str:
        text = await asyncio.to_thread(mesh_key.load_or_create, path)
        if text not in self._public_keys:
            self._public_keys[text] = await self._derive_public_key(path)
        return self._public_keys[text]

    async def _derive_public_key(self, path: Path) -> str:
        """In a process of its own: see `mesh_key.py`."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", mesh_key.__name__, str(path)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        if process.returncode != 0:
            raise DriverError(errors.decode().strip().rpartition("\n")[2])
        return output.decode().strip()

    def _interface_config(self, config: MeshConfig, mtu: int) -> InterfaceConfig:
        networks = [config.mesh_network, *filter(None, [config.task_network])]
        wide = [IPv4Network(network) for network in networks]
        for peer in config.peers:
            if peer.subnet and not any(IPv4Network(peer.subnet).subnet_of(each) for each in wide):
                networks.append(peer.subnet)
        is_for_tasks = bool(config.task_network and config.subnet)
        return InterfaceConfig(
            name=self._interface,
            mtu=mtu,
            address=f"{config.address}/32",
            routes=tuple(RouteConfig(network=text, source=config.address) for text in networks),
            unreachable=(config.subnet,) if is_for_tasks else (),
        )


def mesh_mtu(underlay_mtu: int) -> int:
    """What fits into the underlay's packets, within what every path is expected to carry."""
    return max(_MTU_MIN, min(_MTU_MAX, underlay_mtu - _OVERHEAD))
