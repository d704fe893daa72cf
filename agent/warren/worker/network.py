"""Brings this host's network to what the assignment says: the mesh and the task network.

How traffic reaches services in it is `traffic.py`'s.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from warren.drivers.ports import Mesh, TaskNetwork
from warren.model.assignments import Assignment
from warren.worker.keeper import Keeper
from warren.worker.mesh import MeshUpkeep


@dataclass(frozen=True, slots=True, kw_only=True)
class Drivers:
    """What carries the network out."""

    mesh: Mesh
    task_network: TaskNetwork


class Network:
    """Applies the newest assignment."""

    def __init__(
        self,
        drivers: Drivers,
        *,
        mesh_interface: str = "warren0",
        mesh_made: Callable[[], None] = lambda: None,
    ) -> None:
        """`mesh_made` is called when the mesh interface was set up anew."""
        self._drivers = drivers
        self.mesh = MeshUpkeep(drivers.mesh, interface=mesh_interface, made=mesh_made)
        self._tasks = Keeper("task network", self._configure)
        self.ready = asyncio.Event()
        """Set once tasks can have addresses."""

    def assign(self, assignment: Assignment) -> None:
        """This is how the network should be."""
        self.mesh.assign(assignment)
        tasks = (assignment.mesh.subnet, assignment.mtu)
        if tasks != self._tasks.wish:
            self._tasks.want(tasks)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.mesh.run())
            group.create_task(self._tasks.run())

    async def _configure(self, wish: tuple[str, int]) -> None:
        subnet, mtu = wish
        await self._drivers.task_network.configure(subnet, mtu or await self._drivers.mesh.mtu())
        self.ready.set()
