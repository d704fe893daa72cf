"""What the simulated leader decides, against what the workers really do, of which it only hears.

Asked before the decision is committed; yields sentences that say what was violated.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from warren.core import assignment, eligible
from warren.core.decisions import Decision
from warren.model.nodes import NodeState
from warren.model.rollouts import Rollout
from warren.model.tasks import Task, TaskState
from warren.state import commands as c
from warren.state.cluster import ClusterState
from warren.testing import simulation_laws
from warren.testing.builders import a_cluster
from warren.testing.simulation_worker import Worker

DRAIN_TIMEOUT = a_cluster().spec.drain_timeout
FINDS_LEADER_WITHIN = 4.5
"""Seconds; less than `node_down_after`."""
CONTACT_WITHIN = timedelta(seconds=FINDS_LEADER_WITHIN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """A state, and what workers do meanwhile."""

    state: ClusterState
    now: datetime
    workers: Mapping[str, Worker]
    excused_until: Callable[[str], datetime]
    """Until when a node's agent is known to be back, by node id."""

    def broken(self, decision: Decision) -> Iterator[str]:
        """By the decision."""
        for command in decision.commands:
            match command:
                case c.WithdrawTask():
                    yield from self._withdrawal(self.state.tasks[command.task_id], decision)
                case c.SetTaskDesired() if command.task_id in self.state.tasks:
                    yield from self._stop(self.state.tasks[command.task_id], decision)
                case c.SetRollout():
                    yield from self._end(command, decision)
                case c.SetNodeStatus() if command.status.state is NodeState.DOWN:
                    yield from self._loss(self.workers[command.node_id])
                case _:
                    pass

    def _loss(self, worker: Worker) -> Iterator[str]:
        if worker.connected and self.now - worker.connected_since > CONTACT_WITHIN:
            yield f"{worker.node_id} is there, and is taken for down"
        if self.now < self.excused_until(worker.node_id):
            yield f"{worker.node_id} is restarted, and is taken for down"

    def _withdrawal(self, task: Task, decision: Decision) -> Iterator[str]:
        """No node that is there sends to it any more, but for those that had long enough."""
        runs = task.status.state is TaskState.RUNNING
        if not runs or self.now >= (task.draining_since or self.now) + DRAIN_TIMEOUT:
            return
        for worker in self._there(decision):
            if worker.sends_to(task):
                yield f"{task.id} is withdrawn, but {worker.node_id} sends to it"

    def _there(self, decision: Decision) -> Iterator[Worker]:
        """Workers of nodes that are READY, and go on being so."""
        downs = {each.node_id for each in decision.commands if isinstance(each, c.SetNodeStatus)}
        for worker in self.workers.values():
            ready = self.state.nodes[worker.node_id].status.state is NodeState.READY
            if ready and worker.node_id not in downs:
                yield worker

    def _end(self, end: c.SetRollout, decision: Decision) -> Iterator[str]:
        """Once it ends, or is said to have switched, who asks any node that is there is answered
        as the rollout has it."""
        service = self.state.services[end.service]
        noted = service.rollout
        if noted is None or noted.decided or not end.rollout.decided or not service.spec.ports:
            return
        if self.now >= noted.progress_at + DRAIN_TIMEOUT:
            return
        expected = {task.id: task for task in self._brought(noted, end.service)}
        for worker in self._there(decision):
            traffic = worker.rules.get(end.service)
            known = traffic.endpoints if traffic is not None else ()
            for task in self._left(noted, [each.task_id for each in known if each.weight]):
                yield f"{noted.id} is decided, but {worker.node_id} sends to {task.id} of before"
            others = {each for each, task in expected.items() if task.node_id != worker.node_id}
            missing = others - {each.task_id for each in known}
            if missing:
                yield f"{noted.id} is decided, but {worker.node_id} does not send to {missing}"

    def _left(self, noted: Rollout, sent_to: Collection[str]) -> Iterator[Task]:
        """Of what is sent to: tasks of another revision than the rollout leads to."""
        for task in (self.state.tasks[each] for each in sent_to if each in self.state.tasks):
            service = self.state.services[task.service]
            held = eligible.is_held(self.state, service, task)
            if task.revision != noted.target and not held:
                yield task

    def _brought(self, noted: Rollout, name: str) -> Iterator[Task]:
        """Tasks that have had traffic since the rollout was said to have nothing left to change."""
        for task in self.state.tasks_of(name):
            node = self.state.nodes.get(task.node_id)
            if node is None or node.status.state is not NodeState.READY:
                continue
            lasting = task.version <= noted.version and assignment.may_receive(task)
            if lasting and node.status.since <= noted.progress_at:
                yield task

    def _stop(self, task: Task, decision: Decision) -> Iterator[str]:
        """A ready task gives its slot to one of which this leader has heard. Both may
        go at once: for the sake of a newer revision that has no place beside them."""
        stopped = {
            each.task_id
            for each in decision.commands
            if isinstance(each, c.SetTaskDesired)
            or (isinstance(each, c.SetTaskStatus) and each.status.state.terminal)
        }
        service = self.state.services[task.service]
        within = simulation_laws.slots_of(self.state, service)
        if not task.wanted or not task.ready or task.slot not in within:
            return
        others = [
            other
            for other in self.state.tasks_of(task.service)
            if other.slot == task.slot and other.wanted and other.ready and other.id not in stopped
        ]
        if others and not any(self.workers[other.node_id].reported for other in others):
            yield f"{task.id} makes way for {others[0].id}, of which nothing was heard yet"
