"""What the faults cost, counted and as text. Pure."""

import itertools
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from warren.testing.linearizability import Kind, Operation

from tests.chaos import plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One fault, and what became of it. Times of the clients' clock."""

    kind: plan.Kind
    begin: float
    end: float
    """When the cluster was whole again, and a while after."""
    next_write: float
    """Seconds until a write that was called after the fault was acknowledged, by any manager."""
    without_write: float
    """Seconds, at the longest until `end`, in which no write was acknowledged by any manager."""
    slowest_answer: float
    elections: int
    before: str
    """The leader."""
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A whole run."""

    seed: int
    seconds: float
    outcomes: tuple[Outcome, ...]
    history: tuple[Operation, ...]
    errors: Mapping[str, int]
    failures: tuple[str, ...]


def slow(outcomes: Sequence[Outcome]) -> tuple[Outcome, ...]:
    """Those that took longer than a lost leader may at the worst."""
    alone = (outcome for outcome in outcomes if plan.hurts_leader_alone(outcome.kind))
    return tuple(outcome for outcome in alone if outcome.next_write > plan.TARGET_WORST)


def longest_gap(begin: float, times: Sequence[float], end: float) -> float:
    """The longest time without an acknowledged write from `begin` to `end`."""
    points = [begin, *(at for at in times if begin <= at <= end), end]
    return max(after - before for before, after in itertools.pairwise(points))


def accepted(answered: Iterable[Operation]) -> tuple[float, ...]:
    """When writes were acknowledged, in order."""
    writes = (operation for operation in answered if operation.kind is Kind.WRITE)
    return tuple(sorted(o.returned_at for o in writes if o.returned_at is not None))


def next_write(begin: float, end: float, answered: Iterable[Operation]) -> float:
    """From `begin` until a write is acknowledged that was called after it; at most until `end`."""
    called_after = (operation for operation in answered if operation.called_at >= begin)
    return min((*accepted(called_after), end)) - begin


def slowest(answered: Iterable[Operation]) -> float:
    """The longest that a client waited for an answer."""
    known = (operation for operation in answered if operation.returned_at is not None)
    return max((o.returned_at - o.called_at for o in known if o.returned_at is not None), default=0)


def progress(number: int, total: int | None, outcome: Outcome) -> str:
    """One line when a fault is over."""
    of = f"{number}/{total}" if total else str(number)
    moved = f"{outcome.before} -> {outcome.after}"
    return (
        f"{of:>7}  {outcome.kind.value:<31}{moved:<10}  next write {outcome.next_write:.2f} s, "
        f"at most {outcome.without_write:.2f} s without one, elections: {outcome.elections}"
    )


def render(report: Report) -> str:
    """Counts, figures, and the verdict."""
    writes = [operation for operation in report.history if operation.kind is Kind.WRITE]
    unknown = sum(operation.returned_at is None for operation in writes)
    kinds = Counter(outcome.kind for outcome in report.outcomes)
    lines = [
        f"seed {report.seed}: {len(report.outcomes)} faults in {report.seconds / 60:.1f} min",
        f"  {'':<36}  {'next write after, s':>24} {'without':>8} {'elections':>10} {'slowest':>7}",
        f"  {'fault':<31}{'count':>5}  {'median':>8} {'90 %':>7} {'worst':>7} {'one':>8} "
        f"{'per fault':>10} {'answer':>7}  target",
    ]
    lines += [_row(kind, report) for kind in plan.Kind if kinds[kind]]
    lines += [
        f"  {len(writes) - unknown} writes acknowledged, {unknown} with unknown outcome, "
        f"{len(report.history) - len(writes)} reads",
        "  errors told to clients: " + (_errors(report.errors) or "none"),
    ]
    lines += [f"  FAILED: {failure}" for failure in report.failures]
    if not report.failures:
        lines.append("  linearizable, nothing lost, managers equal")
    return "\n".join(lines)


def _row(kind: plan.Kind, report: Report) -> str:
    outcomes = [outcome for outcome in report.outcomes if outcome.kind is kind]
    times = sorted(outcome.next_write for outcome in outcomes)
    ninth = times[math.ceil(len(times) * 0.9) - 1]
    gap = max(outcome.without_write for outcome in outcomes)
    elections = statistics.mean(outcome.elections for outcome in outcomes)
    answer = max(outcome.slowest_answer for outcome in outcomes)
    return (
        f"  {kind.value:<31}{len(times):5}  {statistics.median(times):8.2f} {ninth:7.2f} "
        f"{times[-1]:7.2f} {gap:8.2f} {elections:10.2f} {answer:7.2f}  {_verdict(kind, times)}"
    ).rstrip()


def _verdict(kind: plan.Kind, times: Sequence[float]) -> str:
    if not plan.hurts_leader_alone(kind):
        return ""
    good = statistics.median(times) <= plan.TARGET_MEDIAN and max(times) <= plan.TARGET_WORST
    return "met" if good else "missed"


def _errors(errors: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(errors.items()))
