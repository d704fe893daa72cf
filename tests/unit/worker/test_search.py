"""The search for the leader, which is pure."""

from datetime import timedelta

from warren.worker import search
from warren.worker.search import Search

MANAGERS = ("m1:7443", "m2:7443", "m3:7443")
MS = timedelta(milliseconds=1)


def test_begins_with_the_first_manager_at_once() -> None:
    begun = search.begin(MANAGERS)

    assert begun == Search(managers=MANAGERS, target="m1:7443")
    assert begun.wait(0.5) == timedelta()


def test_goes_around_all_managers() -> None:
    now = search.begin(MANAGERS)
    tried = []
    for _ in range(4):
        tried.append(now.target)
        now = search.fail(now)

    assert tried == ["m1:7443", "m2:7443", "m3:7443", "m1:7443"]


def test_waits_longer_after_each_failure_up_to_two_seconds() -> None:
    now = search.begin(MANAGERS)
    waits = []
    for _ in range(7):
        now = search.fail(now)
        waits.append((now.wait(0), now.wait(1)))

    longest = [100 * MS, 200 * MS, 400 * MS, 800 * MS, 1600 * MS, 2000 * MS, 2000 * MS]
    assert waits == [(wait / 2, wait) for wait in longest]


def test_a_named_leader_is_tried_at_once() -> None:
    now = search.redirect(search.begin(MANAGERS), "m4:7443")

    assert (now.target, now.wait(1)) == ("m4:7443", timedelta())


def test_managers_that_point_at_each_other_are_tried_ever_more_slowly() -> None:
    now = search.begin(MANAGERS)
    waits = []
    for leader in ("m2:7443", "m1:7443", "m2:7443"):
        now = search.redirect(now, leader)
        waits.append(now.wait(1))

    assert waits == [timedelta(), 100 * MS, 200 * MS]


def test_a_session_clears_the_failures() -> None:
    failed = search.fail(search.fail(search.begin(MANAGERS)))

    assert search.connected(failed) == Search(managers=MANAGERS, target="m3:7443")


def test_after_a_leader_that_is_no_longer_a_manager_the_first_one_is_tried() -> None:
    gone = search.learn(search.redirect(search.begin(MANAGERS), "m9:7443"), MANAGERS[1:])

    assert search.fail(gone).target == "m2:7443"


def test_no_managers_teach_nothing() -> None:
    begun = search.begin(MANAGERS)

    assert search.learn(begun, ()) == begun


def test_without_any_manager_there_is_nothing_to_try_until_one_is_learned() -> None:
    nobody = search.begin(())

    assert nobody.target == ""
    assert search.learn(nobody, MANAGERS).target == "m1:7443"
