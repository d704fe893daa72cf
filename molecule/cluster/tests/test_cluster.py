"""What site.yml made of bare hosts."""

import json
from collections.abc import Callable

import pytest
from testinfra.host import Host
from warren.client.client import Client
from warren.model.nodes import NodeState

MANAGERS = {"m1", "m2", "m3"}


def test_every_node_is_ready_and_three_managers_agree(client: Client) -> None:
    cluster = client.get_cluster()
    nodes = {view.node.spec.name: view.node.status.state for view in client.list_nodes()}

    assert nodes == dict.fromkeys(["m1", "m2", "m3", "w1", "w2"], NodeState.READY)
    assert {view.node.spec.name for view in cluster.managers if view.reachable} == MANAGERS
    assert cluster.leader in MANAGERS


def test_units_run_where_they_should(host: Host) -> None:
    name = host.check_output("hostname")

    assert host.service("warren-worker").is_running
    assert host.service("warren-worker").is_enabled
    assert host.service("warren-manager").is_running == (name in MANAGERS)


def test_private_keys_are_readable_by_root_alone(host: Host) -> None:
    for path in ("/var/lib/warren/mesh.key", "/var/lib/warren/pki/node.key"):
        file = host.file(path)

        assert (file.user, file.mode) == ("root", 0o600)


def test_every_node_reaches_every_other_inside_the_mesh(client: Client, host: Host) -> None:
    for view in client.list_nodes():
        result = host.run(f"ping -c 1 -W 2 {view.node.mesh.address}")

        assert result.rc == 0, f"{view.node.spec.name}: {result.stdout}"


def test_the_command_line_serves_root_on_a_manager_through_the_socket(
    fleet: Callable[..., str],
) -> None:
    nodes = json.loads(fleet("ssh", "m2", "warren", "-o", "json", "node", "ls"))

    assert sorted(node["name"] for node in nodes) == ["m1", "m2", "m3", "w1", "w2"]


@pytest.mark.parametrize("daemon", ["warren-worker", "containerd"])
def test_restarting_an_agent_touches_no_container(
    client: Client, fleet: Callable[..., str], daemon: str
) -> None:
    before = {task.id: task.status.since for task in client.get_service("hello").tasks}
    list_containers = "ctr -n k8s.io tasks ls -q | sort"
    containers = {name: fleet("ssh", name, list_containers) for name in ("m1", "w1", "w2")}

    for name in containers:
        fleet("ssh", name, f"systemctl restart {daemon}")

    after = {name: fleet("ssh", name, list_containers) for name in containers}
    assert after == containers
    assert {task.id: task.status.since for task in client.get_service("hello").tasks} == before
