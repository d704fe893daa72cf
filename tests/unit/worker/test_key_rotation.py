"""A key rotation from the question to the last step: leader and workers as they are, in turns.

One log entry or one look of one worker at a time, in an order that chance chooses, with restarts of
workers and changes of the leader in between. Devices are fakes; what packets do meanwhile is tried
on real tunnels in tests/contract.
"""

import random
from dataclasses import replace

import pytest
from warren.core import assignment, mesh
from warren.manager import mesh_keys
from warren.state.apply import apply
from warren.state.commands import RequestKeyRotation
from warren.testing.builders import NOON, a_node, a_state
from warren.testing.fake_mesh import FakeMesh
from warren.worker.mesh import MeshUpkeep, config_of

NAMES = ("n1", "n2", "n3")


class Cluster:
    """Three nodes and a leader."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.state = a_state(nodes=[a_node(name, number=int(name[1])) for name in NAMES])
        self.devices = {
            name: FakeMesh(public_key=self.state.nodes[name].mesh.public_key) for name in NAMES
        }
        self.carried: dict[str, int] = {}
        """What this leader has been told; another leader knows nothing of it."""
        self.switches: list[str] = []
        """Who switched, in order."""

    def propose(self, *commands: object) -> None:
        for command in commands:
            self.state, _ = apply(self.state, command)  # type: ignore[arg-type]

    async def step(self) -> None:
        name = self.chance.choice(NAMES)
        match self.chance.randrange(30):
            case 0 | 1 | 2 | 3 | 4:
                self.propose(*mesh.decide(self.state, NOON + mesh.PAUSE, self.carried).commands)
            case 5:
                self.carried.clear()  # another leader
            case 6 | 7:
                self.devices[name] = restarted(self.devices[name])
            case _:
                await self.look(name)

    async def look(self, name: str) -> None:
        """The worker is told the assignment, follows it and says what it has."""
        told = assignment.begin(self.state).of(name)
        device = self.devices[name]
        before = device.key
        upkeep = MeshUpkeep(device, interface="none", index_of=lambda _: 1)
        upkeep.want(config_of(told), told.mesh)
        await upkeep.bring()
        self.carried[name] = told.index
        if device.key != before:
            self.switches.append(name)
        if self.chance.random() < 0.3:
            return  # the session broke before it could say anything
        keys = await upkeep.keys()
        node = self.state.nodes[name]
        self.propose(
            *mesh_keys.commands_for(
                node,
                public_key=keys.public_key,
                next_public_key=keys.next_public_key,
                endpoint="",
                now=NOON,
            )
        )


def restarted(device: FakeMesh) -> FakeMesh:
    """Keys are on disk, all else is forgotten."""
    fresh = FakeMesh(public_key=device.key)
    fresh.next_key = device.next_key
    return fresh


@pytest.mark.parametrize("seed", range(20))
async def test_every_node_gets_a_new_key_whatever_happens_meanwhile(seed: int) -> None:
    cluster = Cluster(seed)
    before = {name: cluster.state.nodes[name].mesh.public_key for name in NAMES}
    cluster.propose(*(RequestKeyRotation(node_id=name) for name in NAMES))

    for _ in range(1000):
        if not any(node.mesh.rotating for node in cluster.state.nodes.values()):
            break
        await cluster.step()
        switching = [n for n in cluster.state.nodes.values() if n.mesh.switching]
        assert len(switching) <= 1, "one node switches at a time"

    after = {name: cluster.state.nodes[name].mesh for name in NAMES}
    assert [name for name in NAMES if after[name].public_key == before[name]] == []
    assert {name: device.key for name, device in cluster.devices.items()} == {
        name: found.public_key for name, found in after.items()
    }
    assert [replace(found, public_key="", offered_index=0) for found in after.values()] == [
        replace(a_node(name).mesh, public_key="", key_since=NOON) for name in NAMES
    ]
    assert sorted(cluster.switches) == list(NAMES)
