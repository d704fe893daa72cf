"""The checker of histories: what it must find, and what it must not."""

import random

from warren.testing.linearizability import Kind, Operation, unexplained


def test_a_read_may_see_either_side_of_a_write_that_overlaps_it() -> None:
    for seen in ("a", "b"):
        history = [write("a", 0, 1), write("b", 2, 5), read(seen, 3, 4)]
        assert unexplained(history) == {}


def test_a_read_after_a_write_must_see_it() -> None:
    history = [write("a", 0, 1), write("b", 2, 3), read("a", 4, 5)]

    assert unexplained(history) == {"x": 2}


def test_reads_never_go_back() -> None:
    history = [write("a", 0, 1), write("b", 2, 9), read("b", 3, 4), read("a", 5, 6)]

    assert unexplained(history) == {"x": 3}


def test_a_write_that_nobody_knows_the_end_of_may_show_late_or_never() -> None:
    lost = write("b", 2, None)

    assert unexplained([write("a", 0, 1), lost, read("a", 3, 4), read("b", 50, 51)]) == {}
    assert unexplained([write("a", 0, 1), lost, read("a", 3, 4), read("a", 50, 51)]) == {}
    assert unexplained([write("a", 0, 1), lost, read("b", 3, 4), read("a", 50, 51)]) == {"x": 2}


def test_of_two_swaps_from_the_same_value_one_succeeds() -> None:
    first = write("a", 0, 1)

    assert unexplained([first, swap("a", "b", True, 2, 5), swap("a", "c", False, 3, 6)]) == {}
    assert unexplained([first, swap("a", "b", True, 2, 5), swap("a", "c", True, 3, 6)]) == {"x": 2}


def test_keys_are_judged_one_by_one() -> None:
    history = [write("a", 0, 1, key="good"), write("a", 0, 1), read("z", 2, 3)]

    assert unexplained(history) == {"x": 1}


def test_histories_of_a_real_register_are_explained_and_stale_reads_found() -> None:
    for seed in range(20):
        assert unexplained(a_history(seed, stale=0.0)) == {}
    assert all(unexplained(a_history(seed, stale=0.2)) for seed in range(20))


def a_history(seed: int, stale: float) -> list[Operation]:
    """Five clients on one register; each call takes effect at a moment between its ends."""
    chance = random.Random(seed)
    moments = []
    for client in range(5):
        time = chance.random()
        for number in range(40):
            called, effect = time, time + chance.random()
            time = effect + chance.random()
            moments.append((effect, called, time, client, number))
    state: str | None = None
    older: str | None = None
    history = []
    for _, called, returned, client, number in sorted(moments):
        if chance.random() < 0.5:
            seen = older if chance.random() < stale else state
            history.append(read(seen, called, returned))
        else:
            state = f"{client}-{number}"
            older = older or state
            history.append(write(state, called, returned))
    return history


def write(value: str, called: float, returned: float | None, key: str = "x") -> Operation:
    return Operation(key=key, kind=Kind.WRITE, called_at=called, returned_at=returned, value=value)


def read(value: str | None, called: float, returned: float) -> Operation:
    return Operation(key="x", kind=Kind.READ, called_at=called, returned_at=returned, value=value)


def swap(expected: str, value: str, succeeded: bool, called: float, returned: float) -> Operation:
    return Operation(
        key="x",
        kind=Kind.SWAP,
        called_at=called,
        returned_at=returned,
        value=value,
        expected=expected,
        succeeded=succeeded,
    )
