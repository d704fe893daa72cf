"""At 500 requests a second, on new and on kept connections, no request fails while …"""

import time
from collections.abc import Callable

from conftest import wait_until
from warren.client.client import Client
from warren.model.nodes import Availability, NodeSpec, NodeState
from warren.model.tasks import TaskState
from warren.model.views import ServiceView

from .conftest import PATIENCE, WEB, Loaded, Scale

Fleet = Callable[..., str]


def test_the_service_is_scaled_up_and_down(loaded: Loaded, scale: Scale) -> None:
    with loaded() as report:
        for replicas in (2, 10, 2):
            scale(replicas)
            time.sleep(2)

    assert report.failures == [], report
    assert len(report.by_body) >= 10


def test_each_task_is_stopped_in_turn(loaded: Loaded, client: Client) -> None:
    before = {t.id for t in client.get_service(WEB).tasks if t.wanted}

    with loaded() as report:
        for task_id in sorted(before):
            client.stop_task(task_id)
            wait_until(lambda id=task_id: not lives(client, id), seconds=30)

    assert report.failures == [], report
    assert not before & {t.id for t in client.get_service(WEB).tasks if t.wanted}


def test_each_node_is_drained_in_turn(loaded: Loaded, client: Client, addresses: dict[str, str]) -> None:
    with loaded() as report:
        for name in addresses:
            client.apply_node(name, NodeSpec(name=name, availability=Availability.DRAIN), ("availability",))
            wait_until(lambda name=name: not tasks_on(client, name), seconds=30)
            client.apply_node(name, NodeSpec(name=name, availability=Availability.ACTIVE), ("availability",))

    assert report.failures == [], report


def test_the_agents_and_the_runtime_restart_on_each_node(
    loaded: Loaded, fleet: Fleet, addresses: dict[str, str]
) -> None:
    with loaded() as report:
        for name in addresses:
            fleet("ssh", name, "systemctl restart warren-worker")
            fleet("ssh", name, "systemctl restart containerd")
            time.sleep(1)

    assert report.failures == [], report


def test_the_leading_manager_is_killed(loaded: Loaded, fleet: Fleet, client: Client) -> None:
    with loaded() as report:
        for _ in range(2):
            leader = client.get_cluster().leader
            fleet("ssh", leader, "systemctl kill -s KILL warren-manager")
            wait_until(lambda old=leader: client.get_cluster().leader not in ("", old), seconds=15)
            wait_until(lambda: all(m.reachable for m in client.get_cluster().managers), seconds=15)

    assert report.failures == [], report


def lives(client: Client, task_id: str) -> bool:
    tasks = client.get_service(WEB).tasks
    return any(task.id == task_id and not task.status.state.terminal for task in tasks)


def tasks_on(client: Client, node: str) -> list[str]:
    view: ServiceView = client.get_service(WEB)
    return [
        task.id
        for task, name in zip(view.tasks, view.node_names, strict=True)
        if name == node and not task.status.state.terminal
    ]
