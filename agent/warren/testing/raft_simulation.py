"""Simulates whole clusters of the Raft engine: `python -m warren.testing.raft_simulation`.

Uses every core. Says now and then how far it is; at the end how many seeds a second and how many
hours of virtual time were lived through, and each seed that broke a law with the command that does
the same again: a seed decides everything, on any machine.
"""

import sys

from warren.testing import raft_simulation_faults, seeds
from warren.testing.raft_simulation_time import BEGAN


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    return seeds.run("warren.testing.raft_simulation", __doc__ or "", live, arguments)


def live(seed: int) -> seeds.Life:
    """One life, in whichever process."""
    try:
        world = raft_simulation_faults.live(seed)
    except Exception as error:  # noqa: BLE001 - any end but a good one is a finding
        return seeds.ended_by(error, seed)
    counts = world.counts.copy()
    counts.pop("recovered in ms", None)
    counts["events"] = world.events
    counts["reads answered"] += world.checks.reads
    counts["terms led"] += len(world.checks.leaders)
    return seeds.Life(seed=seed, hours=(world.now - BEGAN) / 3600, counts=counts)


if __name__ == "__main__":
    sys.exit(main())
