"""What the store costs, against its targets: `python -m tests.bench.raft_store [--kills 20]`.

Three members as processes on loopback, each with the real state machine, on one disk. Everything
is measured inside the leader, at `Store`, but for the time without a leader, which is measured from
outside.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench.raft_member import apply_cost
from tests.contract.raft_members import a_pki

PORT = 21745
OBJECTS = 100_000


class Process:
    """A member."""

    def __init__(self, directory: Path, number: int, *, entries: int = 5000) -> None:
        self.directory, self.number, self.entries = directory, number, entries
        self.started: dict[str, Any] = {}
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Returns when its state is restored."""
        arguments = [str(self.directory), str(self.number), str(PORT), str(self.entries)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.raft_member", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.started = self._answer()

    def ask(self, do: str, **parameters: Any) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **parameters}) + "\n")
        return self._answer()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _answer(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


class Cluster:
    """Three members, grown from one."""

    def __init__(self, directory: Path, *, entries: int = 5000, members: int = 3) -> None:
        pki = a_pki(directory / "pki")
        numbers = range(1, members + 1)
        for number in numbers:
            pki.files(f"n{number}")
        self.members = [Process(directory, number, entries=entries) for number in numbers]
        for member in self.members:
            member.start()
        first = self.leader()
        first.ask("found")
        for number in numbers[1:]:
            first.ask("add", number=number)

    def leader(self) -> Process:
        """Whoever leads the newest term; waits until there is one."""
        end = time.monotonic() + 30
        while time.monotonic() < end:
            answers = [(m.ask("status"), m) for m in self.members if m._process is not None]
            leaders = [(a["term"], m.number, m) for a, m in answers if a["leads"]]
            if leaders:
                return max(leaders)[2]
            time.sleep(0.005)
        raise TimeoutError("nobody leads")

    def close(self) -> None:
        for member in self.members:
            member.kill()


def main() -> None:
    """Measure everything and print it beside the targets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--objects", type=int, default=OBJECTS)
    parser.add_argument("--only-size", action="store_true", help="only with many objects")
    options = parser.parse_args()
    print(f"{'':44}{'measured':>20}  target")
    if not options.only_size:
        measure_three(options.kills)
    measure_size(options.objects)


def measure_three(kills: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        cluster = Cluster(Path(name))
        try:
            measure_traffic(cluster)
            measure_failover(cluster, kills)
        finally:
            cluster.close()


def measure_traffic(cluster: Cluster) -> None:
    leader = cluster.leader()
    leader.ask("write", count=500)
    one = leader.ask("write", count=2000)
    show("one write, p50", f"{one['p50_ms']:.2f} ms", "1.5 ms")
    show("one write, p99", f"{one['p99_ms']:.2f} ms", "3 ms")
    read = leader.ask("read", count=2000)
    show("linearizable read, p50", f"{read['p50_ms']:.2f} ms", "1 ms")
    show("linearizable read, p99", f"{read['p99_ms']:.2f} ms", "")
    many = leader.ask("flood", in_flight=64, seconds=5)
    show("64 writes in flight", f"{many['per_second']:.0f} /s", "8000 /s")
    metrics = leader.ask("metrics")
    show("sync of the journal, p50", f"{metrics['sync_p50_ms']:.2f} ms", "")
    show("sync of the journal, p99", f"{metrics['sync_p99_ms']:.2f} ms", "")
    transfers = []
    for _ in range(10):
        began = time.perf_counter()
        cluster.leader().ask("transfer")
        cluster.leader()
        transfers.append(time.perf_counter() - began)
    show("hand-over of the lead, worst of 10", f"{max(transfers) * 1e3:.0f} ms", "100 ms")


def measure_failover(cluster: Cluster, kills: int) -> None:
    gaps = []
    for _ in range(kills):
        time.sleep(1.0)
        victim = cluster.leader()
        others = [member for member in cluster.members if member is not victim]
        began = time.perf_counter()
        victim.kill()
        while not any(member.ask("first_write")["done"] for member in others):
            pass
        gaps.append(time.perf_counter() - began)
        victim.start()
        time.sleep(0.5)
    gaps.sort()
    show(f"leader killed, median of {kills}", f"{gaps[len(gaps) // 2]:.2f} s", "0.6 s")
    show(f"leader killed, worst of {kills}", f"{gaps[-1]:.2f} s", "1.0 s")


def measure_size(objects: int) -> None:
    costs = apply_cost(1000), apply_cost(objects)
    show("decode a command", f"{costs[1]['decode']:.0f} us", "")
    show("apply it, 1,000 objects", f"{costs[0]['apply']:.0f} us", "20 us")
    show(f"apply it, {objects:,} objects", f"{costs[1]['apply']:.0f} us", "20 us")
    with tempfile.TemporaryDirectory() as name:
        cluster = Cluster(Path(name), entries=5000, members=1)
        try:
            member = cluster.members[0]
            filled = member.ask("fill", objects=objects)
            show(f"{objects:,} objects made in", f"{filled['seconds']:.0f} s", "")
            show("memory with them", f"{filled['memory_mib']:.0f} MiB", "400 MiB")
            paused = member.ask("pause", seconds=20)
            count = paused["snapshots"]
            show(f"longest pause in {count} snapshots", _longest(paused["during"]), "50 ms")
            show("longest pause without one", _longest(paused["otherwise"]), "")
            member.kill()
            began = time.perf_counter()
            member.start()
            cluster.leader()
            show("restart with them", f"{time.perf_counter() - began:.1f} s", "10 s")
            show("memory after it", f"{member.started['memory_mib']:.0f} MiB", "400 MiB")
        finally:
            cluster.close()


def _longest(times: dict[str, float]) -> str:
    return f"{times['max_ms']:.0f} ms, p99 {times['p99_ms']:.1f} ms"


def show(what: str, measured: str, target: str) -> None:
    print(f"{what:44}{measured:>20}  {target}", flush=True)


if __name__ == "__main__":
    main()
