"""A secret's way to its tasks on real hosts, and every place where it must not be."""

import subprocess
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from conftest import INVENTORY, run, wait_until
from markers import Marker
from warren.client import rollouts
from warren.client.client import Client
from warren.client.waits import wait_service, wait_service_gone
from warren.model.secrets import ConfigReference, ConfigSpec, SecretReference, SecretSpec
from warren.model.services import ServiceSpec
from warren.model.units import parse_duration

IMAGE = "10.78.0.1:5000/hello:1"
MINUTE = timedelta(minutes=1)
SECONDS = timedelta(seconds=10)
NEEDS_GOOD = "busybox grep -q good /run/secrets/p && exec busybox sleep 99999"
Playbook = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def name(client: Client) -> Iterator[str]:
    """Of a service, a secret and a config that are gone afterwards."""
    name = f"scratch-{uuid.uuid4().hex[:6]}"
    yield name
    if any(view.service.spec.name == name for view in client.list_services()):
        client.delete_service(name)
        wait_service_gone(client, name, timeout=MINUTE)
    client.delete_secret(name)
    client.delete_config(name)


def deploy(client: Client, name: str) -> None:
    spec = ServiceSpec(
        name=name,
        image=IMAGE,
        secrets=(SecretReference(name=name, target="db/password", uid=7, mode="0440"),),
        configs=(ConfigReference(name=name, target="/etc/settings", template=True),),
    )
    client.apply_service(spec, ("name", "image", "secrets", "configs"))
    wait_service(client, name, timeout=MINUTE)


def said(client: Client, name: str, command: str) -> str:
    words = ("busybox", "sh", "-c", command)
    return client.execute(f"{name}.1", words, timeout=SECONDS).stdout.decode().strip()


def test_a_secret_is_in_its_task_and_nowhere_else(
    client: Client, playbook: Playbook, name: str, tmp_path: Path
) -> None:
    one, two = Marker(), Marker()
    client.apply_secret(SecretSpec(name=name), (), one.value)
    client.apply_config(ConfigSpec(name=name), (), b"{{ task.name }} on {{ node.name }}")
    deploy(client, name)
    node = client.get_service(name).node_names[0]

    read = said(client, name, "busybox cat /run/secrets/db/password")
    assert read.encode() == one.value
    mode = said(client, name, "busybox stat -c '%a %u' /run/secrets/db/password")
    assert mode == "440 7"
    assert said(client, name, "busybox cat /etc/settings") == f"{name}.1 on {node}"
    assert said(client, name, "echo x > /run/secrets/new 2> /dev/null; echo $?") != "0"
    for place in one.places():
        assert place.startswith(("/run/warren/files/", "/run/warren/tasks/")), place

    variables = tmp_path / "value.yml"
    variables.write_text(f'{{secret_name: {name}, secret_value: "{two.value.decode()}"}}\n')
    rotated = playbook("rotate-secret.yml", "-e", f"@{variables}", "-vvv")
    variables.unlink()
    assert rotated.returncode == 0, rotated.stdout
    assert two.value.decode() not in rotated.stdout + rotated.stderr
    read = said(client, name, "busybox cat /run/secrets/db/password")
    assert read.encode() == two.value

    client.delete_service(name)
    wait_service_gone(client, name, timeout=MINUTE)
    assert client.delete_secret(name)
    wait_until(lambda: not one.places() and not two.places(), seconds=60)


def test_a_task_keeps_its_secret_without_managers(client: Client, name: str) -> None:
    """The agent is restarted, and the process killed: no manager is needed for either."""
    marker = Marker()
    client.apply_secret(SecretSpec(name=name), (), marker.value)
    client.apply_config(ConfigSpec(name=name), (), b"x")
    deploy(client, name)
    node = client.get_service(name).node_names[0]
    began = client.get_service(name).tasks[0].status.since

    restart = ("ansible.builtin.systemd_service", "-a", "name=warren-worker state=restarted")
    run("ansible", "-i", str(INVENTORY), node, "-m", *restart)
    said(client, name, "busybox kill -9 1; busybox killall busybox")

    wait_until(lambda: client.get_service(name).tasks[0].status.since > began, seconds=30)
    wait_service(client, name, timeout=MINUTE)
    read = said(client, name, "busybox cat /run/secrets/db/password")
    assert read.encode() == marker.value


def test_a_bad_version_goes_back_with_its_rollout(client: Client, name: str) -> None:
    client.apply_secret(SecretSpec(name=name), (), b"good")
    client.apply_config(ConfigSpec(name=name), (), b"x")
    spec = ServiceSpec(
        name=name,
        image=IMAGE,
        command=("busybox", "sh", "-c", NEEDS_GOOD),
        secrets=(SecretReference(name=name, target="p"),),
    )
    client.apply_service(spec, ("name", "image", "command", "secrets"))
    wait_service(client, name, timeout=MINUTE)

    applied = client.apply_secret(SecretSpec(name=name), (), b"bad")

    with pytest.raises(rollouts.RolloutWaitFailed, match="rolled back to revision 1"):
        rollouts.wait_followers(client, applied.rollouts, timeout=parse_duration("3m"))
    assert client.get_service(name).service.spec.secrets[0].pinned == 1
