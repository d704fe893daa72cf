"""Who may become a manager, and who may stop being one."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from warren.core import managers
from warren.core.managers import Council
from warren.model.errors import FailedPrecondition
from warren.model.nodes import Node, NodeRole, NodeState
from warren.testing.builders import a_node, a_state, a_task

BOTH = (NodeRole.MANAGER, NodeRole.WORKER)
JUST_WORKER = (NodeRole.WORKER,)


def a_manager(number: int, state: NodeState = NodeState.READY) -> Node:
    return a_node(f"m{number}", roles=BOTH, number=number, state=state)


def a_council(voters: int, *, away: str = "") -> Council:
    everyone = frozenset(f"m{number}" for number in range(1, voters + 1))
    return Council(voters=everyone, reachable=everyone - set(away.split()))


def refusal_of_roles(
    nodes: list[Node], name: str, roles: tuple[NodeRole, ...], council: Council
) -> str:
    state = a_state(nodes=nodes)
    node = state.nodes[name]
    try:
        managers.check_roles(state, node, replace(node.spec, roles=roles), council)
    except FailedPrecondition as error:
        return str(error)
    return ""


def refusal_of_removal(
    nodes: list[Node], name: str, council: Council, *, force: bool = True
) -> str:
    state = a_state(nodes=nodes)
    try:
        managers.check_removal(state, state.nodes[name], council, force=force)
    except FailedPrecondition as error:
        return str(error)
    return ""


THREE = [a_manager(1), a_manager(2), a_manager(3)]
WORKER = a_node("w1", number=9)


def test_a_worker_that_is_ready_may_become_a_manager() -> None:
    assert refusal_of_roles([*THREE, WORKER], "w1", BOTH, a_council(3)) == ""


def test_a_worker_that_is_down_may_not() -> None:
    down = a_node("w1", number=9, state=NodeState.DOWN)

    refusal = refusal_of_roles([*THREE, down], "w1", BOTH, a_council(3))

    assert refusal == "w1 is down: only a node that is ready can become a manager"


def test_managers_change_one_at_a_time() -> None:
    nodes = [*THREE, a_manager(4), WORKER]
    sentence = (
        "m4 is still becoming a manager (is its daemon running?): managers change one at a time"
    )

    assert refusal_of_roles(nodes, "w1", BOTH, a_council(3)) == sentence
    assert refusal_of_roles(nodes, "m2", JUST_WORKER, a_council(3)) == sentence
    assert refusal_of_removal(nodes, "m2", a_council(3)) == sentence


def test_one_that_never_came_to_count_may_always_go() -> None:
    nodes = [*THREE, a_manager(4, NodeState.DOWN)]

    assert refusal_of_roles(nodes, "m4", JUST_WORKER, a_council(3, away="m2")) == ""
    assert refusal_of_removal(nodes, "m4", a_council(3, away="m2")) == ""


@pytest.mark.parametrize(
    ("name", "away", "refusal"),
    [
        ("m2", "", ""),
        ("m3", "m3", ""),
        ("m2", "m3", "removing m2 would leave 1 of 2 managers reachable, and 2 are needed"),
    ],
)
def test_a_majority_of_those_left_must_be_reachable(name: str, away: str, refusal: str) -> None:
    assert refusal_of_removal(THREE, name, a_council(3, away=away)) == refusal


def test_a_demotion_is_refused_in_its_own_words() -> None:
    refusal = refusal_of_roles(THREE, "m2", JUST_WORKER, a_council(3, away="m3"))

    assert refusal == "demoting m2 would leave 1 of 2 managers reachable, and 2 are needed"


def test_one_of_two_may_go_and_the_last_may_not() -> None:
    assert refusal_of_removal(THREE[:2], "m1", a_council(2)) == ""
    assert refusal_of_removal(THREE[:1], "m1", a_council(1)) == "m1 is the only manager"


def test_a_node_that_is_ready_leaves_by_force_only() -> None:
    nodes = [*THREE, WORKER]

    assert refusal_of_removal(nodes, "w1", a_council(3)) == ""
    assert refusal_of_removal(nodes, "w1", a_council(3), force=False) == (
        "w1 is ready: stop its daemons first, or use force"
    )


def test_a_node_with_tasks_stays_a_worker() -> None:
    state = a_state(nodes=THREE, tasks=[a_task(1, "m2"), a_task(2, "m2")])
    node = state.nodes["m2"]

    with pytest.raises(FailedPrecondition, match=r"^m2 has 2 tasks: drain it before it stops"):
        managers.check_roles(
            state, node, replace(node.spec, roles=(NodeRole.MANAGER,)), a_council(3)
        )


@given(voters=st.integers(2, 7), away=st.sets(st.integers(1, 7)), gone=st.integers(1, 7))
def test_what_is_allowed_leaves_a_majority(voters: int, away: set[int], gone: int) -> None:
    gone = min(gone, voters)
    council = a_council(voters, away=" ".join(f"m{number}" for number in away))
    nodes = [a_manager(number) for number in range(1, voters + 1)]

    refused = refusal_of_removal(nodes, f"m{gone}", council)

    left = council.voters - {f"m{gone}"}
    has_majority = 2 * len(left & council.reachable) > len(left)
    assert (refused == "") == has_majority
