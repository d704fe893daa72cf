"""Containers on hosts of the fleet, as their runtime has them, whatever the cluster says."""

from collections.abc import Callable

from warren.model.tasks import Task

Fleet = Callable[..., str]


def containers_of(fleet: Fleet, task: Task, node: str) -> list[str]:
    """Ids of the containers that are there for the task."""
    wanted = f'labels."warren.task"=={task.id},labels."io.cri-containerd.kind"==container'
    return fleet("ssh", node, f"ctr -n k8s.io containers ls -q '{wanted}'").split()


def running_containers(fleet: Fleet, node: str) -> list[str]:
    """A line of each, with its process: a restart would show."""
    return sorted(fleet("ssh", node, "ctr -n k8s.io tasks ls").splitlines())


def is_running(fleet: Fleet, node: str, container: str) -> bool:
    """Its process is there, and has not ended."""
    rows = (line.split() for line in running_containers(fleet, node))
    return any(row[0] == container and row[2:] == ["RUNNING"] for row in rows if row)
