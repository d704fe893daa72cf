"""At 500 requests a second, on new and on kept connections, no request fails while …"""

import time
from collections.abc import Callable
from functools import partial

from conftest import wait_until
from containers_on_hosts import containers_of, is_running
from rules_watched import rules_watched
from warren.client.client import Client
from warren.model.nodes import Availability, NodeSpec, NodeState
from warren.model.tasks import Task
from warren.model.views import ServiceView
from web_under_load import SSH_CONFIG, WEB, Loaded, Scale, all_nodes, image, loaded, scale, web

Fleet = Callable[..., str]
LOADED_FOR = 2.0
"""Seconds of load on each number of tasks, so that every one of them is asked many times."""
WATCHED = 1.0
"""Seconds in which an agent that has started could do something rash, and must not."""


def test_the_service_is_scaled_up_and_down(loaded: Loaded, scale: Scale) -> None:
    with loaded() as report:
        for replicas in (2, 10, 2):
            scale(replicas)
            time.sleep(LOADED_FOR)

    assert report.failures == [], report
    assert len(report.by_body) >= 10


def test_each_task_is_stopped_in_turn(loaded: Loaded, client: Client) -> None:
    before = {t.id for t in client.get_service(WEB).tasks if t.wanted}

    with loaded() as report:
        for task_id in sorted(before):
            client.stop_task(task_id)
            wait_until(partial(is_over, client, task_id), seconds=30)

    assert report.failures == [], report
    assert not before & {t.id for t in client.get_service(WEB).tasks if t.wanted}


def test_each_node_is_drained_in_turn(
    loaded: Loaded, client: Client, addresses: dict[str, str]
) -> None:
    with loaded() as report:
        for name in addresses:
            make(client, name, Availability.DRAIN)
            wait_until(partial(is_empty, client, name), seconds=30)
            make(client, name, Availability.ACTIVE)

    assert report.failures == [], report


def test_the_agents_and_the_runtime_restart_on_each_node(
    loaded: Loaded, fleet: Fleet, addresses: dict[str, str]
) -> None:
    with rules_watched(addresses, SSH_CONFIG) as changes, loaded() as report:
        for name in addresses:
            fleet("ssh", name, "systemctl restart warren-worker")
            fleet("ssh", name, "systemctl restart containerd")
            time.sleep(WATCHED)

    assert report.failures == [], report
    assert changes == {}


def test_an_agent_is_away_until_its_node_is_down(
    loaded: Loaded, fleet: Fleet, client: Client, web: ServiceView
) -> None:
    """It ends without a word. Its tasks are replaced, and go when it returns."""
    with loaded() as report:
        for name in sorted({name for _, name in nodes_of(web)}):
            containers = containers_on(fleet, client, name)
            fleet("ssh", name, "systemctl kill -s KILL warren-worker; systemctl stop warren-worker")
            wait_until(partial(has_no_task, client, name), seconds=30)
            wait_until(partial(is_converged, client), seconds=30)
            fleet("ssh", name, "systemctl start warren-worker")
            wait_until(partial(is_ready, client, name), seconds=30)
            wait_until(partial(have_ended, fleet, name, containers), seconds=30)

    assert report.failures == [], report


def test_the_leading_manager_is_killed(loaded: Loaded, fleet: Fleet, client: Client) -> None:
    with loaded() as report:
        for _ in range(2):
            leader = client.get_cluster().leader
            fleet("ssh", leader, "systemctl kill -s KILL warren-manager")
            wait_until(partial(is_led_by_another, client, leader), seconds=15)
            wait_until(partial(is_whole, client), seconds=15)

    assert report.failures == [], report


def is_over(client: Client, task_id: str) -> bool:
    tasks = client.get_service(WEB).tasks
    return not any(task.id == task_id and not task.status.state.terminal for task in tasks)


def is_empty(client: Client, node: str) -> bool:
    view = client.get_service(WEB)
    return not any(
        name == node and not task.status.state.terminal
        for task, name in zip(view.tasks, view.node_names, strict=True)
    )


def is_led_by_another(client: Client, leader: str) -> bool:
    return client.get_cluster().leader not in ("", leader)


def is_whole(client: Client) -> bool:
    return all(manager.reachable for manager in client.get_cluster().managers)


def make(client: Client, node: str, availability: Availability) -> None:
    client.apply_node(node, NodeSpec(name=node, availability=availability), ("availability",))


def nodes_of(view: ServiceView) -> list[tuple[Task, str]]:
    tasks = zip(view.tasks, view.node_names, strict=True)
    return [(task, name) for task, name in tasks if task.wanted]


def has_no_task(client: Client, node: str) -> bool:
    return node not in {name for _, name in nodes_of(client.get_service(WEB))}


def containers_on(fleet: Fleet, client: Client, node: str) -> list[str]:
    """Those of the tasks that the node has now."""
    own = [task for task, name in nodes_of(client.get_service(WEB)) if name == node]
    return [container for task in own for container in containers_of(fleet, task, node)]


def have_ended(fleet: Fleet, node: str, containers: list[str]) -> bool:
    return not any(is_running(fleet, node, container) for container in containers)


def is_converged(client: Client) -> bool:
    return client.get_service(WEB).status.converged


def is_ready(client: Client, node: str) -> bool:
    return client.get_node(node).node.status.state is NodeState.READY
