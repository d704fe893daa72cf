"""What is lost when a host, all managers, or the name server goes, and for how long."""

import time
from collections.abc import Callable

from conftest import wait_until
from warren.client.client import Client, connect
from warren.model.nodes import NodeState
from warren.model.tasks import Task, TaskState
from warren.model.views import ServiceView
from web_under_load import WEB, Loaded, all_nodes, image, loaded, web

Fleet = Callable[..., str]
WITHDRAWN_WITHIN = 6.0
MANAGERS = ("m1", "m2", "m3")
WITHOUT_MANAGERS = 40.0


def test_a_power_cut_costs_requests_for_six_seconds_at_most(
    loaded: Loaded, fleet: Fleet, client: Client
) -> None:
    victim = next(
        name
        for task, name in zip(*tasks_and_nodes(client), strict=True)
        if task.wanted and name.startswith("w") and name != "w1"
    )
    try:
        with loaded(without=victim) as report:
            time.sleep(2)
            fleet("kill", victim)
            time.sleep(15)
        print(f"  failed requests for {report.outage_seconds():.2f} s after the power of {victim}")
        assert report.outage_seconds() <= WITHDRAWN_WITHIN, report
    finally:
        fleet("start", victim)


def test_without_managers_tasks_restart_and_no_request_is_lost(
    loaded: Loaded, fleet: Fleet, client: Client, web: ServiceView
) -> None:
    before = running(client)
    for name in MANAGERS:
        fleet("ssh", name, "systemctl stop warren-manager")
    try:
        with loaded() as report:
            time.sleep(WITHOUT_MANAGERS / 2)
            for name in ("w1", "w2", *MANAGERS):
                fleet("ssh", name, "systemctl restart warren-worker")
            time.sleep(WITHOUT_MANAGERS / 2)
    finally:
        for name in MANAGERS:
            fleet("ssh", name, "systemctl start warren-manager")
    assert report.failures == [], report
    with connect(context="molecule") as connected:
        wait_until(lambda: is_led(connected), seconds=30)
        time.sleep(10)
        assert running(connected) == before


def is_led(client: Client) -> bool:
    return all(v.node.status.state is NodeState.READY for v in client.list_nodes())


def running(client: Client) -> set[tuple[str, object]]:
    """Tasks that run, and since when: a restart would show."""
    tasks = client.get_service(WEB).tasks
    return {(t.id, t.status.since) for t in tasks if t.status.state is TaskState.RUNNING}


def tasks_and_nodes(client: Client) -> tuple[tuple[Task, ...], tuple[str, ...]]:
    view = client.get_service(WEB)
    return view.tasks, view.node_names
