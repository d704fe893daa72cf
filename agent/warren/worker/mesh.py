"""Keeps this host's mesh as the assignment says, and makes and switches its keys when asked.

Looks at the interface several times a second: whoever runs wireguard-go may restart it, and then
address, routes and peers are gone with it. The driver is asked again every few seconds even when
nothing changed, because peers stop answering at one endpoint and are to be tried at another.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from warren.drivers.ports import Mesh, MeshConfig
from warren.model.assignments import Assignment
from warren.model.nodes import NodeMesh
from warren.worker.keeper import Keeper

log = logging.getLogger(__name__)

WATCH_SECONDS = 0.2
"""Between two looks at the interface; also between two at a peer that switches keys."""
_HURRY = 25
"""Looks after an interface came: its process may take a moment to be ready for it."""

Wish = tuple[MeshConfig, NodeMesh]
"""What the interface shall be, and this node's own place in the mesh."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshKeys:
    """Public halves of this host's keys."""

    public_key: str
    next_public_key: str = ""


class KeyNews:
    """Keys that the leader does not know of yet."""

    def __init__(self) -> None:
        self._keys: MeshKeys | None = None
        self._something = asyncio.Event()

    def put(self, keys: MeshKeys) -> None:
        """To be told."""
        self._keys = keys
        self._something.set()

    async def wait(self) -> MeshKeys:
        """The newest that were not told."""
        while self._keys is None:
            self._something.clear()
            await self._something.wait()
        keys, self._keys = self._keys, None
        return keys


def interface_index(name: str) -> int | None:
    """The kernel's number of an interface: another one after it was made anew."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return None


def config_of(assignment: Assignment) -> MeshConfig:
    """What the interface shall be."""
    spec = assignment.spec
    return MeshConfig(
        address=assignment.mesh.address,
        mesh_network=spec.mesh_network,
        task_network=spec.task_network,
        subnet=assignment.mesh.subnet,
        listen_port=spec.mesh_port,
        peers=assignment.peers,
        mtu=assignment.mtu,
        keepalive_s=assignment.mesh_keepalive // timedelta(seconds=1),
    )


class MeshUpkeep:
    """Applies the newest assignment to the mesh interface."""

    def __init__(
        self,
        mesh: Mesh,
        *,
        interface: str,
        made: Callable[[], None] = lambda: None,
        index_of: Callable[[str], int | None] = interface_index,
    ) -> None:
        """`made` is called when the interface was set up after it had been made anew."""
        self._mesh = mesh
        self._interface = interface
        self._made = made
        self._index_of = index_of
        self._index: int | None = None
        """Of the interface that was set up last."""
        self._keeper = Keeper("mesh", self._apply)
        self.news = KeyNews()

    def assign(self, assignment: Assignment) -> None:
        """This is how the mesh shall be."""
        self.want(config_of(assignment), assignment.mesh)

    def want(self, config: MeshConfig, own: NodeMesh) -> None:
        """The same, without a cluster."""
        if (config, own) != self._keeper.wish:
            self._keeper.want((config, own))

    async def keys(self) -> MeshKeys:
        """For the beginning of a session."""
        current = await self._mesh.public_key()
        own = self._keeper.wish[1] if self._keeper.wish is not None else None
        if own is None or not own.rotating or current != own.public_key:
            return MeshKeys(public_key=current)
        return MeshKeys(public_key=current, next_public_key=await self._mesh.next_public_key())

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keeper.run())
            group.create_task(self._watch())

    async def _watch(self) -> None:
        """Have the driver asked at once when that matters, not only every few seconds."""
        seen, hurry = self._index_of(self._interface), 0
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            index, wish = self._index_of(self._interface), self._keeper.wish
            if index != seen:
                seen, hurry = index, _HURRY
            if wish is None:
                continue
            is_new = index is not None and index != self._index
            if (is_new and hurry) or any(peer.switching for peer in wish[0].peers):
                hurry = max(0, hurry - 1)
                self._keeper.want(wish)

    async def bring(self) -> None:
        """Once, at once; raises what the driver raises. For who has no loop."""
        assert self._keeper.wish is not None, "something must be wanted"
        await self._apply(self._keeper.wish)

    async def _apply(self, wish: Wish) -> None:
        config, own = wish
        keys = await self._follow_rotation(own) if own.rotating else None
        await self._mesh.apply(config)
        known = MeshKeys(public_key=own.public_key, next_public_key=own.next_public_key)
        if keys is not None and keys != known:
            self.news.put(keys)
        index = self._index_of(self._interface)
        if index != self._index:
            self._index = index
            self._made()

    async def _follow_rotation(self, own: NodeMesh) -> MeshKeys:
        """The next step of this host's own rotation, as far as the cluster has come."""
        current = await self._mesh.public_key()
        if current != own.public_key:  # it has switched, and the cluster does not know yet
            return MeshKeys(public_key=current)
        following = await self._mesh.next_public_key()
        if not own.switching or following != own.next_public_key:
            return MeshKeys(public_key=current, next_public_key=following)
        await self._mesh.switch_key()
        log.info("mesh: using a new key from now on")
        return MeshKeys(public_key=following)
