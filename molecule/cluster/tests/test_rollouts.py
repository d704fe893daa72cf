"""A service moves from version to version on real hosts, by the playbooks, and back."""

import json
import subprocess
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from conftest import changed_hosts, get
from warren.client import rollouts
from warren.client.client import Client
from warren.client.waits import wait_service_gone
from warren.model.rollouts import RolloutState

PORT = 8085
Playbook = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def name(client: Client) -> Iterator[str]:
    """A service of the test's own; gone afterwards."""
    name = f"moving-{uuid.uuid4().hex[:6]}"
    yield name
    if any(view.service.spec.name == name for view in client.list_services()):
        client.delete_service(name)
        wait_service_gone(client, name, timeout=timedelta(seconds=60))


def deploy(playbook: Playbook, name: str, version: str, **update: Any) -> str:
    """Deploy the version with the playbook; what that printed."""
    service = {
        "name": name,
        "image": f"10.78.0.1:5000/hello:{version}",
        "replicas": 3,
        "ports": [{"target": 8080, "published": PORT}],
        "health": {"http": {"path": "/healthz"}, "interval": "500ms"},
        "drain_delay": "500ms",
        "stop_grace_period": "1s",
        "update": {"monitor": "500ms", "parallelism": 2, **update},
    }
    run = playbook("deploy-service.yml", "-e", json.dumps({"service": service}))
    assert run.returncode == 0, run.stdout
    return run.stdout


def versions(addresses: dict[str, str]) -> set[str]:
    """What every host answers, some times."""
    answers = (get(address, PORT) for address in addresses.values() for _ in range(6))
    return {answer.split("version ")[1].strip() for answer in answers}


def test_a_rolling_update_and_the_way_back(
    playbook: Playbook, client: Client, addresses: dict[str, str], name: str
) -> None:
    deploy(playbook, name, "1")
    deploy(playbook, name, "2")
    updated = versions(addresses)

    back = playbook("rollback.yml", "-e", f"service_name={name}")
    again = playbook("rollback.yml", "-e", f"service_name={name}")

    assert updated == {"2"}
    assert (back.returncode, again.returncode) == (0, 0), back.stdout
    assert [changed_hosts(run.stdout)["localhost"] for run in (back, again)] == [1, 0]
    assert versions(addresses) == {"1"}
    assert [each.state for each in client.get_history(name).rollouts] == [
        RolloutState.COMPLETE,
        RolloutState.COMPLETE,
    ]


def test_a_bad_revision_is_rolled_back_with_its_last_line(
    playbook: Playbook, client: Client, addresses: dict[str, str], name: str
) -> None:
    deploy(playbook, name, "1")
    bad = {"name": name, "command": ["busybox", "sh", "-c", "echo KeyError: DATABASE_URL; exit 3"]}
    bad["image"] = "10.78.0.1:5000/hello:1"

    run = playbook("deploy-service.yml", "-e", json.dumps({"service": bad}))

    assert run.returncode != 0
    assert f"{name}: rolled back to revision 1: " in run.stdout
    assert "KeyError: DATABASE_URL" in run.stdout
    assert versions(addresses) == {"1"}
    assert client.get_service(name).status.running == 3


def test_a_canary_has_a_share_and_then_all(
    playbook: Playbook, client: Client, addresses: dict[str, str], name: str
) -> None:
    deploy(playbook, name, "1")
    deploy(playbook, name, "2", strategy="canary", steps=[{"weight": 50, "manual": True}])
    share = client.get_rollout(name)
    both = versions(addresses)

    promoted = playbook("promote.yml", "-e", f"service_name={name}")

    assert (share.rollout.state, share.weight, both) == (RolloutState.WAITING, 50, {"1", "2"})
    assert promoted.returncode == 0, promoted.stdout
    assert versions(addresses) == {"2"}


def test_a_new_set_gets_all_traffic_and_gives_it_back(
    playbook: Playbook, client: Client, addresses: dict[str, str], name: str
) -> None:
    deploy(playbook, name, "1")
    deploy(playbook, name, "2", strategy="blue_green", smoke={"http": {"path": "/healthz"}})
    switched = versions(addresses)

    acted = client.abort_rollout(name)
    rollouts.wait_rollout(
        client, name, acted.view.rollout.id, timeout=timedelta(seconds=60), back=True
    )

    assert switched == {"2"}
    assert versions(addresses) == {"1"}
