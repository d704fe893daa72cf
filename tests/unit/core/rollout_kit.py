"""What tests of rollouts share: one decision of the leader, and a world in which all goes well."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from warren.core import rollout, situation
from warren.core.reconcile import reconcile
from warren.core.situation import Step
from warren.model.rollouts import Rollout
from warren.model.services import Service
from warren.model.tasks import DesiredState, Task, TaskState
from warren.state import commands as c
from warren.state import invariants
from warren.state.apply import apply
from warren.state.cluster import ClusterState
from warren.testing.builders import a_node, a_state, at, counting_ids

NODES = tuple(a_node(f"w{number}") for number in (1, 2, 3))


def a_world(service: Service, *tasks: Task, nodes: tuple[object, ...] = NODES) -> ClusterState:
    """A state with three nodes."""
    return a_state(nodes=nodes, services=[service], tasks=tasks)  # type: ignore[arg-type]


def next_step(state: ClusterState, seconds: float = 100, unheard: tuple[str, ...] = ()) -> Step:
    """What becomes of the rollout of web."""
    service = state.services["web"]
    tasks = state.tasks_of("web")
    return rollout.advance(situation.of(state, service, tasks, at(seconds), unheard))


def of(state: ClusterState) -> Rollout:
    """The rollout of web."""
    found = state.services["web"].rollout
    assert found is not None
    return found


class World:
    """A leader and workers on virtual time; a test says which tasks turn out bad."""

    def __init__(self, state: ClusterState, seconds: float = 0) -> None:
        self.state = state
        self.now: datetime = at(seconds)
        self.new_id = counting_ids()
        self.is_bad: Callable[[Task], bool] = lambda task: False
        self.on_decision: Callable[[ClusterState, ClusterState], None] = lambda before, after: None
        self.unheard_of: set[str] = set()
        """Nodes that are down."""

    def decide(self) -> bool:
        """One decision of the leader; False: there is nothing to do."""
        heard = self.state.nodes.keys() - self.unheard_of
        contacts = dict.fromkeys(heard, self.now)
        carried = dict.fromkeys(self.state.nodes, self.state.index)
        decision = reconcile(self.state, self.now, self.new_id, contacts, carried)
        if not decision.commands:
            return False
        before = self.state
        self.apply(c.Batch(commands=decision.commands))
        broken = invariants.check_decided(self.state)
        assert not broken, broken
        self.on_decision(before, self.state)
        return True

    def apply(self, command: c.Command) -> None:
        """It must be accepted."""
        self.state, outcome = apply(self.state, command)
        assert isinstance(outcome, c.Applied), outcome

    def work(self) -> bool:
        """What workers do about it at once."""
        reports = [
            c.SetTaskStatus(task_id=task.id, status=replace(task.status, **news, since=self.now))
            for task in sorted(self.state.tasks.values(), key=lambda task: task.id)
            if (news := self._news(task)) is not None
        ]
        for report in reports:
            self.apply(report)
        return bool(reports)

    def _news(self, task: Task) -> dict[str, Any] | None:
        status = task.status
        if status.state.terminal or status.state is TaskState.PENDING:
            return None
        if task.desired is DesiredState.STOPPED:
            return {"state": TaskState.STOPPED, "address": ""}
        if self.is_bad(task) and not status.failures:
            return {"state": TaskState.RESTARTING, "failures": 1, "message": "exit code 1"}
        if status.state is TaskState.ASSIGNED:
            return {"state": TaskState.RUNNING, "address": f"10.88.0.{1 + len(self.state.tasks)}"}
        return None

    def run(self, rounds: int = 500) -> None:
        """Until there is nothing to do but wait for users; time passes where it must."""
        for _ in range(rounds):
            if self.decide() | self.work():
                continue
            service = self.state.services["web"]
            if service.live_rollout is None:
                return
            tasks = self.state.tasks_of("web")
            step = rollout.next_step(situation.of(self.state, service, tasks, self.now))
            if step.stalls or step.wake_at is None:
                return
            self.now = step.wake_at
        assert rounds == 1, "no end"
