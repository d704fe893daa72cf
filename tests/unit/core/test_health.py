"""Health from the results of checks: the thresholds, the start, and when to check again."""

import itertools
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from warren.core import health
from warren.core.health import Outcome, Record
from warren.model.services import HealthCheck, HttpCheck
from warren.model.tasks import Health

START = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
CHECK = HealthCheck(http=HttpCheck(), interval=5 * SECOND, retries=3)
BAD = "GET /healthz on 10.88.1.5:8080: 503"


def good(at: float) -> Outcome:
    return Outcome(healthy=True, at=START + at * SECOND)


def bad(at: float, output: str = BAD) -> Outcome:
    return Outcome(healthy=False, output=output, at=START + at * SECOND)


def after(*outcomes: Outcome, check: HealthCheck = CHECK, record: Record | None = None) -> Record:
    record = record or Record()
    for outcome in outcomes:
        record = health.take(check, record, outcome, START)
    return record


def test_the_first_good_check_makes_a_task_healthy() -> None:
    assert after(good(0.1)) == Record(
        health=Health.HEALTHY, since=START + 0.1 * SECOND, been_good=True, good=1
    )


def test_a_task_is_healthy_only_after_as_many_good_checks_in_a_row_as_asked_for() -> None:
    check = replace(CHECK, success_threshold=3)

    records = [
        after(*outcomes, check=check).health
        for outcomes in (
            [good(0), good(5)],
            [good(0), good(5), bad(10), good(15), good(20)],
            [good(0), good(5), good(10)],
        )
    ]

    assert records == [Health.STARTING, Health.STARTING, Health.HEALTHY]


def test_a_healthy_task_is_unhealthy_after_its_retries_and_one_good_check_begins_anew() -> None:
    steady = after(good(0), bad(5), bad(10), good(15), bad(20), bad(25))

    fallen = after(bad(30), record=steady)

    assert (steady.health, steady.bad, steady.output) == (Health.HEALTHY, 2, BAD)
    assert (fallen.health, fallen.since) == (Health.UNHEALTHY, START + 30 * SECOND)
    assert health.explain(fallen) == "unhealthy: GET /healthz on 10.88.1.5:8080: 503 (3 times)"


def test_a_verdict_is_final() -> None:
    fallen = after(bad(5), check=replace(CHECK, retries=1))

    assert after(good(10), check=replace(CHECK, retries=1), record=fallen) == fallen
    assert health.next_at(CHECK, fallen, "web-1-abcde", START, START) is None
    assert health.explain(fallen) == "unhealthy: GET /healthz on 10.88.1.5:8080: 503 (once)"


def test_bad_checks_of_a_start_count_once_per_interval() -> None:
    early = after(*(bad(at) for at in (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)))
    late = after(*(bad(at) for at in (0.1, 5, 6, 10, 14.9)))
    over = after(bad(15), record=late)

    assert (early.health, early.bad) == (Health.STARTING, 0)
    assert (late.health, late.bad) == (Health.STARTING, 2)
    assert over.health is Health.UNHEALTHY


def test_bad_checks_within_the_start_period_do_not_count_until_a_good_one() -> None:
    check = replace(CHECK, start_period=60 * SECOND, retries=1, success_threshold=2)

    slow = after(bad(5), bad(59), check=check)
    failed = after(bad(60), check=check, record=slow)
    fallen = after(good(10), bad(15), check=check)

    assert (slow.health, failed.health) == (Health.STARTING, Health.UNHEALTHY)
    assert fallen.health is Health.UNHEALTHY


def test_checks_come_early_until_the_first_good_one() -> None:
    times = [START + 0.02 * SECOND]
    while times[-1] - START < 5 * SECOND:
        at = health.next_at(CHECK, Record(), "web-1-abcde", START, times[-1])
        assert at is not None
        times.append(at)

    waits = [round((b - a) / SECOND, 2) for a, b in itertools.pairwise(times)]
    assert waits == [0.1, 0.12, 0.24, 0.48, 0.96, 1.92, 3.84]


def test_an_agent_checks_at_once_what_waits_to_become_healthy_and_others_in_their_turn() -> None:
    now = START + 20 * SECOND

    def first(record: Record, now: datetime) -> datetime | None:
        return health.first_at(CHECK, record, "web-1-abcde", START, now)

    assert first(Record(), START) == START + health.FIRST_AFTER
    assert first(Record(), now) == now
    assert first(after(good(0)), now) == health.next_at(
        CHECK, after(good(0)), "web-1-abcde", START, now
    )
    assert first(after(bad(5), check=replace(CHECK, retries=1)), now) is None


