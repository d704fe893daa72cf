"""Brings this host's network to what the assignment says: the mesh and the task network.

How traffic reaches services in it is `traffic.py`'s.
"""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from warren.drivers.ports import Mesh, MeshConfig, TaskNetwork
from warren.model.assignments import Assignment
from warren.worker.keeper import Keeper


@dataclass(frozen=True, slots=True, kw_only=True)
class Drivers:
    """What carries the network out."""

    mesh: Mesh
    task_network: TaskNetwork


class Network:
    """Applies the newest assignment."""

    def __init__(self, drivers: Drivers) -> None:
        self._drivers = drivers
        self._mesh = Keeper("mesh", drivers.mesh.apply)
        self._tasks = Keeper("task network", self._configure)
        self.ready = asyncio.Event()
        """Set once tasks can have addresses."""

    def assign(self, assignment: Assignment) -> None:
        """This is how the network should be."""
        spec = assignment.spec
        mesh = MeshConfig(
            address=assignment.mesh.address,
            mesh_network=spec.mesh_network,
            task_network=spec.task_network,
            subnet=assignment.mesh.subnet,
            listen_port=spec.mesh_port,
            peers=assignment.peers,
            mtu=assignment.mtu,
            keepalive_s=assignment.mesh_keepalive // timedelta(seconds=1),
        )
        if mesh != self._mesh.wish:
            self._mesh.want(mesh)
        tasks = (assignment.mesh.subnet, assignment.mtu)
        if tasks != self._tasks.wish:
            self._tasks.want(tasks)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._mesh.run())
            group.create_task(self._tasks.run())

    async def _configure(self, wish: tuple[str, int]) -> None:
        subnet, mtu = wish
        await self._drivers.task_network.configure(subnet, mtu or await self._drivers.mesh.mtu())
        self.ready.set()
