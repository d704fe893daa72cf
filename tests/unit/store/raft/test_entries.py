"""The log in memory."""

from warren.store.raft import members
from warren.store.raft.entries import Entry, Kind, Log
from warren.store.raft.members import Configuration, Member


def test_members_follow_what_is_added_and_what_is_forgotten() -> None:
    log = Log()
    log.append((of_members(1, "n1"), a_command(2), of_members(3, "n1", "n2"), a_command(4)))
    assert (log.configuration.ids, log.configuration_index) == (frozenset({"n1", "n2"}), 3)
    assert log.configuration_at(2).ids == {"n1"}

    log.truncate(3)

    assert (log.configuration.ids, log.configuration_index) == (frozenset({"n1"}), 1)
    assert (log.last_index, log.last_term) == (2, 1)


def test_a_snapshots_members_stay_when_the_log_is_cut_to_it() -> None:
    log = Log()
    log.append((of_members(1, "n1"), a_command(2), of_members(3, "n1", "n2"), a_command(4)))

    log.compact(2, (2, log.configuration_at(2)))
    log.truncate(3)

    assert (log.base_index, log.base_term, log.last_index) == (2, 1, 2)
    assert log.configuration.ids == {"n1"}


def test_a_restarted_log_knows_the_snapshot_and_nothing_else() -> None:
    log = Log()
    log.append((of_members(1, "n1"), a_command(2)))

    log.restart(50, 7, Configuration(members=(a_member("n3"),)))

    assert (log.base_index, log.last_index, log.last_term, len(log)) == (50, 50, 7, 0)
    assert [log.term_at(index) for index in (49, 50, 51)] == [None, 7, None]
    assert (log.configuration.ids, log.configuration_index) == (frozenset({"n3"}), 50)


def test_a_slice_is_bounded_by_count_and_by_bytes_but_for_its_first_entry() -> None:
    log = Log()
    log.append(tuple(Entry(n, 1, Kind.COMMAND, b"x" * 100) for n in range(1, 11)))

    assert indexes(log.slice(3, count=4, size_bytes=10_000)) == [3, 4, 5, 6]
    assert indexes(log.slice(3, count=9, size_bytes=250)) == [3, 4]
    assert indexes(log.slice(3, count=9, size_bytes=1)) == [3]
    assert indexes(log.slice(11, count=9, size_bytes=1)) == []
    assert log.size_between(3, 6) == 300


def test_sizes_are_right_after_the_beginning_was_forgotten() -> None:
    log = Log()
    log.append(tuple(Entry(n, 1, Kind.COMMAND, b"x" * n) for n in range(1, 11)))

    log.compact(4, (4, Configuration()))

    assert log.size_between(4, 6) == 5 + 6
    assert log.size_between(6, 10) == 7 + 8 + 9 + 10


def test_who_counts_by_a_configuration_that_may_yet_hold_may_count() -> None:
    log = Log()
    log.append((of_members(1, "n1", "n2"), a_command(2), of_members(3, "n1")))

    assert log.may_count("n2", commit=2)
    assert not log.may_count("n2", commit=3)
    assert not log.may_count("n9", commit=0)


def indexes(entries: tuple[Entry, ...]) -> list[int]:
    return [entry.index for entry in entries]


def a_member(node_id: str) -> Member:
    return Member(node_id=node_id, address=f"{node_id}:1", voter=True)


def a_command(index: int) -> Entry:
    return Entry(index, 1, Kind.COMMAND, b"x")


def of_members(index: int, *ids: str) -> Entry:
    configuration = Configuration(members=tuple(a_member(node_id) for node_id in ids))
    return Entry(index, 1, Kind.MEMBERS, members.to_bytes(configuration))
