"""Brings this host's network to what the assignment says: mesh, task network, published ports.

Each part is applied when what it should be has changed, and again when it failed or when the mesh
interface is not the one it was applied to (its service restarted); ports are looked after at every
check. One part's trouble holds up no other.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path

from warren.drivers.ports import Mesh, MeshConfig, Publisher, TaskNetwork
from warren.model.assignments import Assignment, PublishedPort
from warren.model.errors import WarrenError

log = logging.getLogger(__name__)

CHECK_SECONDS = 5.0
RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Drivers:
    """What carries the network out."""

    mesh: Mesh
    task_network: TaskNetwork
    publisher: Publisher


def interface_index(name: str) -> int | None:
    """The kernel's number of an interface: another one after it was made anew."""
    try:
        return int(Path(f"/sys/class/net/{name}/ifindex").read_text())
    except (OSError, ValueError):
        return None


class Network:
    """Applies the newest assignment."""

    def __init__(
        self,
        drivers: Drivers,
        *,
        node_id: str,
        mesh_interface: str,
        index_of: Callable[[str], int | None] = interface_index,
    ) -> None:
        self._drivers = drivers
        self._node_id = node_id
        self._mesh_interface = mesh_interface
        self._index_of = index_of
        self._assignment: Assignment | None = None
        self._changed = asyncio.Event()
        self._applied: dict[str, object] = {}
        self._troubles: dict[str, str] = {}
        self._mesh_index: int | None = None
        self.ready = asyncio.Event()
        """Set once tasks can have addresses."""

    def assign(self, assignment: Assignment) -> None:
        """This is how the network should be."""
        self._assignment = assignment
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._changed.clear()
            if self._assignment is not None:
                await self._apply(self._assignment)
            pause = RETRY_SECONDS if self._troubles else CHECK_SECONDS
            try:
                async with asyncio.timeout(pause):
                    await self._changed.wait()
            except TimeoutError:
                # Another program may have flushed the rules; the driver looks for that.
                self._applied.pop("ports", None)

    async def _apply(self, assignment: Assignment) -> None:
        index = self._index_of(self._mesh_interface)
        if index != self._mesh_index:
            self._mesh_index = index
            self._applied.pop("mesh", None)
            self._applied.pop("ports", None)
        spec = assignment.spec
        mesh = MeshConfig(
            address=assignment.mesh.address,
            mesh_network=spec.mesh_network,
            task_network=spec.task_network,
            subnet=assignment.mesh.subnet,
            listen_port=spec.mesh_port,
            peers=assignment.peers,
        )
        subnet, ports, network = assignment.mesh.subnet, assignment.ports, spec.task_network
        async with asyncio.TaskGroup() as group:
            group.create_task(self._bring("mesh", mesh, self._apply_mesh(mesh)))
            group.create_task(self._bring("task network", subnet, self._configure(subnet)))
            publish = self._publish(ports, network)
            group.create_task(self._bring("ports", (ports, network), publish))

    async def _apply_mesh(self, config: MeshConfig) -> None:
        await self._drivers.mesh.apply(config)
        self._mesh_index = self._index_of(self._mesh_interface)

    async def _configure(self, subnet: str) -> None:
        await self._drivers.task_network.configure(subnet, await self._drivers.mesh.mtu())
        self.ready.set()

    async def _publish(self, ports: tuple[PublishedPort, ...], task_network: str) -> None:
        await self._drivers.publisher.apply(
            ports,
            task_network=task_network,
            mesh_interface=self._mesh_interface,
            node_id=self._node_id,
        )

    async def _bring(self, part: str, wanted: object, apply: Coroutine[None, None, None]) -> None:
        """Apply what is wanted of a part, unless it is so. Trouble is told once, not every try."""
        if self._applied.get(part) == wanted:
            apply.close()
            return
        try:
            await apply
        except WarrenError as error:
            self._note_trouble(part, str(error))
        except Exception as error:
            log.exception("a bug in the driver of the %s", part)
            self._note_trouble(part, f"internal error: {error}")
        else:
            self._applied[part] = wanted
            if self._troubles.pop(part, ""):
                log.info("%s: set up", part)

    def _note_trouble(self, part: str, trouble: str) -> None:
        if self._troubles.get(part) != trouble:
            log.warning("%s: cannot be set up, will be tried again: %s", part, trouble)
        self._troubles[part] = trouble