def test_checks_of_a_task_keep_their_turn_whenever_its_agent_starts() -> None:
    healthy = after(good(0))

    turns = {
        _turn(health.next_at(CHECK, healthy, "web-1-abcde", START, START + at * SECOND))
        for at in (1, 2.2, 3.3, 100, 86_400.123)
    }

    assert len(turns) == 1


def test_checks_of_many_tasks_are_spread_over_the_interval() -> None:
    healthy = after(good(0))

    turns = [
        _turn(health.next_at(CHECK, healthy, f"web-{slot}-{slot * 7919:05}", START, START))
        for slot in range(1000)
    ]

    tenths = [sum(int(turn / 0.5) == tenth for turn in turns) for tenth in range(10)]
    assert all(60 <= count <= 140 for count in tenths), tenths


def _turn(at: datetime | None) -> float:
    assert at is not None
    return round(((at - datetime(2000, 1, 1, tzinfo=UTC)) % CHECK.interval) / SECOND, 3)


# ------------------------------------------------------------------ properties

SECONDS = st.integers(1, 60).map(lambda seconds: seconds * SECOND)
CHECKS = st.builds(
    HealthCheck,
    http=st.just(HttpCheck()),
    interval=SECONDS,
    retries=st.integers(1, 5),
    start_period=st.integers(0, 120).map(lambda seconds: seconds * SECOND),
    success_threshold=st.integers(1, 5),
)
RESULTS = st.lists(st.booleans(), max_size=60)


def live(check: HealthCheck, results: Iterable[bool]) -> list[tuple[datetime, bool, Record]]:
    """Each check at its time, with its result and the record after it."""
    record, at, seen = Record(), START, []
    for healthy in results:
        following = health.next_at(check, record, "web-1-abcde", START, at)
        if following is None:
            break
        at = following
        record = health.take(check, record, Outcome(healthy=healthy, output="x", at=at), START)
        seen.append((at, healthy, record))
    return seen


@given(CHECKS, RESULTS)
def test_no_task_is_unhealthy_before_its_retries_within_their_time(
    check: HealthCheck, results: list[bool]
) -> None:
    seen = live(check, results)

    for at, _, record in seen:
        if record.health is Health.UNHEALTHY:
            assert [healthy for _, healthy, _ in seen[-check.retries :]] == [False] * check.retries
            assert record.bad == check.retries
            if not any(healthy for _, healthy, _ in seen):
                assert at - START >= max(check.start_period, check.interval * check.retries)


@given(CHECKS, RESULTS)
def test_a_task_is_healthy_only_after_its_good_checks(
    check: HealthCheck, results: list[bool]
) -> None:
    row = 0
    been_healthy = False
    for _, healthy, record in live(check, results):
        row = row + 1 if healthy else 0
        been_healthy = been_healthy or row >= check.success_threshold
        assert (record.health is Health.STARTING) == (
            not been_healthy and record.bad < check.retries
        )
        assert bool(record.output) != healthy


@given(CHECKS, RESULTS)
def test_checks_are_never_closer_than_a_tenth_of_a_second_or_further_than_one_and_a_half_intervals(
    check: HealthCheck, results: list[bool]
) -> None:
    times = [START, *(at for at, _, _ in live(check, results))]

    waits = [b - a for a, b in itertools.pairwise(times)]
    assert all(health.FIRST_AFTER <= wait <= check.interval * 1.5 for wait in waits)


@given(CHECKS, st.integers(1, 5))
def test_a_task_that_never_gets_healthy_is_given_up_in_time(
    check: HealthCheck, retries: int
) -> None:
    check = replace(check, retries=retries)

    seen = live(check, [False] * 500)

    assert seen[-1][2].health is Health.UNHEALTHY
    assert seen[-1][0] - START <= check.start_period + check.interval * (2 * retries + 2)


@pytest.mark.parametrize("jump", [-86_400, -30, 30, 86_400])
@given(check=CHECKS)
def test_a_clock_that_jumps_holds_up_no_verdict(jump: int, check: HealthCheck) -> None:
    check = replace(check, start_period=timedelta())
    record = after(*(bad(at) for at in range(100)), check=replace(check, retries=100))
    assert record.health is Health.STARTING

    at = START + jump * SECOND
    for _ in range(2 * check.retries + 60):
        at += check.interval
        record = health.take(check, record, Outcome(healthy=False, output="x", at=at), START)

    assert record.health is Health.UNHEALTHY
