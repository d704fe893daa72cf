"""The name server of each host is killed under load, and names are found all the same."""

import time
from collections.abc import Callable, Mapping
from datetime import timedelta

from warren.client.client import Client
from warren.model.views import ServiceView
from web_under_load import WEB, Loaded, all_nodes, image, loaded, web

Fleet = Callable[..., str]
FOUND_WITHIN = 1.0
KILL_AND_FIND = f"""\
systemctl kill -s KILL warren-dns; began=$(date +%s%N)
until getent hosts {WEB}.warren.internal; do sleep 0.02; done
echo $(( ($(date +%s%N) - began) / 1000000 ))"""
"""On a host: prints the address that it finds, and the milliseconds until then."""


def test_no_request_is_lost_and_hosts_find_names_again_when_a_name_server_is_killed(
    loaded: Loaded, fleet: Fleet, web: ServiceView, addresses: Mapping[str, str]
) -> None:
    with loaded() as report:
        took = {name: kill_and_find(fleet, name, web.service.vip) for name in addresses}

    print(f"\n  names found again after {took} s")
    assert report.failures == [], report
    assert max(took.values()) < FOUND_WITHIN


def test_tasks_find_names_while_the_name_server_of_their_node_hangs(
    fleet: Fleet, client: Client, web: ServiceView
) -> None:
    task = next(task for task in web.tasks if task.wanted)
    node = web.node_names[web.tasks.index(task)]
    asked = ("/busybox", "wget", "-q", "-O", "-", f"http://{WEB}:8080/")
    fleet("ssh", node, "systemctl kill -s STOP warren-dns")
    try:
        began = time.monotonic()
        done = client.execute(task.id, asked, timeout=timedelta(seconds=10))
        took = time.monotonic() - began
    finally:
        fleet("ssh", node, "systemctl kill -s CONT warren-dns")

    print(f"\n  {task.name} found {WEB} in {took:.2f} s without the name server of its node")
    assert (done.exit_code, done.stdout.decode().startswith(f"{WEB}.")) == (0, True), done


def kill_and_find(fleet: Fleet, node: str, vip: str) -> float:
    found, milliseconds = fleet("ssh", node, KILL_AND_FIND).splitlines()
    assert found.split()[0] == vip
    return int(milliseconds) / 1000
