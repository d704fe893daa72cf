from dataclasses import replace

from tests.chaos import calm
from tests.chaos.calm import Calm, Interval, Sample

BEFORE = Sample(pid=10, term=3, elections_won=1, sync_p99=0.004)
QUIET = Calm(
    seconds=3600.0,
    share=0.25,
    first={"m1": BEFORE, "m2": BEFORE},
    last={"m1": BEFORE, "m2": BEFORE},
    intervals=(
        Interval(seconds=1200, load=0.9, busy=0.6, elections=0),
        Interval(seconds=600, load=1.0, busy=0.7, elections=0),
        Interval(seconds=1800, load=1.9, busy=0.9, elections=0),
    ),
    writes=36000,
    longest_gap=0.25,
    errors=(),
)


def test_a_manager_is_read_from_its_metrics() -> None:
    text = """\
4711
HTTP/1.1 200 OK

# TYPE warren_raft_term gauge
warren_raft_term 3
warren_raft_elections_won_total 1
warren_raft_sync_seconds{quantile="0.5"} 0.001
warren_raft_sync_seconds{quantile="0.99"} 0.004
"""

    assert calm.parse(text) == replace(BEFORE, pid=4711)


def test_an_hour_without_elections_passes() -> None:
    assert QUIET.passed
    assert calm.render(QUIET).splitlines() == [
        "60 min without a fault, 25% of each processor taken away",
        "  36000 writes, at most 0.25 s without one",
        "  load average per processor, minutes, processors busy, elections",
        "    0 to 1        20.0    60%    0",
        "    1 to 2        40.0    80%    0",
        "  m1: 0 elections won, term 3 to 3, sync of the journal 4.0 ms (99 %)",
        "  m2: 0 elections won, term 3 to 3, sync of the journal 4.0 ms (99 %)",
        "  no false election",
    ]


def test_a_term_that_nobody_won_is_an_election_too() -> None:
    seen = replace(QUIET, last={"m1": replace(BEFORE, term=5), "m2": BEFORE})

    assert not seen.passed
    assert calm.render(seen).splitlines()[-1] == "  FAILED: 2 false elections"


def test_a_restart_does_not_hide_elections() -> None:
    seen = replace(QUIET, last={"m1": replace(BEFORE, pid=11, elections_won=0), "m2": BEFORE})

    assert not seen.passed
    assert "  FAILED: m1 was restarted" in calm.render(seen).splitlines()
