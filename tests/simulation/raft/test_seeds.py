"""Whole lives of clusters by seed: some for every run, and those that once found something.

`python -m warren.testing.raft_simulation --seeds N --start M` lives through more of them.
"""

import os

import pytest
from warren.testing import raft_simulation_faults
from warren.testing.raft_simulation_faults import Climate
from warren.testing.raft_simulation_world import World

SEEDS = int(os.environ.get("WARREN_SEEDS", "60"))
FOUND = (2, 10, 20, 38, 124, 2446, 3380, 10277, 10659, 10768, 11625, 12368)
"""Torn padding, a promotion of nobody, an uncommitted removal that was believed, pre-votes that
were thrown away, a truncation below the oldest file, a snapshot ahead of its term, deafness."""


@pytest.mark.parametrize("seed", [*FOUND, *range(1, SEEDS + 1)])
def test_no_law_breaks(seed: int) -> None:
    raft_simulation_faults.live(seed)


def test_a_seed_does_the_same_again() -> None:
    def trace() -> str:
        world = World(Climate(7).plan)
        world.traced = True
        life = raft_simulation_faults.Life(world, Climate(7))
        for _ in range(10):
            life.step()
        return world.trace.hexdigest()

    assert trace() == trace()


def test_there_are_failpoints_at_every_step() -> None:
    steps: set[str] = set()
    for seed in range(1, 25):
        steps |= raft_simulation_faults.live(seed, steps=15).failpoints.keys()

    assert {
        "send",
        "sent",
        "write journal",
        "written journal",
        "sync journal",
        "synced journal",
    } <= (steps)
    assert {"rename snapshot", "renamed snapshot", "write incoming", "remove journal"} <= steps
    assert len(steps) >= 20
