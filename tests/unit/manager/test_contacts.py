"""A worker's silence is measured, not read from the clock on the wall."""

import asyncio
from datetime import timedelta

from warren.core.nodes import AWAY_MAX
from warren.core.reconcile import reconcile
from warren.manager.contacts import Contacts
from warren.testing.builders import NOON, a_node, a_state, counting_ids

from tests.unit.manager.manager_kit import Stopwatch

DAY = timedelta(days=1)


def test_a_contact_is_as_long_ago_as_has_passed() -> None:
    stopwatch = Stopwatch()
    contacts = Contacts(stopwatch.read)
    contacts.hear("w1", is_news=False)

    stopwatch.seconds += 3.0

    assert contacts.times(NOON) == {"w1": NOON - timedelta(seconds=3)}


def test_a_clock_that_jumps_a_day_takes_no_node_down() -> None:
    state = a_state(nodes=[a_node("w1")])
    contacts = Contacts(Stopwatch().read)
    contacts.hear("w1", is_news=False)

    for now in (NOON, NOON + DAY, NOON - DAY):
        decision = reconcile(state, now, counting_ids(), contacts.times(now))

        assert decision.commands == ()
        assert decision.wake_at is not None
        assert timedelta() < decision.wake_at - now < timedelta(minutes=1)


def test_a_silent_node_is_down_though_the_clock_was_set_back() -> None:
    state = a_state(nodes=[a_node("w1")])
    stopwatch = Stopwatch()
    contacts = Contacts(stopwatch.read)
    contacts.hear("w1", is_news=False)
    stopwatch.seconds += 60.0
    now = NOON - DAY

    decision = reconcile(state, now, counting_ids(), contacts.times(now))

    assert len(decision.commands) == 1


def test_a_node_whose_agent_is_restarted_is_missed_later() -> None:
    state = a_state(nodes=[a_node("w1")])
    stopwatch = Stopwatch()
    contacts = Contacts(stopwatch.read)
    contacts.hear("w1", is_news=False)
    contacts.excuse("w1", AWAY_MAX)

    def commands() -> int:
        return len(reconcile(state, NOON, counting_ids(), contacts.times(NOON)).commands)

    stopwatch.seconds += AWAY_MAX.total_seconds()
    back_in_time = commands()
    stopwatch.seconds += 60
    stays_away = commands()
    contacts.hear("w1", is_news=False)
    is_back = commands()

    assert (back_in_time, stays_away, is_back) == (0, 1, 0)


async def test_a_leader_that_stood_still_misses_nobody_for_that() -> None:
    state = a_state(nodes=[a_node("w1"), a_node("w2")])
    stopwatch = Stopwatch()
    contacts = Contacts(stopwatch.read)
    contacts.reset(["w1", "w2"])
    running = asyncio.create_task(contacts.run())
    await asyncio.sleep(0)

    stopwatch.seconds += 7.0
    contacts.hear("w1", is_news=False)
    decision = reconcile(state, NOON, counting_ids(), contacts.times(NOON))

    assert decision.commands == ()
    assert contacts.times(NOON) == {"w1": NOON, "w2": NOON - timedelta(seconds=0.5)}
    running.cancel()


def test_what_a_new_leader_assumes_was_heard_now() -> None:
    contacts = Contacts(Stopwatch().read)
    contacts.hear("w2", is_news=False)

    contacts.reset(["w1"])

    assert contacts.times(NOON) == {"w1": NOON}
