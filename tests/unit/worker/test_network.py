"""The network loop on fake drivers, in virtual time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from warren.drivers.ports import MeshConfig
from warren.model.assignments import Peer
from warren.model.errors import DriverError
from warren.testing.fake_mesh import FakeMesh
from warren.testing.fake_network import FakeTaskNetwork
from warren.worker.network import Drivers, Network

from tests.unit.worker.virtual_time import in_virtual_time
from tests.unit.worker.worker_kit import an_assignment

PEER = Peer(
    node_id="node-2",
    name="w2",
    public_key="other",
    endpoint="10.77.0.22:51820",
    address="10.86.0.5",
    subnet="10.88.2.0/24",
)
ASSIGNMENT = replace(an_assignment(), peers=(PEER,))


class Host:
    """Fake drivers, and a network loop over them."""

    def __init__(self) -> None:
        self.mesh = FakeMesh()
        self.task_network = FakeTaskNetwork()
        self.network = Network(Drivers(mesh=self.mesh, task_network=self.task_network))


@asynccontextmanager
async def a_host() -> AsyncIterator[Host]:
    host = Host()
    async with asyncio.TaskGroup() as group:
        loop = group.create_task(host.network.run())
        yield host
        loop.cancel()


@in_virtual_time
async def test_an_assignment_is_applied_at_once() -> None:
    async with a_host() as host:
        host.network.assign(ASSIGNMENT)
        await host.network.ready.wait()

        assert asyncio.get_running_loop().time() < 0.001
        assert host.mesh.configs == [
            MeshConfig(
                address="10.86.0.4",
                mesh_network="10.86.0.0/16",
                task_network="10.88.0.0/14",
                subnet="10.88.1.0/24",
                listen_port=51820,
                peers=(PEER,),
                keepalive_s=0,
            )
        ]
        assert host.task_network.configured == [("10.88.1.0/24", 1420)]


@in_virtual_time
async def test_only_what_changed_is_applied_at_once() -> None:
    async with a_host() as host:
        host.network.assign(ASSIGNMENT)
        await asyncio.sleep(1)
        host.network.assign(replace(ASSIGNMENT, index=2))
        await asyncio.sleep(1)

        assert len(host.mesh.configs) == 1


@in_virtual_time
async def test_the_mtu_of_the_cluster_is_that_of_tasks() -> None:
    async with a_host() as host:
        host.network.assign(replace(ASSIGNMENT, mtu=1380))
        await host.network.ready.wait()

        assert host.task_network.configured == [("10.88.1.0/24", 1380)]


@in_virtual_time
async def test_a_part_that_fails_is_tried_again_and_holds_up_no_other() -> None:
    async with a_host() as host:
        host.mesh.failures.extend([DriverError("no device")] * 3)
        host.network.assign(ASSIGNMENT)
        await asyncio.sleep(0.5)
        early = (len(host.mesh.configs), host.network.ready.is_set())
        await asyncio.sleep(3)

        assert early == (0, True)
        assert len(host.mesh.configs) == 1


@in_virtual_time
async def test_the_mesh_is_looked_after_every_five_seconds() -> None:
    async with a_host() as host:
        host.network.assign(ASSIGNMENT)
        await asyncio.sleep(21)

        assert len(host.mesh.configs) == 5
