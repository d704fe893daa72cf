"""No fault at all, on busy processors: elections that come nevertheless are false, and are counted.

Each manager's own metrics tell of elections and terms, its unit of restarts. One client writes all
the time, so that there is something to replicate, and its longest wait is noted.
"""

import math
import secrets
import statistics
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from warren.client.client import Client
from warren.client.connection import Connection
from warren.model.errors import WarrenError

from tests.chaos import figures, load
from tests.chaos.cluster import say
from tests.chaos.hosts import UNIT, Hosts
from tests.chaos.registers import write
from tests.chaos.run import wait_whole

SHARE = 0.5
"""Of each processor, that is taken away from the managers unless one says otherwise."""
SAMPLE_EVERY = 10.0
BANDS = ((0.0, 1.0), (1.0, 2.0), (2.0, 4.0), (4.0, 8.0), (8.0, math.inf))
"""Of load averages per processor: others may want the machine, too."""
WRITE_EVERY = 0.1
METRICS = f"""systemctl show -p MainPID --value {UNIT}; python3 -c '
import socket
s = socket.socket(socket.AF_UNIX); s.settimeout(5); s.connect("/run/warren/metrics.sock")
s.sendall(b"GET /metrics HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
while part := s.recv(65536): print(part.decode(), end="")
'"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One manager at one moment."""

    pid: int
    term: int
    elections_won: int
    sync_p99: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """The time between two samples."""

    seconds: float
    load: float
    """Load average of the machine, for each processor."""
    busy: float
    """Share of the time of all processors."""
    elections: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Calm:
    """What was seen in that time."""

    seconds: float
    share: float
    """Of each processor, taken away. The rest of the load was that of others."""
    first: Mapping[str, Sample]
    last: Mapping[str, Sample]
    intervals: tuple[Interval, ...]
    writes: int
    longest_gap: float
    errors: tuple[str, ...]

    @property
    def elections(self) -> int:
        return terms(self.first, self.last)

    @property
    def restarted(self) -> tuple[str, ...]:
        return tuple(name for name in self.first if self.first[name].pid != self.last[name].pid)

    @property
    def passed(self) -> bool:
        return not (self.elections or self.restarted or self.errors)


@dataclass(slots=True)
class Writer:
    """One client that writes until it is stopped."""

    connection: Connection
    accepted: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        key = f"calm-{secrets.token_hex(4)}"
        with Client(self.connection) as client:
            while not self._stop.wait(WRITE_EVERY):
                try:
                    write(client, key, str(len(self.accepted)))
                    self.accepted.append(time.monotonic())
                except WarrenError as error:
                    self.errors.append(f"{load.now()} {error}")

    def stop(self) -> None:
        self._stop.set()


def watch(hosts: Hosts, connection: Connection, minutes: float, share: float) -> Calm:
    """Wait for so long, with that share of each processor taken away, and look now and then."""
    wait_whole(connection)
    seconds = minutes * 60
    begin = time.monotonic()
    first = last = samples(hosts)
    intervals = []
    writer, busy = Writer(connection), load.Busy()
    thread = threading.Thread(target=writer.run, daemon=True)
    with load.Load(share, seconds + 60):
        thread.start()
        try:  # who interrupts it is told what was seen so far
            while (left := begin + seconds - time.monotonic()) > 0:
                since = time.monotonic()
                time.sleep(min(SAMPLE_EVERY, left))
                before, last = last, samples(hosts)
                interval = Interval(
                    seconds=time.monotonic() - since,
                    load=load.average(),
                    busy=busy.share(),
                    elections=terms(before, last),
                )
                intervals.append(interval)
                _tell(before, last, interval)
        except KeyboardInterrupt:
            say(f"interrupted after {(time.monotonic() - begin) / 60:.0f} of {minutes:g} minutes")
        finally:
            writer.stop()
            thread.join()
    end = time.monotonic()
    return Calm(
        seconds=end - begin,
        share=share,
        first=first,
        last=last,
        intervals=tuple(intervals),
        writes=len(writer.accepted),
        longest_gap=figures.longest_gap(begin, writer.accepted, end),
        errors=tuple(writer.errors),
    )


def terms(first: Mapping[str, Sample], last: Mapping[str, Sample]) -> int:
    """Elections that were stood for in between, won or not."""
    return max(s.term for s in last.values()) - max(s.term for s in first.values())


def samples(hosts: Hosts) -> dict[str, Sample]:
    """Of each manager, by name."""
    return {host: parse(text) for host, text in hosts.run_all(METRICS).items()}


def parse(text: str) -> Sample:
    """The process id on a line, then the metrics as HTTP."""
    pid, *lines = text.split("\n")
    values = dict(line.rsplit(" ", 1) for line in lines if line.startswith("warren_raft_"))
    return Sample(
        pid=int(pid),
        term=int(values["warren_raft_term"]),
        elections_won=int(values["warren_raft_elections_won_total"]),
        sync_p99=float(values['warren_raft_sync_seconds{quantile="0.99"}']),
    )


def _tell(before: Mapping[str, Sample], now: Mapping[str, Sample], interval: Interval) -> None:
    for name, sample in now.items():
        if (sample.term, sample.pid) != (before[name].term, before[name].pid):
            told = f"{before[name]} became {sample}"
            say(f"{load.now()} {name}: {told}, load average {interval.load:.1f} per processor")


def render(calm: Calm) -> str:
    """What was counted, and the verdict."""
    lines = [
        f"{calm.seconds / 60:.0f} min without a fault, "
        f"{calm.share:.0%} of each processor taken away",
        f"  {calm.writes} writes, at most {calm.longest_gap:.2f} s without one",
        "  load average per processor, minutes, processors busy, elections",
    ]
    lines += [line for band in BANDS if (line := _band(calm, *band))]
    for name, last in calm.last.items():
        won = last.elections_won - calm.first[name].elections_won
        lines.append(
            f"  {name}: {won} elections won, term {calm.first[name].term} to {last.term}, "
            f"sync of the journal {last.sync_p99 * 1000:.1f} ms (99 %)"
        )
    lines += [f"  FAILED: {name} was restarted" for name in calm.restarted]
    lines += [f"  FAILED: {error}" for error in calm.errors]
    if calm.elections:
        lines.append(f"  FAILED: {calm.elections} false elections")
    if calm.passed:
        lines.append("  no false election")
    return "\n".join(lines)


def _band(calm: Calm, least: float, below: float) -> str:
    """One line for the time in which the load was so; none if there was none."""
    within = [interval for interval in calm.intervals if least <= interval.load < below]
    if not within:
        return ""
    minutes = sum(interval.seconds for interval in within) / 60
    busy = statistics.mean(interval.busy for interval in within)
    name = f"{least:g} to {below:g}" if below < math.inf else f"{least:g} and more"
    count = sum(interval.elections for interval in within)
    return f"    {name:<12}{minutes:6.1f} {busy:6.0%} {count:4}"
