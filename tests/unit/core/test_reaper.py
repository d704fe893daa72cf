"""What the state forgets, and what it must not."""

from hypothesis import given
from hypothesis import strategies as st
from warren.core import orchestrator, reaper
from warren.core.decisions import Decision
from warren.model.tasks import DesiredState, Task, TaskState
from warren.state.apply import apply
from warren.state.commands import (
    CreateTask,
    ForgetService,
    RemoveJoinToken,
    RemoveTask,
)
from warren.testing.builders import (
    a_node,
    a_service,
    a_state,
    a_task,
    a_token,
    at,
    counting_ids,
)

HOUR, WEEK = 3600, 7 * 24 * 3600
LOST, FAILED, STOPPED = TaskState.LOST, TaskState.FAILED, TaskState.STOPPED


def ended(number: int, slot: int = 1, state: TaskState = LOST, since: float = 0) -> Task:
    return a_task(
        slot,
        "w1",
        id=f"web-{slot}-{number}",
        created_at=at(number),
        since=at(since),
        state=state,
        desired=DesiredState.RUNNING if state is FAILED else DesiredState.STOPPED,
    )


def test_keeps_the_newest_ended_tasks_of_each_slot() -> None:
    tasks = [ended(number, slot) for number in range(5) for slot in (1, 2)]
    state = a_state(services=[a_service(replicas=2)], tasks=[a_task(1, "w1"), *tasks])

    decision = reaper.decide(state, at(100))

    gone = ["web-1-0", "web-1-1", "web-2-0", "web-2-1"]
    assert decision == Decision(commands=tuple(RemoveTask(task_id=task_id) for task_id in gone))


def test_the_setting_says_how_many() -> None:
    state = a_state(services=[a_service()], tasks=[ended(1), ended(2)], task_history=1)

    assert reaper.decide(state, at(100)) == Decision(commands=(RemoveTask(task_id="web-1-1"),))


def test_keeps_the_failure_that_leaves_a_slot_empty_whatever_the_setting() -> None:
    """Without it the orchestrator would create the failing task again, and again."""
    state = a_state(services=[a_service()], tasks=[ended(1, state=FAILED)], task_history=0)

    assert reaper.decide(state, at(100)) == Decision()
    assert orchestrator.decide(state, at(100), counting_ids()) == Decision()


def test_a_failure_of_an_older_revision_is_history_like_any_other() -> None:
    state = a_state(
        services=[a_service(revision=2)], tasks=[ended(1, state=FAILED)], task_history=0
    )

    assert reaper.decide(state, at(100)) == Decision(commands=(RemoveTask(task_id="web-1-1"),))


def test_a_task_that_never_had_a_node_is_no_history() -> None:
    task = a_task(1, state=STOPPED, desired=DesiredState.STOPPED)
    state = a_state(services=[a_service()], tasks=[task])

    assert reaper.decide(state, at(100)) == Decision(commands=(RemoveTask(task_id=task.id),))


def test_history_of_slots_beyond_the_replicas_goes_after_an_hour() -> None:
    tasks = [ended(1, slot=2, since=0), ended(1, slot=3, since=10)]
    state = a_state(services=[a_service(replicas=1)], tasks=tasks)

    early = reaper.decide(state, at(HOUR - 1))
    late = reaper.decide(state, at(HOUR))

    assert early == Decision(wake_at=at(HOUR))
    assert late == Decision(commands=(RemoveTask(task_id="web-2-1"),), wake_at=at(HOUR + 10))


def test_forgets_a_removed_service_when_no_task_of_it_lives() -> None:
    state = a_state(
        services=[a_service(removing=True), a_service("db", removing=True), a_service("new")],
        tasks=[ended(1), a_task(1, "w1", service="db")],
    )

    decision = reaper.decide(state, at(100))

    assert decision == Decision(commands=(ForgetService(name="web"),))
    after, _ = apply(state, decision.commands[0])
    assert (set(after.services), set(after.tasks)) == ({"db", "new"}, {"db-1-r1"})


def test_expired_tokens_stay_for_a_week_so_that_they_can_be_called_expired() -> None:
    state = a_state(tokens=[a_token("aaaaaaaa"), a_token("bbbbbbbb", expires_at=at(50))])

    early = reaper.decide(state, at(100))
    late = reaper.decide(state, at(WEEK))

    assert early == Decision(wake_at=at(WEEK))
    assert late == Decision(commands=(RemoveJoinToken(token_id="aaaaaaaa"),), wake_at=at(WEEK + 50))


ENDED = st.builds(
    ended,
    st.integers(0, 20),
    st.integers(1, 4),
    st.sampled_from([LOST, FAILED, STOPPED, TaskState.COMPLETE]),
    st.integers(-2 * HOUR, 0),
)


@given(st.lists(ENDED, max_size=30), st.integers(0, 4), st.integers(0, 3))
def test_is_bounded_done_in_one_go_and_never_wakes_the_orchestrator(
    tasks: list[Task], replicas: int, history: int
) -> None:
    state = a_state(
        nodes=[a_node("w1")],
        services=[a_service(replicas=replicas)],
        tasks=tasks,
        task_history=history,
    )
    created_before = _created(orchestrator.decide(state, at(0), counting_ids()))

    after = state
    for command in reaper.decide(state, at(0)).commands:
        after, _ = apply(after, command)

    assert reaper.decide(after, at(0)).commands == ()
    assert len(after.tasks) <= 4 * (history + 1)
    assert _created(orchestrator.decide(after, at(0), counting_ids())) == created_before


def _created(decision: Decision) -> list[int]:
    return [c.task.slot for c in decision.commands if isinstance(c, CreateTask)]
