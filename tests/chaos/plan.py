"""Which faults come, in which order, and how long that may take. Pure.

A counted plan has so many of each kind, shuffled; a timed one goes round all kinds until its time
is over. Both depend on nothing but the seed.
"""

import random
from collections.abc import Iterator, Mapping
from enum import Enum


class Kind(Enum):
    """One kind of fault, as it is called in the report."""

    LEADER_KILLED = "leader killed"
    ALL_KILLED = "all managers killed"
    CUT = "leader cut off"
    CUT_IN = "leader cut off, incoming only"
    CUT_OUT = "leader cut off, outgoing only"
    STOPPED = "leader stopped (SIGSTOP)"
    LEADER_DISK_FULL = "disk full, leader's"
    FOLLOWER_DISK_FULL = "disk full, a follower's"
    TORN = "leader killed, journal torn"


CUTS = (Kind.CUT, Kind.CUT_IN, Kind.CUT_OUT)
FULL_DISKS = (Kind.LEADER_DISK_FULL, Kind.FOLLOWER_DISK_FULL)

SECONDS = {
    Kind.LEADER_KILLED: 6.0,
    Kind.ALL_KILLED: 10.0,
    Kind.CUT: 6.0,
    Kind.CUT_IN: 6.0,
    Kind.CUT_OUT: 6.0,
    Kind.STOPPED: 6.0,
    Kind.LEADER_DISK_FULL: 8.0,
    Kind.FOLLOWER_DISK_FULL: 8.0,
    Kind.TORN: 7.0,
}
"""What one takes on a busy machine, from the cluster's being whole until it is whole again."""
TARGET_MEDIAN, TARGET_WORST = 0.6, 1.0
"""Seconds without a write when the leader alone is hurt."""
MARGIN = 2.0
"""So many times that is the bound of a counted plan."""


def hurts_leader_alone(kind: Kind) -> bool:
    """A majority is unharmed, and a new leader can be had at once."""
    return kind not in (Kind.ALL_KILLED, Kind.FOLLOWER_DISK_FULL)


def of_group(kinds: tuple[Kind, ...], count: int) -> dict[Kind, int]:
    """So many in all, in equal parts; the first kinds get what is left over."""
    whole, rest = divmod(count, len(kinds))
    return {kind: whole + (number < rest) for number, kind in enumerate(kinds)}


def counted(counts: Mapping[Kind, int], chance: random.Random) -> tuple[Kind, ...]:
    """So many of each kind, in an order by chance."""
    kinds = [kind for kind in Kind for _ in range(counts.get(kind, 0))]
    chance.shuffle(kinds)
    return tuple(kinds)


def endless(kinds: tuple[Kind, ...], chance: random.Random) -> Iterator[Kind]:
    """All kinds in an order by chance, and again; the leader is killed twice as often."""
    while True:
        bag = [*kinds, Kind.LEADER_KILLED]
        chance.shuffle(bag)
        yield from bag


def seconds_max(kinds: tuple[Kind, ...]) -> float:
    """The time after which a counted plan is given up."""
    return MARGIN * sum(SECONDS[kind] for kind in kinds)
