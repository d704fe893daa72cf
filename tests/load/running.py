"""Generators of load that run beside a test, here and on hosts of a fleet, and what they found."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

GENERATOR = Path(__file__).with_name("generator.py")
ENDING_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One generator: `where` empty is this machine, else an ssh destination of the fleet."""

    urls: tuple[str, ...]
    rate: float
    mode: str = "new"
    where: str = ""
    seconds: float = 0.0


@dataclass(slots=True, kw_only=True)
class Report:
    """What became of the requests of all streams; filled when the load ends."""

    sent: int = 0
    resent: int = 0
    failures: list[dict[str, Any]] = field(default_factory=list)
    by_body: Counter[str] = field(default_factory=Counter)
    p99_ms: float = 0.0

    def add(self, summary: dict[str, Any]) -> None:
        self.sent += summary["sent"]
        self.resent += summary["resent"]
        self.failures += summary["failures"]
        self.by_body.update(summary["by_body"])
        self.p99_ms = max(self.p99_ms, summary["latency_ms"]["p99"])

    def outage_seconds(self) -> float:
        """From the first failed request to the last."""
        times = [failure["at"] for failure in self.failures]
        return max(times) - min(times) if times else 0.0

    def __str__(self) -> str:
        reasons = Counter(f"{f['mode']} {f['target']}: {f['reason']}" for f in self.failures)
        listed = "; ".join(f"{count} x {reason}" for reason, count in reasons.most_common(5))
        failed = f"{len(self.failures)} failed within {self.outage_seconds():.2f} s ({listed})"
        return (
            f"{self.sent} requests, {failed if self.failures else 'none failed'}, "
            f"{self.resent} sent again, p99 {self.p99_ms:.1f} ms, {len(self.by_body)} tasks"
        )


def answers(report: Report, *, of: Literal["task", "version"]) -> Counter[str]:
    """How many requests each task, or each version of the load tests' image, has answered."""
    counts: Counter[str] = Counter()
    for body, count in report.by_body.items():
        task, version = body.split()
        counts[task if of == "task" else version] += count
    return counts


@contextmanager
def load(streams: Sequence[Stream], ssh_config: Path | None = None) -> Iterator[Report]:
    """Requests go on for the duration of the block; the report is whole after it."""
    report = Report()
    with ExitStack() as stack:
        running = [stack.enter_context(_process(stream, ssh_config)) for stream in streams]
        yield report
        for process in running:
            process.stdin.close()  # type: ignore[union-attr]
        for process in running:
            report.add(_summary(process))


def finish(streams: Sequence[Stream], ssh_config: Path | None = None) -> Report:
    """Streams with a length of their own, to their end."""
    report = Report()
    with ExitStack() as stack:
        for process in [stack.enter_context(_process(s, ssh_config)) for s in streams]:
            report.add(_summary(process, patience=ENDING_SECONDS + streams[0].seconds))
    return report


@contextmanager
def _process(stream: Stream, ssh_config: Path | None) -> Iterator[subprocess.Popen[str]]:
    options = ["--rate", str(stream.rate), "--mode", stream.mode]
    options += ["--seconds", str(stream.seconds), *stream.urls]
    if stream.where:
        assert ssh_config is not None, "hosts are reached by the fleet's ssh configuration"
        subprocess.run(
            ["scp", "-q", "-F", str(ssh_config), str(GENERATOR), f"{stream.where}:/run/generator"],
            check=True,
        )
        python = "/opt/warren/venv/bin/python3"
        command = ["ssh", "-F", str(ssh_config), stream.where, python, "/run/generator", *options]
    else:
        command = [sys.executable, str(GENERATOR), *options]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def _summary(process: subprocess.Popen[str], patience: float = ENDING_SECONDS) -> dict[str, Any]:
    if process.stdin and process.stdin.closed:
        process.stdin = None
    output, errors = process.communicate(timeout=patience)
    if process.returncode:
        raise RuntimeError(f"the generator of load failed: {errors.strip()[-500:]}")
    summary: dict[str, Any] = json.loads(output)
    return summary
