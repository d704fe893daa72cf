"""All managers are stopped, for as long as `WITHOUT_MANAGERS` says (seconds), and everything goes
on: traffic, names, health checks, restarts, also a restart of every agent."""

import os
import time
from collections.abc import Callable, Iterator, Mapping

import pytest
from conftest import wait_until
from containers_on_hosts import containers_of, running_containers
from rules_watched import rules_watched
from warren.client.client import Client, connect
from warren.client.waits import wait_service_gone
from warren.model.nodes import NodeState
from warren.model.services import Port, ServiceSpec
from warren.model.tasks import Health, Task, TaskState
from warren.model.views import ServiceView
from web_under_load import (
    PATIENCE,
    SPEC,
    SSH_CONFIG,
    WEB,
    Loaded,
    all_nodes,
    deploy,
    image,
    loaded,
    web,
)

Fleet = Callable[..., str]
MANAGERS = ("m1", "m2", "m3")
DURATION = float(os.environ.get("WITHOUT_MANAGERS", "40"))
WATCHED = 10.0
"""Seconds in which managers that have returned could do something rash, and must not."""
FRAIL = ServiceSpec(
    name="frail",
    image=SPEC.image,
    replicas=2,
    ports=(Port(name="http", target=8080),),
    health=SPEC.health,
)
"""Its tasks are killed and made sick. Nobody loads it: what is killed loses what it was doing."""


@pytest.fixture
def frail(client: Client, all_nodes: None) -> Iterator[ServiceView]:
    yield deploy(client, FRAIL)
    client.delete_service(FRAIL.name)
    wait_service_gone(client, FRAIL.name, timeout=PATIENCE)


def test_without_managers_everything_goes_on(
    loaded: Loaded,
    fleet: Fleet,
    client: Client,
    web: ServiceView,
    frail: ServiceView,
    addresses: Mapping[str, str],
) -> None:
    tasks = {
        task.name: (task, node) for task, node in zip(frail.tasks, frail.node_names, strict=True)
    }
    before = running(client, WEB)

    for name in MANAGERS:
        fleet("ssh", name, "systemctl stop warren-manager")
    try:
        with loaded() as report:
            begin = time.monotonic()
            wait_for(begin + DURATION / 4)
            kill_and_see_it_restarted(fleet, *tasks["frail.1"])
            wait_for(begin + DURATION / 2)
            make_sick_and_see_it_restarted(fleet, *tasks["frail.2"])
            wait_for(begin + DURATION * 3 / 4)
            containers = {name: running_containers(fleet, name) for name in addresses}
            with rules_watched(addresses, SSH_CONFIG) as changes:
                for name in addresses:
                    fleet("ssh", name, "systemctl restart warren-worker")
                    assert resolves(fleet, name, web.service.vip)
                wait_for(begin + DURATION)
    finally:
        for name in MANAGERS:
            fleet("ssh", name, "systemctl start warren-manager")

    assert report.failures == [], report
    assert changes == {}
    with connect(context="molecule") as connected:
        wait_until(lambda: is_whole(connected), seconds=30)
        wait_until(lambda: has_reported(connected, frail), seconds=10)
        time.sleep(WATCHED)
        assert running(connected, WEB) == before
        assert has_reported(connected, frail)
    assert {name: running_containers(fleet, name) for name in addresses} == containers


def kill_and_see_it_restarted(fleet: Fleet, task: Task, node: str) -> None:
    (container,) = containers_of(fleet, task, node)
    fleet("ssh", node, f"ctr -n k8s.io tasks kill -s SIGKILL {container}")
    took = wait_until(lambda: is_replaced(fleet, task, node, container), seconds=10)
    print(f"\n  {task.name} answered {took:.1f} s after its process was killed")


def make_sick_and_see_it_restarted(fleet: Fleet, task: Task, node: str) -> None:
    (container,) = containers_of(fleet, task, node)
    sick = "/busybox touch /run/sick"
    fleet("ssh", node, f"ctr -n k8s.io tasks exec --exec-id sick {container} {sick}")
    took = wait_until(lambda: is_replaced(fleet, task, node, container), seconds=20)
    print(f"\n  {task.name} answered {took:.1f} s after it was made sick")


def is_replaced(fleet: Fleet, task: Task, node: str, container: str) -> bool:
    """Another container than that answers at the task's address, and is healthy."""
    found = containers_of(fleet, task, node)
    if found in ([], [container]):
        return False
    return fetch(fleet, node, f"http://{task.status.address}:8080/healthz") == "ok"


def resolves(fleet: Fleet, node: str, vip: str) -> bool:
    return fleet("ssh", node, f"getent hosts {WEB}.warren.internal").split()[0] == vip


def fetch(fleet: Fleet, node: str, url: str) -> str:
    """What a host gets from there; empty if nobody answers."""
    get = f"import urllib.request as u; print(u.urlopen('{url}', timeout=2).read().decode())"
    return fleet("ssh", node, f'python3 -c "{get}" 2> /dev/null || true').strip()


def running(client: Client, service: str) -> set[tuple[str, object]]:
    """Tasks that run, and since when: a restart would show."""
    tasks = client.get_service(service).tasks
    return {(t.id, t.status.since) for t in tasks if t.status.state is TaskState.RUNNING}


def is_whole(client: Client) -> bool:
    """The managers are back, and all nodes there."""
    nodes, managers = client.list_nodes(), client.get_cluster().managers
    ready = all(view.node.status.state is NodeState.READY for view in nodes)
    return ready and all(manager.reachable for manager in managers)


def has_reported(client: Client, frail: ServiceView) -> bool:
    """The same tasks run, and the managers know that they were restarted."""
    tasks = client.get_service(FRAIL.name).tasks
    return {t.id for t in tasks} == {t.id for t in frail.tasks} and all(
        t.status.health is Health.HEALTHY and t.status.failures for t in tasks
    )


def wait_for(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))
