from warren.testing.linearizability import Kind, Operation

from tests.chaos import figures, plan
from tests.chaos.figures import Outcome, Report


def an_operation(called_at: float, returned_at: float | None, kind: Kind = Kind.WRITE) -> Operation:
    return Operation(key="r", kind=kind, called_at=called_at, returned_at=returned_at, value="1")


def an_outcome(kind: plan.Kind, next_write: float, elections: int = 1) -> Outcome:
    return Outcome(
        kind=kind,
        begin=0.0,
        end=5.0,
        next_write=next_write,
        without_write=next_write + 0.1,
        slowest_answer=2 * next_write,
        elections=elections,
        before="m1",
        after="m2",
    )


def test_the_longest_gap_counts_from_the_fault_to_the_end_of_its_time() -> None:
    assert figures.longest_gap(10.0, [10.1, 10.7, 10.8], 11.0) == 10.7 - 10.1
    assert figures.longest_gap(10.0, [10.4, 10.5], 10.6) == 10.4 - 10.0
    assert figures.longest_gap(10.0, [9.0, 10.1], 13.0) == 13.0 - 10.1
    assert figures.longest_gap(10.0, [], 13.0) == 3.0


def test_only_writes_whose_outcome_is_known_are_accepted() -> None:
    answered = [
        an_operation(2.0, 3.0),
        an_operation(1.0, 2.0),
        an_operation(1.0, None),
        an_operation(1.0, 1.5, Kind.READ),
    ]

    assert figures.accepted(answered) == (2.0, 3.0)


def test_a_write_that_was_under_way_at_the_fault_is_not_the_next_one() -> None:
    answered = [an_operation(9.9, 10.2), an_operation(10.1, 10.4), an_operation(10.1, None)]

    assert round(figures.next_write(10.0, 13.0, answered), 6) == 0.4
    assert figures.next_write(10.0, 13.0, answered[:1]) == 3.0


def test_the_slowest_answer_is_of_writes_and_reads() -> None:
    answered = [an_operation(1.0, 1.5), an_operation(1.0, 3.0, Kind.READ), an_operation(0.0, None)]

    assert figures.slowest(answered) == 2.0
    assert figures.slowest([]) == 0.0


def test_the_report_has_a_line_for_each_kind_and_the_verdict() -> None:
    report = Report(
        seed=7,
        seconds=90.0,
        outcomes=(
            an_outcome(plan.Kind.LEADER_KILLED, 0.2),
            an_outcome(plan.Kind.LEADER_KILLED, 0.4, elections=2),
            an_outcome(plan.Kind.ALL_KILLED, 2.5),
            an_outcome(plan.Kind.CUT, 0.5),
        ),
        history=(an_operation(1.0, 2.0), an_operation(1.0, None), an_operation(1, 2, Kind.READ)),
        errors={"Unavailable": 3},
        failures=(),
    )

    assert (
        figures.render(report)
        == """\
seed 7: 4 faults in 1.5 min
                                             next write after, s  without  elections slowest
  fault                          count    median    90 %   worst      one  per fault  answer  target
  leader killed                      2      0.30    0.40    0.40     0.50       1.50    0.80  met
  all managers killed                1      2.50    2.50    2.50     2.60       1.00    5.00
  leader cut off                     1      0.50    0.50    0.50     0.60       1.00    1.00  met
  1 writes acknowledged, 1 with unknown outcome, 1 reads
  errors told to clients: 3 Unavailable
  linearizable, nothing lost, managers equal"""
    )


def test_only_a_lost_leader_alone_is_slow() -> None:
    killed = an_outcome(plan.Kind.LEADER_KILLED, 1.2)
    others = (an_outcome(plan.Kind.ALL_KILLED, 2.5), an_outcome(plan.Kind.CUT, 0.9))

    assert figures.slow((*others, killed)) == (killed,)


def test_a_failure_takes_the_verdict_away() -> None:
    report = Report(
        seed=7, seconds=1, outcomes=(), history=(), errors={}, failures=("managers differ",)
    )

    assert figures.render(report).splitlines()[-2:] == [
        "  errors told to clients: none",
        "  FAILED: managers differ",
    ]
