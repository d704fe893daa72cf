"""Tasks by node and service: followed from state to state, they are as if made anew."""

from hypothesis import given
from hypothesis import strategies as st
from warren.state import groups, maps
from warren.state.cluster import ClusterState
from warren.testing.builders import a_task

from tests.unit.strategies import states


@given(states(), states(), st.booleans(), st.booleans())
def test_following_finds_what_making_anew_does(
    one: ClusterState, other: ClusterState, one_large: bool, other_large: bool
) -> None:
    before = maps.bucketed(one.tasks) if one_large else one.tasks
    after = maps.bucketed(other.tasks) if other_large else other.tasks

    assert groups.advance(groups.begin(before), after) == groups.begin(after)
    assert groups.of(after) == groups.begin(after)


def test_what_few_changes_leave_is_shared() -> None:
    tasks = [a_task(slot, f"w{slot % 3}", service=f"s{slot % 7}") for slot in range(1, 100)]
    before = groups.begin({task.id: task for task in tasks})

    after = groups.advance(before, maps.without(before.tasks, tasks[0].id))

    assert after == groups.begin(after.tasks)
    shared = {name: tasks for name, tasks in after.by_service.items() if name != "s1"}
    assert all(tasks is before.by_service[name] for name, tasks in shared.items())


def test_tasks_of_a_service_and_on_a_node_come_by_id() -> None:
    tasks = [a_task(slot, f"w{slot % 2}") for slot in (3, 1, 2)]
    state = ClusterState(tasks={task.id: task for task in tasks})

    assert [task.slot for task in state.tasks_of("web")] == [1, 2, 3]
    assert [task.slot for task in state.tasks_on("w1")] == [1, 3]
    assert state.tasks_of("shop") == state.tasks_on("w9") == ()
