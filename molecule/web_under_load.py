"""A web service under a load of 500 requests a second."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from conftest import FLEET, REGISTRY, run, wait_until
from warren.client.client import Client
from warren.client.waits import wait_service, wait_service_gone
from warren.model.nodes import NodeState
from warren.model.services import HealthCheck, HttpCheck, Port, ServiceSpec
from warren.model.views import ServiceView

from tests.load.running import Report, Stream, load

WEB = "web"
PUBLISHED = 8090
SSH_CONFIG = Path("/var/lib/warren-fleet") / FLEET / "ssh_config"
PATIENCE = timedelta(seconds=90)
SPEC = ServiceSpec(
    name=WEB,
    image=f"{REGISTRY}/web:1",
    replicas=4,
    ports=(Port(name="http", target=8080, published=PUBLISHED),),
    health=HealthCheck(http=HttpCheck(path="/healthz"), interval=timedelta(seconds=1)),
)
Scale = Callable[[int], ServiceView]
Loaded = Callable[..., AbstractContextManager[Report]]


@pytest.fixture(scope="session", autouse=True)
def image() -> None:
    run("tests/load/image/build.sh", REGISTRY)


@pytest.fixture
def all_nodes(client: Client) -> None:
    """Every host is there, whatever an earlier test did to it."""
    wait_until(
        lambda: all(v.node.status.state is NodeState.READY for v in client.list_nodes()),
        seconds=60,
    )


@pytest.fixture
def web(client: Client, all_nodes: None) -> Iterator[ServiceView]:
    """Four healthy tasks; gone after the test."""
    yield deploy(client, SPEC)
    client.delete_service(WEB)
    wait_service_gone(client, WEB, timeout=PATIENCE)


def deploy(client: Client, spec: ServiceSpec) -> ServiceView:
    """Apply every field, and wait until all is as the spec says."""
    fields = ("image", "replicas", "ports", "health", "affinity", "placement", "stop_signal")
    applied = client.apply_service(spec, fields)
    return wait_service(
        client,
        spec.name,
        timeout=PATIENCE,
        stable_for=timedelta(),
        version=applied.version,
        changed=applied.changed,
    )


@pytest.fixture
def scale(client: Client) -> Scale:
    def to(replicas: int) -> ServiceView:
        return deploy(client, replace(SPEC, replicas=replicas))

    return to


@pytest.fixture
def loaded(web: ServiceView, addresses: dict[str, str]) -> Loaded:
    """`with loaded(): …`: 500 requests a second for the duration, half on connections that are
    kept, through the published port of every host and, from w1, through the virtual address."""

    @contextmanager
    def start(*, without: str = "") -> Iterator[Report]:
        urls = tuple(
            f"http://{address}:{PUBLISHED}/"
            for name, address in addresses.items()
            if name != without
        )
        streams = (
            Stream(urls=urls, rate=200, mode="new"),
            Stream(urls=urls, rate=200, mode="keep"),
            Stream(urls=(f"http://{web.service.vip}:8080/",), rate=50, mode="new", where="w1"),
            Stream(urls=(f"http://{web.service.vip}:8080/",), rate=50, mode="keep", where="w1"),
        )
        with load(streams, SSH_CONFIG) as report:
            yield report
        print(f"\n  {report}")

    return start
