"""What each command does to the state, what is refused, and what no command can break."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from warren.model.nodes import NodeState, NodeStatus
from warren.model.services import Service
from warren.model.tasks import DesiredState, TaskState
from warren.state import commands as c
from warren.state import invariants
from warren.state.apply import apply
from warren.state.cluster import ClusterState
from warren.testing.builders import (
    a_cluster,
    a_node,
    a_service,
    a_spec,
    a_state,
    a_task,
    a_token,
    at,
)

from tests.unit.strategies import COMMANDS, states


def rejected(state: ClusterState, command: c.Command) -> tuple[str, str]:
    """Reason and message; the state is as before but for its index."""
    after, outcome = apply(state, command)
    assert isinstance(outcome, c.Rejected)
    assert after == replace(state, index=state.index + 1)
    assert outcome.index == after.index
    return outcome.reason, outcome.message


def applied(state: ClusterState, *commands: c.Command) -> ClusterState:
    for command in commands:
        state, outcome = apply(state, command)
        assert outcome == c.Applied(index=state.index)
    return state


def status_of(task: object, state: TaskState) -> c.SetTaskStatus:
    known = a_task(1)
    return c.SetTaskStatus(task_id=known.id, status=replace(known.status, state=state))


class TestCluster:
    """The first command, and what is refused before it."""

    create = c.CreateCluster(cluster=a_cluster(), node=a_node("m1"))

    def test_begins_with_its_first_node(self) -> None:
        assert applied(ClusterState(), self.create) == ClusterState(
            index=1,
            cluster=replace(a_cluster(), version=1),
            nodes={"m1": replace(a_node("m1"), version=1)},
        )

    def test_is_created_once(self) -> None:
        expected = ("AlreadyExists", "this log holds cluster warren")
        assert rejected(applied(ClusterState(), self.create), self.create) == expected

    @pytest.mark.parametrize(
        "command",
        [
            c.PutService(spec=a_spec(), expected_version=0, now=at(0)),
            c.AddNode(node=a_node()),
            c.AddJoinToken(token=a_token()),
            c.RemoveTask(task_id="x"),
        ],
    )
    def test_comes_before_everything_else(self, command: c.Command) -> None:
        expected = ("FailedPrecondition", "there is no cluster yet")
        assert rejected(ClusterState(), command) == expected

    def test_settings_change_only_from_the_version_that_was_read(self) -> None:
        spec = a_cluster(name="other").spec
        state = a_state()

        stale = c.PutClusterSpec(spec=spec, expected_version=7)
        expected = ("Conflict", "cluster warren was changed: version 0, not 7")
        assert rejected(state, stale) == expected
        changed = applied(state, replace(stale, expected_version=0)).cluster
        assert changed == replace(a_cluster(name="other"), version=101)


class TestService:
    """Versions count changes, revisions count changes of the task template."""

    def put(self, version: int, **values: Any) -> c.PutService:
        return c.PutService(spec=a_spec(**values), expected_version=version, now=at(9))

    def test_is_created(self) -> None:
        state = applied(a_state(), self.put(0))

        service = Service(
            spec=a_spec(), version=101, revision=1, created_at=at(9), updated_at=at(9)
        )
        assert state == replace(a_state(services=[service]), index=101)

    def test_gets_a_revision_when_its_template_changes(self) -> None:
        before = a_service()

        after = applied(a_state(services=[before]), self.put(1, image="new")).services["web"]

        assert after == replace(
            before, spec=a_spec(image="new"), version=101, revision=2, updated_at=at(9)
        )

    def test_keeps_its_revision_when_only_replicas_change(self) -> None:
        after = applied(a_state(services=[a_service()]), self.put(1, replicas=5)).services["web"]

        assert (after.revision, after.version, after.spec.replicas) == (1, 101, 5)

    def test_is_not_changed_from_a_stale_read(self) -> None:
        expected = ("Conflict", "service web was changed: version 1, not 0")
        assert rejected(a_state(services=[a_service()]), self.put(0)) == expected

    def test_is_not_changed_while_it_is_removed(self) -> None:
        state = a_state(services=[a_service(removing=True)])

        expected = ("FailedPrecondition", "service web is being removed")
        assert rejected(state, self.put(1)) == expected

    def test_is_marked_when_it_is_removed_and_only_once(self) -> None:
        remove = c.RemoveService(name="web", expected_version=0, now=at(9))

        once = applied(a_state(services=[a_service()]), remove)
        twice = applied(once, remove)

        assert once.services["web"] == replace(
            a_service(removing=True), version=101, updated_at=at(9)
        )
        assert twice == replace(once, index=102)

    def test_is_forgotten_with_its_ended_tasks(self) -> None:
        ended = a_task(1, "gone", state=TaskState.LOST)
        other = a_task(1, "w1", service="db")
        state = a_state(
            nodes=[a_node()],
            services=[a_service(removing=True), a_service("db")],
            tasks=[ended, other],
        )

        after = applied(state, c.ForgetService(name="web"))

        assert (set(after.services), set(after.tasks)) == ({"db"}, {other.id})

    @pytest.mark.parametrize(
        ("removing", "message"),
        [(False, "service web is not being removed"), (True, "service web has tasks that live")],
    )
    def test_is_not_forgotten_too_early(self, removing: bool, message: str) -> None:
        state = a_state(services=[a_service(removing=removing)], tasks=[a_task()])

        forget = c.ForgetService(name="web")
        assert rejected(state, forget) == ("FailedPrecondition", message)


class TestNode:
    """Names, addresses, subnets and keys are of one node each."""

    state = a_state(nodes=[a_node("w1"), a_node("w2")])

    def test_is_added(self) -> None:
        after = applied(self.state, c.AddNode(node=a_node("w3")))

        assert after.nodes["w3"] == replace(a_node("w3"), version=101)

    def test_takes_nothing_that_is_another_nodes(self) -> None:
        new, old = a_node("w3"), a_node("w1")
        clashes = {
            "name": (replace(new, spec=old.spec), "AlreadyExists"),
            "id": (replace(new, id="w1"), "AlreadyExists"),
            "address": (
                replace(new, mesh=replace(new.mesh, address=old.mesh.address)),
                "Conflict",
            ),
            "subnet": (replace(new, mesh=replace(new.mesh, subnet="10.88.0.0/21")), "Conflict"),
            "key": (
                replace(new, mesh=replace(new.mesh, public_key="key of w1")),
                "AlreadyExists",
            ),
            "no subnet": (
                replace(new, mesh=replace(new.mesh, subnet="10.88.3.1/24")),
                "InvalidInput",
            ),
        }

        reasons = {
            what: rejected(self.state, c.AddNode(node=node))[0]
            for what, (node, _) in clashes.items()
        }

        assert reasons == {what: reason for what, (_, reason) in clashes.items()}

    def test_may_not_be_renamed_to_another(self) -> None:
        put = c.PutNodeSpec(node_id="w1", spec=a_node("w2").spec, expected_version=0)

        expected = ("AlreadyExists", "a node named w2 is in the cluster")
        assert rejected(self.state, put) == expected

    def test_takes_its_tasks_with_it_when_it_is_removed(self) -> None:
        live, ended = a_task(1, "w1"), a_task(2, "w1", state=TaskState.FAILED)
        state = a_state(nodes=[a_node("w1")], services=[a_service(replicas=2)], tasks=[live, ended])

        after = applied(state, c.RemoveNode(node_id="w1", now=at(9)))

        lost = replace(
            live.status,
            state=TaskState.LOST,
            since=at(9),
            message="node w1 was removed",
            address="",
        )
        assert after.nodes == {}
        assert after.tasks == {
            live.id: replace(live, status=lost, version=101),
            ended.id: ended,
        }

    def test_what_is_unknown_is_not_found(self) -> None:
        status = NodeStatus(state=NodeState.READY, since=at(0))
        command = c.SetNodeStatus(node_id="w9", status=status)

        assert rejected(self.state, command) == ("NotFound", "there is no node w9")


class TestTask:
    """Who may say what of a task, and when."""

    pending = a_task(1)
    state = a_state(nodes=[a_node("w1")], services=[a_service()], tasks=[pending])

    def test_begins_pending_and_without_a_node(self) -> None:
        placed = c.CreateTask(task=a_task(2, "w1"))

        expected = ("InvalidInput", "new task web-2-r1 is not pending without a node")
        assert rejected(self.state, placed) == expected

    def test_is_not_created_for_a_service_that_goes(self) -> None:
        state = a_state(services=[a_service(removing=True)])

        expected = ("FailedPrecondition", "service web is being removed")
        assert rejected(state, c.CreateTask(task=self.pending)) == expected

    def test_gets_its_node_once(self) -> None:
        assign = c.AssignTask(task_id=self.pending.id, node_id="w1", now=at(9))

        after = applied(self.state, assign)

        status = replace(self.pending.status, state=TaskState.ASSIGNED, since=at(9))
        assert after.tasks == {
            self.pending.id: replace(self.pending, node_id="w1", version=101, status=status)
        }
        assert rejected(after, assign) == ("Conflict", "task web-1-r1 is assigned")

    def test_gets_no_node_that_is_down_or_when_it_is_not_wanted(self) -> None:
        assign = c.AssignTask(task_id=self.pending.id, node_id="w1", now=at(9))
        down = a_state(
            nodes=[a_node("w1", state=NodeState.DOWN)],
            services=[a_service()],
            tasks=[self.pending],
        )
        desired = c.SetTaskDesired(task_id=self.pending.id, desired=DesiredState.STOPPED)

        assert rejected(down, assign) == ("Conflict", "node w1 is down")
        unwanted = applied(self.state, desired)
        assert rejected(unwanted, assign) == (
            "Conflict",
            "task web-1-r1 is not wanted any more",
        )

    def test_is_final_when_it_has_ended(self) -> None:
        lost = applied(self.state, status_of(self.pending, TaskState.LOST))

        expected = ("Conflict", "task web-1-r1 is lost, which is final")
        assert rejected(lost, status_of(self.pending, TaskState.RUNNING)) == expected

    def test_does_not_run_without_a_node_and_never_becomes_pending_again(self) -> None:
        """A late word of a former leader must not take a node away from a task."""
        assign = c.AssignTask(task_id=self.pending.id, node_id="w1", now=at(9))
        assigned = applied(self.state, assign)

        no_node = rejected(self.state, status_of(self.pending, TaskState.RUNNING))
        again = rejected(assigned, status_of(self.pending, TaskState.PENDING))

        assert no_node == ("Conflict", "task web-1-r1 has no node that could report on it")
        assert again == ("Conflict", "task web-1-r1 is assigned, not pending")

    def test_is_not_removed_while_it_lives(self) -> None:
        remove = c.RemoveTask(task_id=self.pending.id)

        expected = ("FailedPrecondition", "task web-1-r1 is pending")
        assert rejected(self.state, remove) == expected
        ended = applied(self.state, status_of(self.pending, TaskState.STOPPED))
        assert applied(ended, remove, remove).tasks == {}


def test_a_batch_is_one_entry_whose_members_stand_alone() -> None:
    refused = c.RemoveNode(node_id="w9", now=at(0))
    done = c.AddJoinToken(token=a_token())

    after, outcome = apply(a_state(), c.Batch(commands=(refused, done)))

    assert outcome == c.Applied(index=101)
    assert after == replace(a_state(tokens=[a_token()]), index=101)


@settings(max_examples=300)
@given(states(), st.lists(COMMANDS, max_size=10))
def test_a_batch_leaves_what_its_members_would_one_by_one(
    state: ClusterState, commands: list[c.Command]
) -> None:
    expected = state
    for command in commands:
        expected, _ = apply(replace(expected, index=state.index), command)

    after, _ = apply(state, c.Batch(commands=tuple(commands)))

    assert after == replace(expected, index=state.index + 1)


@settings(max_examples=500)
@given(st.lists(COMMANDS, max_size=30))
def test_no_commands_in_any_order_raise_or_break_the_state(commands: list[c.Command]) -> None:
    create = c.CreateCluster(cluster=a_cluster(), node=a_node("w1"))
    _check_all(ClusterState(), [create, *commands])


@settings(max_examples=300)
@given(states(), st.lists(COMMANDS, max_size=10))
def test_nor_do_they_from_any_state(state: ClusterState, commands: list[c.Command]) -> None:
    _check_all(state, commands)


@given(st.lists(COMMANDS, max_size=10))
def test_nor_before_there_is_a_cluster(commands: list[c.Command]) -> None:
    _check_all(ClusterState(), commands)


def _check_all(state: ClusterState, commands: Iterable[c.Command]) -> None:
    assert invariants.check(state) == ()
    for command in commands:
        after, outcome = apply(state, command)
        assert apply(state, command) == (after, outcome), "apply is not a function"
        assert after.index == outcome.index == state.index + 1
        if isinstance(outcome, c.Rejected):
            assert after == replace(state, index=after.index)
        assert invariants.check(after) == (), command
        state = after
