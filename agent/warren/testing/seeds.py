"""Runs simulations by seed, on every core, for all that have a command of their own.

Says now and then how far it is; at the end how many seeds a second and how many hours of virtual
time were lived through, and each seed that broke a law with the command that does the same again.
"""

import argparse
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

_SHOWN_EVERY = 10.0
"""Seconds between two lines of progress."""
_BATCH = 4
"""Seeds that a process takes at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """How a seed's life went."""

    seed: int
    broken: str = ""
    """The law that broke, and where; "": none."""
    hours: float = 0.0
    counts: "Counter[str]" = field(default_factory=Counter)


Live = Callable[[int], Life]
"""One life, in whichever process: a function of a module."""


@dataclass(slots=True)
class Tally:
    """What was lived through so far."""

    replay: str
    """The command that lives one seed again, but for its number."""
    wanted: int
    began: float = field(default_factory=time.monotonic)
    done: int = 0
    bad: list[int] = field(default_factory=list)
    hours: float = 0.0
    counts: "Counter[str]" = field(default_factory=Counter)

    def add(self, life: Life) -> None:
        """Take a life in, and say at once if it was a bad one."""
        self.done += 1
        self.hours += life.hours
        self.counts.update(life.counts)
        if life.broken:
            self.bad.append(life.seed)
            print(f"seed {life.seed}: {life.broken}\n  {self.replay} {life.seed}", flush=True)

    @property
    def seconds(self) -> float:
        """Of real time, since the beginning."""
        return time.monotonic() - self.began

    @property
    def rate(self) -> float:
        """Seeds per second."""
        return self.done / max(self.seconds, 0.001)

    def show_progress(self) -> None:
        """One line."""
        print(
            f"{self.done} of {self.wanted} seeds, {len(self.bad)} bad, {self.rate:.1f} seeds/s, "
            f"{self.hours:.2f} simulated hours",
            file=sys.stderr,
            flush=True,
        )

    def show_all(self) -> None:
        """The end."""
        print(
            f"{self.done} seeds, {len(self.bad)} bad, {self.hours:.2f} simulated hours in "
            f"{self.seconds:.0f} s, {self.rate:.1f} seeds/s"
        )
        deaths = sum(n for name, n in self.counts.items() if name.startswith("died at"))
        shown = {n: c for n, c in sorted(self.counts.items()) if not n.startswith("died at")}
        if deaths:
            shown["died at a failpoint"] = deaths
        print(", ".join(f"{name} {number}" for name, number in shown.items()))
        for seed in sorted(self.bad):
            print(f"bad: {self.replay} {seed}")


def run(program: str, about: str, live: Live, arguments: list[str] | None) -> int:
    """The command `python -m <program>`: lives through seeds, and says how that went."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=about)
    parser.add_argument("--seeds", type=int, default=500, help="how many lives (500)")
    parser.add_argument("--start", type=int, default=1, help="the first seed (1)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (one per core)")
    parser.add_argument("--seconds", type=float, default=0.0, help="stop after this long (never)")
    parser.add_argument("--stop", action="store_true", help="stop at the first bad seed")
    options = parser.parse_args(arguments)
    tally = Tally(f"python -m {program} --seeds 1 --start", options.seeds)
    shown = tally.began
    seeds = range(options.start, options.start + options.seeds)
    with _lives(live, seeds, options.jobs) as lives:
        for life in lives:
            tally.add(life)
            if time.monotonic() - shown > _SHOWN_EVERY:
                shown = time.monotonic()
                tally.show_progress()
            if tally.bad and options.stop:
                break
            if options.seconds and tally.seconds > options.seconds:
                break
    tally.show_all()
    return 1 if tally.bad else 0


def ended_by(error: Exception, seed: int) -> Life:
    """A life that came to this end."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    broken = f"{type(error).__name__}: {error} ({where.name}:{where.lineno})"
    return Life(seed=seed, broken=broken)


@contextmanager
def _lives(live: Live, seeds: range, jobs: int) -> Iterator[Iterator[Life]]:
    if jobs == 1 or len(seeds) == 1:
        yield map(live, seeds)
        return
    pool = ProcessPoolExecutor(jobs)
    try:
        yield pool.map(live, seeds, chunksize=_BATCH)
    finally:
        pool.shutdown(cancel_futures=True)
