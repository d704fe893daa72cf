"""Whole lives of clusters by seed: those that once found something, and how seeds are run.

`make simulate SEEDS=n START=m` lives through as many as wanted; the tests' stage runs 500.
"""

import pytest
from warren.testing import raft_simulation, raft_simulation_faults
from warren.testing.raft_simulation_checks import Violation
from warren.testing.raft_simulation_faults import Climate
from warren.testing.raft_simulation_world import World

FOUND = (2, 10, 20, 38, 124, 2446, 3380, 10277, 10659, 10768, 11625, 12368)
"""Torn padding, a promotion of nobody, an uncommitted removal that was believed, pre-votes that
were thrown away, a truncation below the oldest file, a snapshot ahead of its term, deafness."""


@pytest.mark.parametrize("seed", FOUND)
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
    for seed in range(1, 13):
        steps |= raft_simulation_faults.live(seed).failpoints.keys()

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


def test_a_bad_seed_is_shown_with_the_command_that_replays_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    live = raft_simulation_faults.live

    def live_badly(seed: int) -> World:
        if seed == 2:
            raise Violation("two leaders")
        return live(seed, steps=1)

    monkeypatch.setattr(raft_simulation_faults, "live", live_badly)

    assert raft_simulation.main(["--seeds", "3", "--jobs", "1"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("seed 2: Violation: two leaders (live_badly:")
    assert lines[1] == "  python -m warren.testing.raft_simulation --seeds 1 --start 2"
    assert lines[2].startswith("3 seeds, 1 bad, ")
    assert lines[-1] == "bad: python -m warren.testing.raft_simulation --seeds 1 --start 2"


def test_seeds_are_lived_through_by_as_many_processes_as_wanted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert raft_simulation.main(["--seeds", "3", "--jobs", "2"]) == 0
    assert capsys.readouterr().out.startswith("3 seeds, 0 bad, ")
