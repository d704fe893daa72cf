"""A secret's way from its creation into a new task, on the hosts of `tools/bench.py`.

A task's files are there before its process begins, so the clock stops when the task runs; that it
can read the value is then asked of itself.
"""

import os
import time
from datetime import timedelta

from warren.client.client import Client
from warren.client.waits import wait_service_gone
from warren.model.secrets import SecretReference, SecretSpec
from warren.model.services import ServiceSpec

NAME = "bench-secret"
MINUTE = timedelta(minutes=1)


def to_new_tasks(client: Client, image: str, rounds: int) -> tuple[float, ...]:
    """Seconds from sending the value to a task that runs and can read it, with the image there."""
    return tuple(_one(client, image) for _ in range(rounds))


def _one(client: Client, image: str) -> float:
    value = os.urandom(32).hex()
    spec = ServiceSpec(name=NAME, image=image, secrets=(SecretReference(name=NAME),))
    try:
        begin = time.monotonic()
        client.apply_secret(SecretSpec(name=NAME), ("name",), value.encode())
        client.apply_service(spec, ("name", "image", "secrets"))
        for view in client.watch_service(NAME, timeout=60):
            if view.status.running:
                break
        seconds = time.monotonic() - begin
        command = ("busybox", "cat", f"/run/secrets/{NAME}")
        read = client.execute(f"{NAME}.1", command, timeout=MINUTE).stdout.decode()
        assert read == value, f"the task reads {len(read)} bytes, and not the value"
    finally:
        client.delete_service(NAME)
        wait_service_gone(client, NAME, timeout=MINUTE)
        client.delete_secret(NAME)
    return seconds
