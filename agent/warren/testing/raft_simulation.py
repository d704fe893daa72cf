"""Simulates whole clusters of the Raft engine: `python -m warren.testing.raft_simulation`.

Prints the seeds that broke a law, each of which does the same again with `--start SEED --seeds 1`,
and how many seeds a second were lived through.
"""

import argparse
import sys
import time
import traceback
from collections import Counter

from warren.testing import raft_simulation_faults


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=500, help="how many lives (500)")
    parser.add_argument("--start", type=int, default=1, help="the first seed (1)")
    parser.add_argument("--seconds", type=float, default=0.0, help="stop after this long (never)")
    parser.add_argument("--stop", action="store_true", help="stop at the first bad seed")
    options = parser.parse_args(arguments)
    began, counts, bad, done = time.monotonic(), Counter[str](), [], 0
    virtual = 0.0
    for seed in range(options.start, options.start + options.seeds):
        if options.seconds and time.monotonic() - began > options.seconds:
            break
        done += 1
        try:
            world = raft_simulation_faults.live(seed)
        except Exception as error:  # noqa: BLE001 - any end but a good one is a finding
            bad.append(seed)
            where = traceback.extract_tb(error.__traceback__)[-1]
            print(f"seed {seed}: {type(error).__name__}: {error} ({where.name}:{where.lineno})")
            if options.stop:
                break
            continue
        counts.update(world.counts)
        counts["reads answered"] += world.checks.reads
        counts["terms led"] += len(world.checks.leaders)
        virtual += world.now - 1000.0
    _print_summary(done, bad, counts, virtual, time.monotonic() - began)
    return 1 if bad else 0


def _print_summary(
    done: int, bad: list[int], counts: "Counter[str]", virtual: float, seconds: float
) -> None:
    counts.pop("recovered in ms", None)
    print(
        f"{done} seeds, {len(bad)} bad, {virtual / 3600:.2f} simulated hours, "
        f"{done / max(seconds, 0.001):.1f} seeds/s"
    )
    deaths = sum(number for name, number in counts.items() if name.startswith("died at"))
    shown = {name: n for name, n in sorted(counts.items()) if not name.startswith("died at")}
    shown["died at a failpoint"] = deaths
    print(", ".join(f"{name} {number}" for name, number in shown.items()))


if __name__ == "__main__":
    sys.exit(main())
