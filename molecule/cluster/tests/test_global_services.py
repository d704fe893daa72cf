"""A global service on real hosts: one task on each node, rolled node by node, through a drain."""

import subprocess
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from conftest import get, wait_until
from warren.client.client import Client
from warren.client.waits import wait_service_gone
from warren.model.nodes import Availability, NodeSpec
from warren.model.rollouts import RolloutState

PORT = 8086
NODES = {"m1", "m2", "m3", "w1", "w2"}
Playbook = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def name(client: Client) -> Iterator[str]:
    """A service of the test's own; gone afterwards, and w2 takes tasks again."""
    name = f"everywhere-{uuid.uuid4().hex[:6]}"
    yield name
    make(client, "w2", Availability.ACTIVE)
    if any(view.service.spec.name == name for view in client.list_services()):
        client.delete_service(name)
        wait_service_gone(client, name, timeout=timedelta(seconds=60))


def make(client: Client, node: str, availability: Availability) -> None:
    client.apply_node(node, NodeSpec(name=node, availability=availability), ("availability",))


def deploy(
    playbook: Playbook, directory: Path, name: str, version: str, *more: str
) -> subprocess.CompletedProcess[str]:
    """By a play with warren_service, as users write them."""
    options = {
        "name": name,
        "mode": "global",
        "image": f"10.78.0.1:5000/hello:{version}",
        "ports": [{"target": 8080, "published": PORT, "mode": "host"}],
        "health": {"http": {"path": "/healthz"}, "interval": "500ms"},
        "drain_delay": "500ms",
        "stop_grace_period": "1s",
        "update": {"monitor": "500ms", "parallelism": 2},
    }
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars": {"ansible_python_interpreter": "{{ ansible_playbook_python }}"},
        "tasks": [{"name": "Everywhere", "warren.core.warren_service": options}],
    }
    file = directory / "play.yml"
    file.write_text(yaml.safe_dump([play]))
    return playbook(str(file), *more)


def places(client: Client, name: str) -> list[tuple[str, str]]:
    """The name and the node of each task that runs."""
    view = client.get_service(name)
    pairs = zip(view.tasks, view.node_names, strict=True)
    return sorted((task.name, node) for task, node in pairs if task.wanted and task.ready)


def one_each(name: str, nodes: set[str]) -> list[tuple[str, str]]:
    return sorted((f"{name}.{node}", node) for node in nodes)


def test_each_node_has_one_task_through_a_rollout_and_a_drain(
    playbook: Playbook, client: Client, addresses: dict[str, str], name: str, tmp_path: Path
) -> None:
    created = deploy(playbook, tmp_path, name, "1")
    assert created.returncode == 0, created.stdout
    assert places(client, name) == one_each(name, NODES)

    planned = deploy(playbook, tmp_path, name, "2", "--check", "--diff")
    updated = deploy(playbook, tmp_path, name, "2")

    assert updated.returncode == 0, updated.stdout
    assert "node w2  replace (stop first)" in planned.stdout
    assert places(client, name) == one_each(name, NODES)
    assert {get(address, PORT).split("version ")[1].strip() for address in addresses.values()} == {
        "2"
    }
    assert client.get_rollout(name).rollout.state is RolloutState.COMPLETE

    make(client, "w2", Availability.DRAIN)
    wait_until(lambda: places(client, name) == one_each(name, NODES - {"w2"}), seconds=30)
    make(client, "w2", Availability.ACTIVE)
    wait_until(lambda: places(client, name) == one_each(name, NODES), seconds=30)


def test_scaling_it_and_changing_its_mode_are_refused(
    playbook: Playbook, client: Client, name: str, tmp_path: Path, fleet: Callable[..., str]
) -> None:
    assert deploy(playbook, tmp_path, name, "1").returncode == 0

    with pytest.raises(subprocess.CalledProcessError) as caught:
        fleet("ssh", "m1", "warren", "service", "scale", f"{name}=3")

    assert f"{name}.replicas: is for mode replicated" in caught.value.stdout + caught.value.stderr
    file = tmp_path / "play.yml"
    file.write_text(file.read_text().replace("mode: global", "mode: replicated"))
    refused = playbook(str(file))
    assert f"{name}.mode: cannot be changed from global" in refused.stdout
