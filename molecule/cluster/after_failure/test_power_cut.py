"""After m3, a manager that also works, lost its power."""

from collections.abc import Callable

import pytest
from conftest import get, wait_until
from warren.client.client import Client
from warren.model.nodes import NodeState
from warren.model.tasks import TaskState


def node_states(client: Client) -> dict[str, NodeState]:
    return {view.node.spec.name: view.node.status.state for view in client.list_nodes()}


def test_its_tasks_are_replaced_on_other_nodes(client: Client) -> None:
    wait_until(lambda: node_states(client)["m3"] is NodeState.DOWN, seconds=30)
    wait_until(lambda: client.get_service("hello").status.converged, seconds=30)

    view = client.get_service("hello")
    running = [
        node
        for task, node in zip(view.tasks, view.node_names, strict=True)
        if task.status.state is TaskState.RUNNING
    ]
    assert len(running) == 3
    assert "m3" not in running


def test_two_managers_of_three_go_on(client: Client, addresses: dict[str, str]) -> None:
    cluster = client.get_cluster()

    assert cluster.leader in {"m1", "m2"}
    for name in ("m1", "m2", "w1", "w2"):
        assert get(addresses[name]).startswith("hello from hello")


def test_the_host_comes_back_and_drops_what_was_replaced(
    client: Client, fleet: Callable[..., str]
) -> None:
    fleet("start", "m3")

    wait_until(lambda: node_states(client)["m3"] is NodeState.READY, seconds=60)
    wait_until(lambda: all(view.reachable for view in client.get_cluster().managers), seconds=30)
    wait_until(lambda: not fleet("ssh", "m3", "ctr -n k8s.io tasks ls -q").strip(), seconds=30)
    assert client.get_service("hello").status.converged


@pytest.mark.parametrize("manager", ["m1", "m2", "m3"])
def test_any_manager_alone_may_be_asked(fleet: Callable[..., str], manager: str) -> None:
    assert "hello" in fleet("ssh", manager, "warren", "service", "ls")
