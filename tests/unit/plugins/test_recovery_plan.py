"""Which survivor is chosen, and what is said to be lost."""

from typing import Any

from ansible_collections.warren.core.plugins.filter.recovery_plan import recovery_plan

NAMES = {f"id{number}": f"m{number}" for number in range(1, 6)}


def a_log(number: int, last: int = 100, term: int = 4, *, managers: int = 3, **values: Any) -> Any:
    return {
        "node_id": f"id{number}",
        "has_log": True,
        "trouble": "",
        "kept": [],
        "written_at": "2026-06-01T12:00:00+00:00",
        "names": NAMES,
        "term": term,
        "last_index": last,
        "last_term": term,
        "committed_index": last,
        "members": [
            {"node_id": f"id{n}", "address": f"10.86.0.{n}:7445", "voter": True}
            for n in range(1, managers + 1)
        ],
        **values,
    }


def no_log(number: int, **values: Any) -> Any:
    return {**a_log(number), "has_log": False, **values}


def test_the_only_survivor_goes_on_and_what_the_dead_knew_is_lost() -> None:
    plan = recovery_plan({"m1": a_log(1, committed_index=98)})

    assert plan == {
        "survivor": "m1",
        "others": [],
        "removed": ["id2", "id3"],
        "given_up": ["m2", "m3"],
        "majority": False,
        "lossless": False,
        "lines": [
            "m1 has the best log that is left, and the cluster goes on from it: it ends with "
            "entry 100 of term 4, written at 2026-06-01T12:00:00Z. Entries 99 to 100 stay, "
            "whether or not those who asked for them were told that they are done",
            "what m2, m3 acknowledged after entry 100 is lost, if there was any: nobody who is "
            "left can tell",
        ],
    }


def test_a_newer_term_beats_a_longer_log() -> None:
    logs = {"m1": a_log(1, 120, 3, managers=5), "m2": a_log(2, 100, 4, managers=5)}

    plan = recovery_plan(logs)

    assert (plan["survivor"], plan["others"]) == ("m2", ["m1"])
    assert plan["lines"][1] == (
        "m1 ends with entry 120 of term 3: what it has beyond the common part was never "
        "acknowledged to anybody, and is dropped"
    )


def test_of_one_term_the_longer_log_is_chosen() -> None:
    logs = {"m1": a_log(1, 99, managers=5), "m2": a_log(2, 100, managers=5)}

    plan = recovery_plan(logs)

    assert (plan["survivor"], plan["removed"]) == ("m2", ["id3", "id4", "id5"])
    assert plan["lines"][1] == "m1 ends with entry 99 of term 4: it has nothing that is lost"


def test_half_of_an_even_number_loses_nothing() -> None:
    plan = recovery_plan({"m1": a_log(1, managers=4), "m2": a_log(2, managers=4)})

    assert (plan["majority"], plan["lossless"]) == (False, True)
    assert plan["lines"][-1] == (
        "nothing that was acknowledged is lost: m3, m4 could not acknowledge it alone"
    )


def test_a_majority_is_noticed() -> None:
    assert recovery_plan({"m1": a_log(1), "m2": a_log(2)})["majority"]


def test_a_damaged_log_does_not_count() -> None:
    plan = recovery_plan({"m1": a_log(1), "m2": no_log(2, trouble="journal-1 is damaged")})

    assert (plan["survivor"], plan["majority"], plan["others"]) == ("m1", False, ["m2"])
    assert plan["removed"] == ["id3"]
    assert plan["lines"][1] == "the log of m2 cannot be used: journal-1 is damaged"


def test_without_any_log_there_is_nothing_to_go_on_from() -> None:
    plan = recovery_plan({"m1": no_log(1, kept=["raft.before-x"])})

    assert plan["survivor"] == ""
    assert plan["lines"] == ["m1 has no log; raft.before-x is kept there"]


def test_an_interrupted_recovery_is_gone_on_with() -> None:
    alone = a_log(1, members=[{"node_id": "id1", "address": "10.86.0.1:7445", "voter": True}])

    plan = recovery_plan({"m1": alone, "m2": no_log(2)})

    assert (plan["survivor"], plan["majority"], plan["removed"]) == ("m1", True, [])
