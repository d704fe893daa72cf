"""Health checks without a network, for tests of what stands on `drivers.ports.Prober`.

It passes the contract tests of the real one (tests/contract/test_probes.py). Tests say what listens
where; with nothing said, everything is healthy.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from warren.drivers import probe_texts as texts
from warren.drivers.ports import ExecOutput, Instance, ProbeResult
from warren.model.errors import DeadlineExceeded, RuntimeUnavailable, WarrenError
from warren.model.services import HealthCheck, HttpCheck


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A process that accepts connections."""

    statuses: Mapping[str, int] = field(default_factory=dict)
    """By path; 404 for others."""
    body: str = ""
    wants: Mapping[str, str] = field(default_factory=dict)
    """Headers without which it answers 400."""
    silent: bool = False
    """It accepts, and says nothing."""
    closes: bool = False
    """It accepts, and closes at once."""
    stammers: bool = False
    """It answers, but not HTTP."""


class FakeProber:
    """Prober in memory. Tests read and write its public attributes freely."""

    def __init__(self) -> None:
        self.listeners: dict[tuple[str, int], Listener] | None = None
        """By address and port; None: whatever is asked is healthy."""
        self.outputs: dict[tuple[str, ...], ExecOutput | WarrenError] = {}
        """By command; others succeed."""
        self.results: dict[str, ProbeResult] = {}
        """By task id, before anything else is looked at."""
        self.hold: dict[str, asyncio.Event] = {}
        """By task id: its checks wait for the event, at most for their timeout."""
        self.probes: list[tuple[str, int]] = []
        """Task id and port of every check."""

    async def probe(self, check: HealthCheck, instance: Instance, port: int) -> ProbeResult:
        port = check.port or port
        self.probes.append((instance.task_id, port))
        if instance.task_id in self.hold:
            try:
                async with asyncio.timeout(check.timeout.total_seconds()):
                    await self.hold[instance.task_id].wait()
            except TimeoutError:
                return _bad(check, instance, port, texts.late(check))
        if instance.task_id in self.results:
            return self.results[instance.task_id]
        if check.exec is not None:
            return self._run(check, check.exec.command, instance, port)
        return self._connect(check, instance, port)

    async def close(self) -> None:
        """Nothing to let go of."""

    def _run(
        self, check: HealthCheck, command: tuple[str, ...], instance: Instance, port: int
    ) -> ProbeResult:
        output = self.outputs.get(command, ExecOutput(stdout=b"", stderr=b"", exit_code=0))
        match output:
            case ExecOutput(exit_code=0):
                return ProbeResult(healthy=True)
            case ExecOutput():
                said = texts.exit_code(output.exit_code, output.stdout, output.stderr)
                return _bad(check, instance, port, said)
            case DeadlineExceeded():
                return _bad(check, instance, port, texts.late(check))
            case RuntimeUnavailable():
                said = texts.on_one_line(str(output))
                return ProbeResult(healthy=False, output=said, known=False)
            case _:
                return _bad(check, instance, port, str(output))

    def _connect(self, check: HealthCheck, instance: Instance, port: int) -> ProbeResult:
        if self.listeners is None:
            return ProbeResult(healthy=True)
        listener = self.listeners.get((instance.address, port))
        if listener is None:
            return _bad(check, instance, port, "connection refused")
        if check.http is None:
            return ProbeResult(healthy=True)
        trouble = _answer(check, check.http, listener)
        return _bad(check, instance, port, trouble) if trouble else ProbeResult(healthy=True)


def _answer(check: HealthCheck, http: HttpCheck, listener: Listener) -> str:
    """What is wrong with the answer; empty text if nothing is."""
    if listener.silent:
        return texts.late(check)
    if listener.closes:
        return "the connection was closed without an answer"
    if listener.stammers:
        return "the answer is not HTTP"
    status = listener.statuses.get(http.path, 404)
    if listener.wants.items() - http.headers.items():
        status = 400
    if http.accepts(status):
        return ""
    return texts.status(status, texts.first_line(listener.body.encode()))


def _bad(check: HealthCheck, instance: Instance, port: int, trouble: str) -> ProbeResult:
    what = texts.subject(check, instance.address, port)
    return ProbeResult(healthy=False, output=texts.on_one_line(f"{what}: {trouble}"))
