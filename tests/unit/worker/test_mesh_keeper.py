"""The mesh loop on a fake driver, in virtual time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

from warren.drivers.ports import MeshConfig
from warren.model.assignments import Assignment, Peer
from warren.model.clusters import ClusterSpec
from warren.model.errors import DriverError
from warren.model.nodes import NodeMesh
from warren.testing.fake_mesh import FakeMesh
from warren.worker.mesh import MeshKeys, MeshUpkeep

from tests.unit.worker.virtual_time import in_virtual_time

PEER = Peer(
    node_id="node-2",
    name="w2",
    public_key="other",
    endpoint="10.77.0.22:51820",
    address="10.86.0.5",
    subnet="10.88.2.0/24",
)
ASSIGNMENT = Assignment(
    index=1,
    peers=(PEER,),
    spec=ClusterSpec(),
    mesh=NodeMesh(
        public_key="key", endpoint="10.77.0.21:51820", address="10.86.0.4", subnet="10.88.1.0/24"
    ),
    mtu=1380,
    mesh_keepalive=timedelta(seconds=25),
)


class Host:
    """A fake device, and a mesh loop over it."""

    def __init__(self) -> None:
        self.mesh = FakeMesh(public_key=ASSIGNMENT.mesh.public_key)
        self.index: int | None = 7
        self.made = 0
        self.keeper = MeshUpkeep(
            self.mesh, interface="warren0", made=self._count, index_of=lambda _: self.index
        )

    def _count(self) -> None:
        self.made += 1

    def assign(self, **mesh: Any) -> Assignment:
        """With this node's own place in the mesh so."""
        assignment = replace(ASSIGNMENT, mesh=replace(ASSIGNMENT.mesh, **mesh))
        self.keeper.assign(assignment)
        return assignment


@asynccontextmanager
async def a_host() -> AsyncIterator[Host]:
    host = Host()
    async with asyncio.TaskGroup() as group:
        loop = group.create_task(host.keeper.run())
        yield host
        loop.cancel()


@in_virtual_time
async def test_an_assignment_is_applied_at_once() -> None:
    async with a_host() as host:
        host.assign()
        await asyncio.sleep(0.001)

        assert host.mesh.configs == [
            MeshConfig(
                address="10.86.0.4",
                mesh_network="10.86.0.0/16",
                task_network="10.88.0.0/14",
                subnet="10.88.1.0/24",
                listen_port=51820,
                peers=(PEER,),
                mtu=1380,
                keepalive_s=25,
            )
        ]
        assert host.made == 1


@in_virtual_time
async def test_an_interface_that_was_made_anew_is_set_up_within_a_moment() -> None:
    async with a_host() as host:
        host.assign()
        await asyncio.sleep(1.01)
        before = (len(host.mesh.configs), host.made)
        host.index = None
        host.mesh.failures.append(DriverError("no device"))
        await asyncio.sleep(0.5)
        host.index = 8
        await asyncio.sleep(0.41)  # its process was not ready at the first look

        assert before == (1, 1)
        assert (len(host.mesh.configs), host.made) == (2, 2)


@in_virtual_time
async def test_the_device_is_looked_after_every_five_seconds() -> None:
    async with a_host() as host:
        host.assign()
        await asyncio.sleep(20.1)

        assert len(host.mesh.configs) == 5


@in_virtual_time
async def test_what_fails_is_tried_again_every_second() -> None:
    async with a_host() as host:
        host.mesh.failures.extend([DriverError("no device")] * 3)
        host.assign()
        await asyncio.sleep(2.9)
        early = len(host.mesh.configs)
        await asyncio.sleep(0.2)

        assert (early, len(host.mesh.configs)) == (0, 1)


@in_virtual_time
async def test_a_peer_that_switches_keys_is_looked_at_all_the_time() -> None:
    async with a_host() as host:
        switching = replace(PEER, next_public_key="next", switching=True)
        host.keeper.assign(replace(ASSIGNMENT, peers=(switching,)))
        await asyncio.sleep(2.01)

        assert len(host.mesh.configs) == 11


@in_virtual_time
async def test_a_rotation_makes_a_key_offers_it_and_switches_when_it_may() -> None:
    async with a_host() as host:
        own = host.assign(rotating=True).mesh
        offered = await host.keeper.news.wait()
        host.assign(rotating=True, next_public_key=offered.next_public_key)
        await asyncio.sleep(0.01)
        before = await host.mesh.public_key()
        host.assign(rotating=True, next_public_key=offered.next_public_key, switching=True)
        switched = await host.keeper.news.wait()
        host.assign(public_key=switched.public_key)
        await asyncio.sleep(10)

        assert before == own.public_key
        assert switched == MeshKeys(public_key=offered.next_public_key)
        assert await host.mesh.public_key() == offered.next_public_key
        assert await host.keeper.keys() == switched


@in_virtual_time
async def test_a_host_that_switched_before_its_restart_says_so() -> None:
    async with a_host() as host:
        host.mesh.key = "next"

        host.assign(rotating=True, next_public_key="next", switching=True)

        assert await host.keeper.news.wait() == MeshKeys(public_key="next")


@in_virtual_time
async def test_a_host_that_lost_its_next_key_offers_another() -> None:
    async with a_host() as host:
        host.assign(rotating=True, next_public_key="lost", switching=True)

        keys = await host.keeper.news.wait()

        assert keys.public_key == ASSIGNMENT.mesh.public_key
        assert keys.next_public_key == host.mesh.next_key
