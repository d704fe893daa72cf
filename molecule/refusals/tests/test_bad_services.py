"""A service that cannot be: one line that names the field or the task, and nothing half-done."""

import subprocess
from collections.abc import Callable
from datetime import timedelta

import pytest
from warren.client.client import Client
from warren.client.waits import wait_service_gone

Playbook = Callable[..., subprocess.CompletedProcess[str]]
IMAGE = "10.78.0.1:5000/hello:1"


@pytest.mark.parametrize(
    ("service", "sentence"),
    [
        (f"name: web, image: '{IMAGE}', ports: [{{targt: 80}}]", "web.ports[0].targt: unknown key"),
        (f"name: My_Web, image: '{IMAGE}'", "is not a DNS label"),
        (f"name: web, image: '{IMAGE}', replicas: -1", "web.replicas: -1 is not between"),
        (
            f"name: web, image: '{IMAGE}',"
            " resources: {limits: {memory: 1MiB}, reservations: {memory: 2MiB}}",
            "web.resources.limits.memory: 1MiB is below the reservation, 2MiB",
        ),
        (
            f"name: web, image: '{IMAGE}', ports: [{{target: 80, published: 8080}}]",
            "web.ports[0].published: 8080/tcp is held by service hello",
        ),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_made(
    playbook: Playbook, client: Client, service: str, sentence: str
) -> None:
    run = playbook("deploy-service.yml", "-e", f"{{service: {{{service}}}}}")

    assert run.returncode != 0
    assert sentence in run.stdout
    assert [view.service.spec.name for view in client.list_services()] == ["hello"]


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        ("10.78.0.1:5000/missing:9", "10.78.0.1:5000/missing:9 does not exist"),
        ("10.78.0.1:5999/hello:1", "registry 10.78.0.1:5999 is down"),
    ],
)
def test_an_image_that_cannot_be_had_is_named_with_the_reason(
    playbook: Playbook, client: Client, image: str, sentence: str
) -> None:
    run = playbook("deploy-service.yml", "-e", f"{{service: {{name: web, image: '{image}'}}}}")

    client.delete_service("web")
    wait_service_gone(client, "web", timeout=timedelta(seconds=30))
    assert run.returncode != 0
    assert sentence in run.stdout


def test_a_task_that_fits_no_node_says_what_is_missing(playbook: Playbook, client: Client) -> None:
    resources = "{reservations: {memory: 4TiB}}"
    service = f"{{service: {{name: web, image: '{IMAGE}', resources: {resources}}}}}"

    run = playbook("deploy-service.yml", "-e", service, "-e", "deploy_wait_timeout=5")

    client.delete_service("web")
    wait_service_gone(client, "web", timeout=timedelta(seconds=30))
    assert run.returncode != 0
    assert "no node has 4 TiB of memory free (5 of 5)" in run.stdout
