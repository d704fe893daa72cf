"""Autolock on real hosts: managers that are restarted, tasks that wait, and who brings the key."""

import subprocess
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from conftest import INVENTORY, run, wait_until
from markers import Marker
from warren.bootstrap import autolock
from warren.client import rotations
from warren.client.client import Client
from warren.client.waits import wait_service, wait_service_gone
from warren.model.errors import FailedPrecondition, Unavailable, WarrenError
from warren.model.secrets import SecretReference, SecretSpec
from warren.model.services import Secret, ServiceSpec

IMAGE = "10.78.0.1:5000/hello:1"
MINUTE = timedelta(minutes=1)
SECONDS = timedelta(seconds=10)
WAITS = "waits for secret {} version 1: the managers are locked (warren cluster unlock)"
Playbook = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def marker() -> Marker:
    """In the passphrase."""
    return Marker()


@pytest.fixture
def name(client: Client, marker: Marker) -> Iterator[str]:
    """Of a service and a secret that are gone afterwards, and autolock with them."""
    name = f"scratch-{uuid.uuid4().hex[:6]}"
    yield name
    wait_until(lambda: locked(client) is not None, seconds=60)
    if locked(client):
        autolock.unlock(client, Secret(marker.text))
    if any(view.service.spec.name == name for view in client.list_services()):
        client.delete_service(name)
        wait_service_gone(client, name, timeout=MINUTE)
    client.delete_secret(name)
    autolock.turn_off(client)


def locked(client: Client) -> tuple[str, ...] | None:
    """Once all managers answer."""
    try:
        view = client.get_autolock()
    except WarrenError:
        return None
    return None if autolock.silent(view) else autolock.locked(view)


def read_by(client: Client, name: str) -> str:
    """What the task reads as its secret; empty while its worker looks for the new leader."""
    words = ("busybox", "cat", f"/run/secrets/{name}")
    try:
        return client.execute(f"{name}.1", words, timeout=SECONDS).stdout.decode().strip()
    except Unavailable:
        return ""


def restart_managers() -> None:
    restart = ("ansible.builtin.systemd_service", "-a", "name=warren-manager state=restarted")
    run("ansible", "-i", str(INVENTORY), "warren_managers", "-m", *restart)


def test_restarted_managers_wait_for_a_passphrase_that_no_host_ever_has(
    client: Client, playbook: Playbook, marker: Marker, name: str, tmp_path: Path
) -> None:
    value = Marker()
    passphrase = Secret(marker.text)
    managers = tuple(each.node.spec.name for each in client.get_cluster().managers)
    client.apply_secret(SecretSpec(name=name), ("name",), value.value)
    spec = ServiceSpec(name=name, image=IMAGE, secrets=(SecretReference(name=name),))
    client.apply_service(spec, ("name", "image", "secrets"))
    wait_service(client, name, timeout=MINUTE)
    autolock.turn_on(client, passphrase)
    rotations.wait_resealed(client, timeout=MINUTE)

    restart_managers()
    wait_until(lambda: locked(client) == managers, seconds=60)
    # A task that runs goes on, and has its secret.
    wait_until(lambda: read_by(client, name).encode() == value.value, seconds=30)
    with pytest.raises(FailedPrecondition, match="the leader is locked"):
        client.apply_secret(SecretSpec(name=name), ("name",), b"another")
    more = ServiceSpec(name=name, image=IMAGE, replicas=3)
    client.apply_service(more, ("replicas",))
    wait_until(lambda: WAITS.format(name) in messages(client, name), seconds=30)

    variables = tmp_path / "vaulted.yml"
    variables.write_text("warren_cluster_unlock_key: not the passphrase\n")
    refused = playbook("unlock.yml", "-e", f"@{variables}")
    variables.write_text(f"warren_cluster_unlock_key: {passphrase}\n")
    unlocked = playbook("unlock.yml", "-e", f"@{variables}", "-vvv")
    again = playbook("site.yml", "--tags", "cluster", "-e", f"@{variables}")
    variables.unlink()

    assert refused.returncode != 0
    assert "unlock key: is not the one that the managers are locked with" in refused.stdout
    assert unlocked.returncode == 0, unlocked.stdout
    assert again.returncode == 0, again.stdout
    assert passphrase not in unlocked.stdout + unlocked.stderr + again.stdout
    assert locked(client) == ()
    wait_service(client, name, timeout=MINUTE)
    assert marker.places() == []


def messages(client: Client, name: str) -> list[str]:
    return [task.status.message for task in client.get_service(name).tasks]
