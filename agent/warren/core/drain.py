"""How a task that receives traffic is stopped without losing a request.

The law, for each task. Every step is in the state, so a new leader goes on from it.

    DRAINING                                no assignment has its endpoint any more
    ... and every node that is there has carried that, or drain_timeout is over   -> withdrawn
    withdrawn, and drain_delay is over      -> STOPPED: stop signal, grace, kill, by its worker
    it does not run any more                -> its worker ends it; once it has ended, nothing

What is only said not to run, for it is restarting, is in no hurry: it may run again, and be sent
connections by its own node, before that hears of the drain.
The time-out is for a node that hangs, but is not down yet: it must not hold up all others.
"""

from collections.abc import Mapping
from datetime import datetime

from warren.core import index, nodes
from warren.core.decisions import Decision, earliest
from warren.core.index import Services
from warren.model.nodes import Node
from warren.model.services import Service
from warren.model.tasks import DesiredState, Health, Task, TaskState
from warren.state.cluster import ClusterState
from warren.state.commands import Command, SetTaskDesired, WithdrawTask


def must_drain(service: Service, task: Task) -> bool:
    """There may be connections to the task: it cannot be stopped at once."""
    return (
        bool(service.spec.ports)
        and task.status.state is TaskState.RUNNING
        and task.status.health is not Health.STARTING
    )


def decide(
    state: ClusterState,
    now: datetime,
    carried: Mapping[str, int],
    among: Services | None = None,
) -> Decision:
    """The next step of every task that drains, or of those of the services `among`.

    `carried`: up to which index of the log each node's rules are as it was told, by node id.
    """
    commands: list[Command] = []
    wake_ups: list[datetime] = []
    awaits: set[int] = set()
    draining = (task for task in index.tasks_of(state, among) if is_draining(task))
    for task in sorted(draining, key=lambda task: task.id):
        withdrawn_at = _withdrawn_at(state, task, now, carried)
        if withdrawn_at > now:
            wake_ups.append(withdrawn_at)
            awaits.add(task.version)
            continue
        if task.withdrawn_at is None:
            commands.append(WithdrawTask(task_id=task.id, now=now))
        stop_at = withdrawn_at + task.template.drain_delay
        if stop_at > now:
            wake_ups.append(stop_at)
        else:
            commands.append(SetTaskDesired(task_id=task.id, desired=DesiredState.STOPPED))
    return Decision(commands=tuple(commands), wake_at=earliest(wake_ups), awaits=frozenset(awaits))


def is_draining(task: Task) -> bool:
    """It runs on only until nothing is sent to it any more."""
    return task.desired is DesiredState.DRAINING and not task.status.state.terminal


def waiting_for(state: ClusterState, task: Task, carried: Mapping[str, int]) -> tuple[Node, ...]:
    """Nodes that may still send the draining task connections, by name."""
    behind = nodes.behind(state, task.version, carried)
    return tuple(sorted(behind, key=lambda node: node.spec.name))


def _withdrawn_at(
    state: ClusterState, task: Task, now: datetime, carried: Mapping[str, int]
) -> datetime:
    """When the last node stopped sending it connections; later than `now`: the latest moment."""
    if task.withdrawn_at is not None:
        return task.withdrawn_at
    if task.draining_since is None or not waiting_for(state, task, carried):
        return now
    assert state.cluster is not None, "there is a task"
    ceiling = task.draining_since + state.cluster.spec.drain_timeout
    return max(ceiling, now)
