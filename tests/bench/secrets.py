"""What a thousand secrets cost managers: `python -m tests.bench.secrets [--autolock]`.

Three managers in this process, each with a real log over loopback and the real API, on one disk:
memory before and after the secrets are there, a third of the process's for each, and how long it
takes to seal all of them anew. On a busy machine the processor time counts, of all three together.
"""

import argparse
import asyncio
import gc
import os
import tempfile
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path

from warren.model.errors import OutcomeUnknown
from warren.model.services import Secret
from warren.store import locking, passphrases
from warren.store.raft.raft_state import Timing
from warren.testing.builders import NOON

from tests.contract.raft_members import CLUSTER
from tests.contract.secret_managers import SecretManager, three_managers

SIZE = 1024
PORT = 23745
WARM_UP = 50
PATIENT = Timing(heartbeat=0.2, election_min=15.0, election_max=20.0, quorum_check=18.0, hush=2.0)
"""The lead stays where it is, however busy the machine is."""
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one piece of work."""

    wall_s: float
    processor_s: float
    resident_mb: float
    """Of each manager."""

    def show(self, what: str, target: str) -> None:
        figures = f"{self.wall_s:.2f} s, processor {self.processor_s:.2f} s"
        print(f"{what:36}{figures}, memory of each {self.resident_mb:+.1f} MB  {target}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--secrets", type=int, default=1000)
    parser.add_argument("--autolock", action="store_true", help="with the keys under a passphrase")
    options = parser.parse_args()
    asyncio.run(measure(options.secrets, locked=options.autolock))


async def measure(count: int, *, locked: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        async with three_managers(Path(name), PORT, PATIENT) as managers:
            leader = managers[0]
            # What the first secrets and the first rotation bring along is not the secrets' own.
            await put(leader, "warm-up", WARM_UP)
            if locked:
                passphrase = Secret("correct horse battery")
                opened = locking.new_lock(CLUSTER, passphrase, NOON, cost=passphrases.USUAL)
                await leader.lock(opened)
            else:
                await leader.rotate()
            await leader.reseal()

            created = await cost(put(leader, "secret", count))
            created.show(f"{count} secrets of {SIZE} bytes created", "10 MB")
            await leader.rotate()
            resealed = await cost(leader.reseal())
            resealed.show(f"all of them sealed anew, {WARM_UP} more", "5 s")


async def put(manager: SecretManager, prefix: str, count: int) -> None:
    for number in range(count):
        value = os.urandom(SIZE)
        try:
            await manager.put(f"{prefix}-{number}", value)
        except OutcomeUnknown:
            await manager.put(f"{prefix}-{number}", value)


async def cost(work: Awaitable[None]) -> Cost:
    gc.collect()
    resident, wall, processor = resident_mb(), time.perf_counter(), time.process_time()
    await work
    done = time.perf_counter() - wall, time.process_time() - processor
    gc.collect()
    return Cost(wall_s=done[0], processor_s=done[1], resident_mb=(resident_mb() - resident) / 3)


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE / 1e6


if __name__ == "__main__":
    main()
