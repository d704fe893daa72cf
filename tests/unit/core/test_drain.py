"""How a task leaves traffic before it is stopped."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from warren.core import drain, reconcile
from warren.core.decisions import Decision
from warren.model.nodes import NodeState
from warren.model.services import Port
from warren.model.tasks import DesiredState, Health, Task, TaskState
from warren.state.apply import apply
from warren.state.cluster import ClusterState
from warren.state.commands import Batch, SetTaskDesired, WithdrawTask
from warren.testing.builders import a_node, a_service, a_state, a_task, at, counting_ids

WEB = a_service(replicas=0, ports=(Port(target=80),), drain_delay=timedelta(seconds=2))
TASK = replace(
    a_task(1, "w1", desired=DesiredState.DRAINING, spec=WEB.spec),
    version=90,
    draining_since=at(0),
)
WITHDRAWN = replace(TASK, withdrawn_at=at(1))
EVERYONE = {"w1": 90, "w2": 95}


def a_draining_state(task: Task = TASK, w2: NodeState = NodeState.READY) -> ClusterState:
    return a_state(nodes=[a_node("w1"), a_node("w2", state=w2)], services=[WEB], tasks=[task])


def withdraw(seconds: float) -> WithdrawTask:
    return WithdrawTask(task_id=TASK.id, now=at(seconds))


STOP = SetTaskDesired(task_id=TASK.id, desired=DesiredState.STOPPED)


def test_waits_for_every_node_that_is_there() -> None:
    state = a_draining_state()

    behind = drain.decide(state, at(1), {"w1": 90, "w2": 89})
    carried = drain.decide(state, at(1), EVERYONE)

    assert behind == Decision(wake_at=at(3), awaits=frozenset({90}))
    assert carried == Decision(commands=(withdraw(1),), wake_at=at(3))


def test_names_the_nodes_that_it_waits_for() -> None:
    nodes = drain.waiting_for(a_draining_state(), TASK, {"w2": 95})

    assert [node.spec.name for node in nodes] == ["w1"]


def test_does_not_wait_for_a_node_that_is_down() -> None:
    state = a_draining_state(w2=NodeState.DOWN)

    assert drain.decide(state, at(1), {"w1": 90}).commands == (withdraw(1),)


def test_a_node_that_hangs_is_waited_for_no_longer_than_drain_timeout() -> None:
    state = a_draining_state()

    waits = Decision(wake_at=at(3), awaits=frozenset({90}))
    assert drain.decide(state, at(2.9), {}) == waits
    assert drain.decide(state, at(3), {}) == Decision(commands=(withdraw(3),), wake_at=at(5))


def test_open_connections_have_the_drain_delay() -> None:
    state = a_draining_state(WITHDRAWN)

    assert drain.decide(state, at(2.9), EVERYONE) == Decision(wake_at=at(3))
    assert drain.decide(state, at(3), EVERYONE) == Decision(commands=(STOP,))


def test_without_a_drain_delay_it_is_stopped_at_once() -> None:
    hurried = replace(TASK, template=replace(TASK.template, drain_delay=timedelta()))
    state = replace(a_draining_state(), tasks={TASK.id: hurried})

    decision = drain.decide(state, at(1), EVERYONE)

    assert decision == Decision(commands=(withdraw(1), STOP))


def test_what_is_said_to_be_restarting_is_drained_as_what_runs() -> None:
    """It may run again, and its own node may have sent it connections, before that node hears."""
    restarting = replace(TASK.status, state=TaskState.RESTARTING)

    behind = drain.decide(a_draining_state(replace(TASK, status=restarting)), at(1), {})
    withdrawn = drain.decide(
        a_draining_state(replace(WITHDRAWN, status=restarting)), at(2.9), EVERYONE
    )

    assert behind == Decision(wake_at=at(3), awaits=frozenset({90}))
    assert withdrawn == Decision(wake_at=at(3))


def test_what_has_ended_is_over() -> None:
    ended = replace(TASK, status=replace(TASK.status, state=TaskState.STOPPED))

    assert drain.decide(a_draining_state(ended), at(9), {}) == Decision()


def test_only_what_may_have_connections_must_be_drained() -> None:
    running, unproven = a_task(1, "w1"), a_task(1, "w1", health=Health.STARTING)

    assert drain.must_drain(WEB, running)
    assert not drain.must_drain(WEB, unproven)
    assert not drain.must_drain(a_service(), running)
    assert not drain.must_drain(WEB, a_task(1, "w1", state=TaskState.STARTING))


MOMENTS = st.lists(
    st.tuples(
        st.floats(0, 1.5),
        st.sampled_from(["w1", "w2", "w1 is down", "a new leader", "health"]),
    ),
    max_size=12,
)


@given(MOMENTS)
def test_is_stopped_after_all_have_carried_or_the_time_is_over(
    moments: list[tuple[float, str]],
) -> None:
    """Whatever happens meanwhile, and in whatever hands the lead is: never early, and always."""
    state, seconds, carried = a_draining_state(), 0.0, dict[str, int]()
    withdrawn = stopped = None
    for pause, event in [*moments, *[(1.0, "nothing")] * 8]:
        seconds += pause
        state, carried = _happened(state, carried, event)
        contacts = {
            node_id: at(seconds) for node_id in state.nodes if event != f"{node_id} is down"
        }
        decision = reconcile.reconcile(state, at(seconds), counting_ids(), contacts, carried)
        behind = drain.waiting_for(state, state.tasks[TASK.id], carried)
        for command in decision.commands:
            if isinstance(command, WithdrawTask):
                assert not behind or seconds >= 3
                withdrawn = seconds
            if command == STOP:
                assert withdrawn is not None
                assert seconds >= withdrawn + 2
                stopped = seconds
        state = apply(state, Batch(commands=decision.commands))[0]
    assert stopped is not None or state.tasks[TASK.id].status.state is TaskState.LOST


def _happened(
    state: ClusterState, carried: dict[str, int], event: str
) -> tuple[ClusterState, dict[str, int]]:
    match event:
        case "w1" | "w2":
            return state, {**carried, event: state.index}
        case "a new leader":
            return state, {}
        case "health":
            task = state.tasks[TASK.id]
            status = replace(task.status, health=Health.UNHEALTHY)
            task = replace(task, status=status, version=state.index)
            return replace(state, tasks={task.id: task}), carried
        case _:
            return state, carried
