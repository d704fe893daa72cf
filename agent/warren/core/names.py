"""What things are called in texts for people."""

from collections.abc import Sequence

from warren.model.tasks import Task
from warren.state.cluster import ClusterState


def node_name(state: ClusterState, task: Task) -> str:
    """Of the task's node; empty text where it has none yet."""
    node = state.nodes.get(task.node_id)
    if node is not None:
        return node.spec.name
    return f"(removed node {task.node_id})" if task.node_id else ""


def slot(task: Task) -> str:
    """Of a task: `slot 3`, or of a global service `node w1`."""
    return f"node {task.node}" if task.node else f"slot {task.slot}"


def count(number: int, noun: str) -> str:
    """`1 task`, `2 tasks`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def listing(items: Sequence[str]) -> str:
    """`4`, `4 and 5`, `3, 4 and 5`."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"
