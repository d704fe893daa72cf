import itertools
import random
from collections import Counter

from tests.chaos import plan
from tests.chaos.plan import Kind


def test_a_counted_plan_has_what_was_asked_for_and_nothing_else() -> None:
    counts = {Kind.LEADER_KILLED: 7, Kind.CUT: 2, Kind.TORN: 0}

    kinds = plan.counted(counts, random.Random(1))

    assert Counter(kinds) == {Kind.LEADER_KILLED: 7, Kind.CUT: 2}


def test_the_same_seed_gives_the_same_order_and_another_seed_another() -> None:
    counts = dict.fromkeys(Kind, 5)

    orders = [plan.counted(counts, random.Random(seed)) for seed in (1, 1, 2)]

    assert orders[0] == orders[1] != orders[2]


def test_a_group_is_divided_into_equal_parts() -> None:
    assert plan.of_group(plan.CUTS, 31) == {Kind.CUT: 11, Kind.CUT_IN: 10, Kind.CUT_OUT: 10}
    assert plan.of_group(plan.FULL_DISKS, 0) == dict.fromkeys(plan.FULL_DISKS, 0)


def test_an_endless_plan_comes_round_to_every_kind() -> None:
    faults = plan.endless(tuple(Kind), random.Random(1))

    round_of_all = Counter(itertools.islice(faults, len(Kind) + 1))

    assert round_of_all == {**dict.fromkeys(Kind, 1), Kind.LEADER_KILLED: 2}


def test_a_plan_is_bounded_by_twice_what_its_faults_take() -> None:
    assert plan.seconds_max((Kind.LEADER_KILLED, Kind.ALL_KILLED)) == 2 * (6 + 10)
