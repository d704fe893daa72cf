"""The restart policy: examples, then what holds for every policy and every run of bad luck."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from warren.core import restart
from warren.core.restart import Again, Ending, Enough, History
from warren.model.services import RestartCondition, RestartPolicy

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def test_waits_for_the_delay_before_the_first_restart() -> None:
    decision = restart.decide(RestartPolicy(), History(), Ending(at=NOW))

    assert decision == Again(at=NOW + SECOND, history=History(failures=1))


def test_waits_twice_as_long_each_time_up_to_the_longest_delay() -> None:
    policy = RestartPolicy(delay=SECOND, backoff=2.0, max_delay=5 * SECOND)

    delays = [restart.delay_after(policy, failures) for failures in (1, 2, 3, 4, 5)]

    assert delays == [SECOND, 2 * SECOND, 4 * SECOND, 5 * SECOND, 5 * SECOND]


def test_a_delay_is_never_longer_than_the_longest_however_often_it_failed() -> None:
    policy = RestartPolicy(backoff=10, max_delay=timedelta(minutes=1))

    assert restart.delay_after(policy, 1_000_000) == timedelta(minutes=1)


def test_no_delay_stays_no_delay() -> None:
    policy = RestartPolicy(delay=timedelta(), backoff=10)

    assert [restart.delay_after(policy, n) for n in (1, 9, 10_000)] == [timedelta()] * 3


def test_a_run_longer_than_the_window_clears_count_and_delay() -> None:
    policy = RestartPolicy(window=10 * SECOND, max_attempts=3)
    history = History(failures=7, restarts=(NOW - 2 * SECOND, NOW - SECOND))

    decision = restart.decide(policy, history, Ending(at=NOW, ran_for=11 * SECOND))

    assert decision == Again(at=NOW + SECOND, history=History(failures=1, restarts=(NOW,)))


def test_a_run_as_long_as_the_window_clears_nothing() -> None:
    policy = RestartPolicy(window=10 * SECOND)

    decision = restart.decide(policy, History(failures=1), Ending(at=NOW, ran_for=10 * SECOND))

    assert decision == Again(at=NOW + 2 * SECOND, history=History(failures=2))


def test_gives_up_after_as_many_restarts_as_allowed_within_the_window() -> None:
    policy = RestartPolicy(max_attempts=2, window=timedelta(minutes=10))
    restarts = (NOW - timedelta(minutes=9), NOW - timedelta(minutes=1))

    decision = restart.decide(policy, History(failures=2, restarts=restarts), Ending(at=NOW))

    assert decision == Enough(
        history=History(failures=3, restarts=restarts), reason="gave up after 2 restarts within 10m"
    )


def test_restarts_before_the_window_do_not_count() -> None:
    policy = RestartPolicy(max_attempts=1, window=timedelta(minutes=10))
    history = History(failures=1, restarts=(NOW - timedelta(minutes=11),))

    decision = restart.decide(policy, history, Ending(at=NOW))

    assert decision == Again(at=NOW + 2 * SECOND, history=History(failures=2, restarts=(NOW,)))


def test_a_success_is_not_restarted_on_failure_only() -> None:
    policy = RestartPolicy(condition=RestartCondition.ON_FAILURE)

    decision = restart.decide(policy, History(), Ending(at=NOW, succeeded=True))

    assert decision == Enough(history=History(failures=1))


def test_a_success_is_restarted_on_any_end() -> None:
    decision = restart.decide(RestartPolicy(), History(), Ending(at=NOW, succeeded=True))

    assert decision == Again(at=NOW + SECOND, history=History(failures=1))


def test_nothing_is_restarted_with_condition_none() -> None:
    policy = RestartPolicy(condition=RestartCondition.NONE)

    decision = restart.decide(policy, History(), Ending(at=NOW))

    assert decision == Enough(history=History(failures=1))


POLICIES = st.builds(
    RestartPolicy,
    condition=st.sampled_from(RestartCondition),
    delay=st.timedeltas(timedelta(), timedelta(hours=1)),
    backoff=st.floats(1, 10),
    max_delay=st.timedeltas(timedelta(), timedelta(hours=1)),
    max_attempts=st.integers(0, 5),
    window=st.timedeltas(SECOND, timedelta(hours=1)),
)


@given(POLICIES, st.lists(st.tuples(st.timedeltas(timedelta(), timedelta(hours=2)), st.booleans())))
def test_restarts_are_never_more_than_allowed_nor_later_than_allowed(
    policy: RestartPolicy, runs: list[tuple[timedelta, bool]]
) -> None:
    now, history = NOW, History()
    restarts = []

    for ran_for, succeeded in runs:
        now += ran_for
        decision = restart.decide(
            policy, history, Ending(at=now, ran_for=ran_for, succeeded=succeeded)
        )
        history = decision.history
        if isinstance(decision, Enough):
            break
        assert timedelta() <= decision.at - now <= policy.max_delay
        restarts.append(now)
        now = decision.at

    for begin in restarts:
        within = [at for at in restarts if begin <= at < begin + policy.window]
        long_run_between = any(ran_for > policy.window for ran_for, _ in runs)
        if policy.max_attempts and not long_run_between:
            assert len(within) <= policy.max_attempts
