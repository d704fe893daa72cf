"""Which nodes are there: READY while their worker is heard, DOWN when it is not.

The law: a READY node unheard for `node_down_after` is DOWN; a node that is heard is READY; UNKNOWN
lasts until a worker is first heard. A worker that says that it is about to be started again counts
as heard for `AWAY_MAX` from then on: its tasks and its rules go on, and to replace them would be
the only harm. A task that lives on a DOWN node is LOST, for good: when the node returns, its worker
finds the task ended and removes the container.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from warren.core import index
from warren.core.decisions import Decision, earliest
from warren.model import units
from warren.model.nodes import Node, NodeState, NodeStatus
from warren.model.tasks import TaskState
from warren.state.cluster import ClusterState
from warren.state.commands import Command, SetNodeStatus, SetTaskStatus
from warren.state.groups import GroupsBy

AWAY_MAX = timedelta(seconds=30)
"""An agent is back within seconds, even on a host that is very busy. Were it longer, a host that
dies just then would be missed too late."""


def first_contacts(state: ClusterState, now: datetime) -> dict[str, datetime]:
    """What a new leader assumes: nodes that were READY get the full time to find it.

    Nodes in another state are left out, because only hearing them can make them READY.
    """
    return {n.id: now for n in state.nodes.values() if n.status.state is NodeState.READY}


def behind(state: ClusterState, index: int, carried: Mapping[str, int]) -> Iterator[Node]:
    """Nodes that are there, and whose rules may not be yet as they were told up to `index`.

    `carried`: up to which index each node's are, by node id.
    """
    there = (node for node in state.nodes.values() if node.status.state is NodeState.READY)
    return (node for node in there if carried.get(node.id, 0) < index)


def decide(
    state: ClusterState,
    now: datetime,
    contacts: Mapping[str, datetime],
    tasks_on: GroupsBy | None = None,
) -> Decision:
    """Changes of node state, and the tasks that are lost with nodes. `tasks_on`: all tasks by node
    id, if the caller has them."""
    if state.cluster is None:
        return Decision()
    down_after = state.cluster.spec.node_down_after
    commands: list[Command] = []
    wake_ups: list[datetime] = []
    down: dict[str, Node] = {}
    for node in sorted(state.nodes.values(), key=lambda node: node.spec.name):
        status = _status(node, now, contacts.get(node.id), down_after)
        if status != node.status:
            commands.append(SetNodeStatus(node_id=node.id, status=status))
        if status.state is NodeState.DOWN:
            down[node.id] = replace(node, status=status)
        elif status.state is NodeState.READY:
            wake_ups.append(contacts.get(node.id, status.since) + down_after)
    losses = _losses(state, down, now, tasks_on)
    return Decision(commands=(*commands, *losses), wake_at=earliest(wake_ups))


def _status(
    node: Node, now: datetime, contact: datetime | None, down_after: timedelta
) -> NodeStatus:
    """The node's status at `now`; the stored one if nothing changed."""
    ready = node.status.state is NodeState.READY
    if contact is None and not ready:
        return node.status
    silence = now - (contact or node.status.since)
    if silence < down_after:
        return node.status if ready else NodeStatus(state=NodeState.READY, since=now)
    if not ready:
        return node.status
    message = f"no heartbeat for {_whole_seconds(silence)}"
    return NodeStatus(state=NodeState.DOWN, since=now, message=message)


def _losses(
    state: ClusterState, down: Mapping[str, Node], now: datetime, tasks_on: GroupsBy | None
) -> list[Command]:
    """LOST for every live task on a DOWN node, also one that came there at the last moment."""
    if not down:
        return []
    losses: list[Command] = []
    tasks_on = index.begin(state).tasks_on if tasks_on is None else tasks_on
    tasks = (task for node_id in down for task in tasks_on.get(node_id, {}).values())
    for task in sorted(tasks, key=lambda task: task.id):
        node = down[task.node_id]
        if task.status.state.terminal:
            continue
        why = f" ({node.status.message})" if node.status.message else ""
        status = replace(
            task.status,
            state=TaskState.LOST,
            since=now,
            message=f"node {node.spec.name} is down{why}",
            address="",
        )
        losses.append(SetTaskStatus(task_id=task.id, status=status))
    return losses


def _whole_seconds(duration: timedelta) -> str:
    if duration < timedelta(seconds=1):
        return units.format_duration(duration)
    return units.format_duration(timedelta(seconds=duration // timedelta(seconds=1)))
