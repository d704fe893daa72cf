"""From the results of checks to the health of a task's attempt, and when to check again. Pure.

Called by `core/task.py` with each result, and by `worker/probing.py` for the time of the next
check. Until the first good check they come early (after 0.1 s, 0.2 s, 0.4 s, …), so that a task
receives traffic as soon as it can; the bad ones among these count once per interval, so that this
costs a slow starter nothing. Then they come once per interval, those of different tasks spread over
it by their ids, also after a restart of the agent.
"""

import zlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from warren.model.services import HealthCheck
from warren.model.tasks import Health

FIRST_AFTER = timedelta(milliseconds=100)
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What the checks of one attempt have shown. UNHEALTHY is final: the attempt is ended."""

    health: Health = Health.STARTING
    since: datetime | None = None
    """When it became HEALTHY or UNHEALTHY."""
    been_good: bool = False
    good: int = 0
    """Good checks in a row; not counted beyond the threshold."""
    bad: int = 0
    """Bad checks in a row that count."""
    counted_at: datetime | None = None
    """Time of the last bad check that counted, while none has been good."""
    output: str = ""
    """What the last check said, if it was bad."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one check."""

    healthy: bool
    output: str = ""
    at: datetime


def take(check: HealthCheck, record: Record, outcome: Outcome, started_at: datetime) -> Record:
    """The record with one more result; `started_at` is the start of the attempt."""
    if record.health is Health.UNHEALTHY:
        return record
    if outcome.healthy:
        return _with_good(check, record, outcome.at)
    return _with_bad(check, record, outcome, started_at)


def first_at(
    check: HealthCheck, record: Record, task_id: str, started_at: datetime, now: datetime
) -> datetime | None:
    """When to begin the first check that this agent makes of the attempt: of one that waits to
    become healthy at once, of others in their turn."""
    if record.been_good or record.health is Health.UNHEALTHY:
        return next_at(check, record, task_id, started_at, now)
    return min(max(started_at + FIRST_AFTER, now), now + check.interval)


def next_at(
    check: HealthCheck, record: Record, task_id: str, started_at: datetime, begun_at: datetime
) -> datetime | None:
    """When to begin the check after the one begun at `begun_at`; None: the verdict is final.

    May lie in the past, if the last one took long. Never further away than an interval and a half.
    """
    if record.health is Health.UNHEALTHY:
        return None
    ran_for = begun_at - started_at
    if not record.been_good and timedelta() <= ran_for < check.interval:
        return begun_at + min(max(ran_for, FIRST_AFTER), check.interval)
    offset = check.interval * (zlib.crc32(task_id.encode()) / 2**32)
    earliest = begun_at + check.interval / 2
    turns = -((_EPOCH + offset - earliest) // check.interval)
    return _EPOCH + offset + turns * check.interval


def verdict(record: Record) -> Record:
    """What of the record outlives the agent: the verdict, and why."""
    match record.health:
        case Health.HEALTHY:
            return Record(health=record.health, since=record.since, been_good=True)
        case Health.UNHEALTHY:
            return replace(record, been_good=False, counted_at=None)
        case _:
            return Record()


def explain(record: Record) -> str:
    """`unhealthy: GET /healthz on 10.88.1.5:8080: 503 (3 times)`."""
    times = "once" if record.bad == 1 else f"{record.bad} times"
    return f"unhealthy: {record.output} ({times})"


def _with_good(check: HealthCheck, record: Record, at: datetime) -> Record:
    good = min(record.good + 1, check.success_threshold)
    record = replace(record, been_good=True, good=good, bad=0, counted_at=None, output="")
    if record.health is Health.HEALTHY or good < check.success_threshold:
        return record
    return replace(record, health=Health.HEALTHY, since=at)


def _with_bad(check: HealthCheck, record: Record, outcome: Outcome, started_at: datetime) -> Record:
    record = replace(record, good=0, output=outcome.output)
    if not _counts(check, record, outcome.at, started_at):
        return record
    counted_at = None if record.been_good else outcome.at
    record = replace(record, bad=record.bad + 1, counted_at=counted_at)
    if record.bad < check.retries:
        return record
    return replace(record, health=Health.UNHEALTHY, since=outcome.at)


def _counts(check: HealthCheck, record: Record, at: datetime, started_at: datetime) -> bool:
    """Differences are taken without their sign: a clock that was set back delays no verdict by
    more than the period in question."""
    if record.been_good:
        return True
    if abs(at - started_at) < check.start_period:
        return False
    return abs(at - (record.counted_at or started_at)) >= check.interval
