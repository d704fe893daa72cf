"""A registry with a password and an authority of its own, on real hosts: what a wrong password
leads to, a right one, another one, and another node; and every place where they must not be."""

import json
import subprocess
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from conftest import REGISTRY, run, wait_until
from markers import Marker
from warren.client.client import Client
from warren.client.waits import wait_service, wait_service_gone
from warren.model.secrets import SecretSpec
from warren.model.services import Placement, PullPolicy, ServiceSpec
from warren.model.tasks import Task

from tests.contract import registries
from tests.contract.registries import Settings
from tests.fleet.registry import program

HOSTS = "m1,m2,m3,w1,w2"
SETTINGS = Settings(host="10.78.0.1", port=5443, tls=True, htpasswd="nobody:x\n")
IMAGE = f"{SETTINGS.address}/hello:{uuid.uuid4().hex[:8]}"
USER = "deploy"
MINUTE = timedelta(minutes=1)
Playbook = Callable[..., subprocess.CompletedProcess[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """One that runs, with an account, and with an image that no host has."""

    directory: Path

    def let_in(self, password: Marker) -> None:
        """This password counts from now on, and no other."""
        command = ("mkpasswd", "--method=bcrypt", "--stdin")
        hashed = subprocess.run(
            command, input=password.text, capture_output=True, check=True, text=True
        )
        accounts = f"{USER}:{hashed.stdout.strip()}\n"
        registries.set_accounts(self.directory, SETTINGS, accounts)

    def push(self, password: Marker) -> None:
        accounts = self.directory / "accounts.json"
        entry = {"username": USER, "password": password.text}
        accounts.write_text(json.dumps({"auths": {SETTINGS.address: as_docker(entry)}}))
        options = ("--src-tls-verify=false", "--dest-tls-verify=false", "--authfile", str(accounts))
        source, target = f"docker://{REGISTRY}/hello:1", f"docker://{IMAGE}"
        run("skopeo", "copy", "--quiet", *options, source, target)
        accounts.unlink()

    @property
    def certificate(self) -> str:
        return registries.certificate_of(self.directory, SETTINGS).read_text()


@pytest.fixture
def registry(playbook: Playbook, tmp_path: Path) -> Iterator[Registry]:
    """Known to the hosts by its certificate, which the inventory has."""
    settings = replace(SETTINGS, program=str(program()))
    with registries.running(tmp_path, settings):
        found = Registry(directory=tmp_path)
        known = [
            {"host": REGISTRY, "insecure": True},
            {"host": SETTINGS.address, "ca_certificate": found.certificate},
        ]
        variables = tmp_path / "registries.yml"
        variables.write_text(yaml.safe_dump({"warren_containerd_registries": known}))
        options = ("--limit", HOSTS, "--tags", "containerd", "-e", f"@{variables}")
        done = playbook("site.yml", *options)
        assert done.returncode == 0, done.stdout[-3000:]
        yield found


@pytest.fixture
def name(client: Client) -> Iterator[str]:
    """Of services and of a secret that are gone afterwards."""
    name = f"scratch-{uuid.uuid4().hex[:6]}"
    yield name
    for view in client.list_services():
        found = view.service.spec.name
        if found.startswith(name):
            client.delete_service(found)
            wait_service_gone(client, found, timeout=MINUTE)
    client.delete_secret(name)


def as_docker(entry: dict[str, str]) -> dict[str, str]:
    """As skopeo wants it."""
    text = f"{entry['username']}:{entry['password']}"
    encoded = subprocess.run(["base64", "-w0"], input=text, capture_output=True, text=True)
    return {"auth": encoded.stdout}


def credentials(password: Marker) -> bytes:
    return json.dumps({"username": USER, "password": password.text}).encode()


def on(node: str, service: str, image: str, **values: object) -> ServiceSpec:
    placement = Placement(constraints=(f"node.name == {node}",))
    return ServiceSpec(name=service, image=image, placement=placement, **values)  # type: ignore[arg-type]


def tasks_of(client: Client, service: str) -> tuple[Task, ...]:
    return tuple(task for task in client.get_service(service).tasks if task.wanted)


def runs_on(client: Client, service: str) -> str:
    """The node of its one task; empty: not as its spec wants it, yet."""
    view = client.get_service(service)
    return view.node_names[0] if view.status.converged else ""


def only_in_memory(*passwords: Marker) -> bool:
    """None is anywhere but in what workers keep in memory."""
    found = {place for password in passwords for place in password.places(HOSTS)}
    return all(place.startswith("/run/warren/files/") for place in found)


def test_a_service_is_pulled_with_the_password_of_the_moment_wherever_it_runs(
    client: Client, playbook: Playbook, registry: Registry, name: str, tmp_path: Path
) -> None:
    wrong, right, later = Marker(), Marker(), Marker()
    registry.let_in(right)
    registry.push(right)
    fields = ("image", "registry_secret", "placement")
    guarded = on("w1", name, IMAGE, registry_secret=name)

    # A wrong password: said, tried again, and no matter of the service beside it.
    client.apply_secret(SecretSpec(name=name), (), credentials(wrong))
    client.apply_service(guarded, fields)
    refusal = (
        f"image {IMAGE} cannot be pulled: registry {SETTINGS.address} refused the credentials of "
        f"secret {name}; next start in "
    )
    wait_until(lambda: tasks_of(client, name)[0].status.failures > 1, seconds=60)
    wait_until(lambda: tasks_of(client, name)[0].status.message.startswith(refusal), seconds=60)
    client.apply_service(on("w1", f"{name}-beside", f"{REGISTRY}/hello:1"), ("image", "placement"))
    wait_service(client, f"{name}-beside", timeout=MINUTE)
    (refused,) = tasks_of(client, name)
    assert only_in_memory(wrong)

    # The right one: the same task runs at its next attempt.
    client.apply_secret(SecretSpec(name=name), (), credentials(right))
    wait_until(lambda: runs_on(client, name) == "w1", seconds=150)
    (running,) = tasks_of(client, name)
    assert running.id == refused.id
    assert only_in_memory(wrong, right)
    assert wrong.places(HOSTS) == []
    assert right.places(HOSTS) != []

    # Another one: no task is touched, no job shows it, and the next pull takes it, on another node.
    registry.let_in(later)
    variables = tmp_path / "value.yml"
    variables.write_text(json.dumps({"secret_name": name, "secret_value": to_json(later)}))
    rotated = playbook("rotate-secret.yml", "-e", f"@{variables}", "-vvv")
    variables.unlink()
    assert rotated.returncode == 0, rotated.stdout
    assert later.text not in rotated.stdout + rotated.stderr
    (untouched,) = tasks_of(client, name)
    assert (untouched.id, untouched.status) == (running.id, running.status)
    client.apply_service(on("w2", name, IMAGE), ("placement",))
    wait_until(lambda: runs_on(client, name) == "w2", seconds=150)
    assert only_in_memory(right, later)
    assert right.places(HOSTS) == []

    # An image that is asked for at each start is refused where its service has no credentials.
    client.apply_service(
        on("w2", f"{name}-bare", IMAGE, pull=PullPolicy.ALWAYS), ("image", "placement", "pull")
    )
    wants = f"image {IMAGE} cannot be pulled: registry {SETTINGS.address} wants credentials"
    wait_until(
        lambda: tasks_of(client, f"{name}-bare")[0].status.message.startswith(wants), seconds=60
    )

    client.delete_service(name)
    wait_service_gone(client, name, timeout=MINUTE)
    assert client.delete_secret(name)
    wait_until(lambda: not later.places(HOSTS), seconds=60)


def to_json(password: Marker) -> str:
    """As an inventory writes it: not the value itself, but how it is made."""
    return f"{{{{ {{'username': '{USER}', 'password': '{password.text}'}} | to_json }}}}"
