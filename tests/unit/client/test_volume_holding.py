"""Holding a volume's tasks, and giving them back, against a manager in memory."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from warren.client import Client, connect, volume_holding
from warren.client.volume_holding import Quiesce
from warren.model.errors import FailedPrecondition, WaitFailed
from warren.model.services import MountSpec, ServiceSpec
from warren.model.volumes import VolumeSpec

from tests.modules.fake_manager import FakeManager

PATIENCE = timedelta(seconds=30)


@pytest.fixture
def client(endpoint: str) -> Iterator[Client]:
    with connect(endpoints=[endpoint]) as connected:
        yield connected


@pytest.fixture(autouse=True)
def services(manager: FakeManager, client: Client) -> None:
    """Two services share a volume."""
    client.apply_volume(
        VolumeSpec(name="data", shared=True, labels={"mine": "1"}), ("shared", "labels")
    )
    for name, replicas in (("api", 2), ("web", 1)):
        manager.put(a_spec(name, replicas))


def a_spec(name: str, replicas: int = 1, image: str = "app:1") -> ServiceSpec:
    mounts = (MountSpec(source="data", target="/data"),)
    return ServiceSpec(name=name, image=image, replicas=replicas, mounts=mounts)


def replicas(manager: FakeManager) -> dict[str, int]:
    return {name: service.spec.replicas for name, service in manager.state.services.items()}


def labels(manager: FakeManager) -> dict[str, str]:
    return dict(manager.state.volumes["data"].spec.labels)


def test_all_services_of_a_volume_stop_and_come_back(manager: FakeManager, client: Client) -> None:
    holding = volume_holding.find(client, "data")
    volume_holding.check(holding, Quiesce.STOP, exclusive=True)

    volume_holding.stop(client, holding, timeout=PATIENCE)
    held = (replicas(manager), labels(manager), client.get_volume("data").tasks)
    started = volume_holding.start(client, volume_holding.find(client, "data"), timeout=PATIENCE)

    marks = {"warren.replicas-of/api": "2", "warren.replicas-of/web": "1"}
    assert held == ({"api": 0, "web": 0}, {"mine": "1", **marks}, ())
    assert started == ("api", "web")
    assert (replicas(manager), labels(manager)) == ({"api": 2, "web": 1}, {"mine": "1"})


def test_who_was_scaled_meanwhile_stays_so(manager: FakeManager, client: Client) -> None:
    volume_holding.stop(client, volume_holding.find(client, "data"), timeout=PATIENCE)
    client.apply_service(a_spec("api", 5), ("replicas",))

    started = volume_holding.start(client, volume_holding.find(client, "data"), timeout=PATIENCE)

    assert started == ("web",)
    assert (replicas(manager), labels(manager)) == ({"api": 5, "web": 1}, {"mine": "1"})


def test_a_service_that_had_no_replicas_gets_none(manager: FakeManager, client: Client) -> None:
    client.apply_service(a_spec("api", 0), ("replicas",))

    volume_holding.stop(client, volume_holding.find(client, "data"), timeout=PATIENCE)
    volume_holding.start(client, volume_holding.find(client, "data"), timeout=PATIENCE)

    assert replicas(manager) == {"api": 0, "web": 1}


def test_giving_back_what_nobody_took_changes_nothing(manager: FakeManager, client: Client) -> None:
    before = manager.state

    started = volume_holding.start(client, volume_holding.find(client, "data"), timeout=PATIENCE)

    assert started == ()
    assert manager.state.services == before.services
    assert manager.state.volumes == before.volumes


def test_tasks_that_do_not_stop_are_named(
    manager: FakeManager, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manager, "_worker_step", lambda: False)

    with pytest.raises(
        WaitFailed, match=r"volume data: api\.1, api\.2, web\.1 did not stop within 0s"
    ):
        volume_holding.stop(client, volume_holding.find(client, "data"), timeout=timedelta())


def test_a_service_that_is_being_rolled_out_is_not_stopped(
    manager: FakeManager, client: Client
) -> None:
    manager.put(a_spec("web", image="hangs:2"))

    with pytest.raises(FailedPrecondition, match="service web, which uses volume data, is being"):
        volume_holding.check(volume_holding.find(client, "data"), Quiesce.STOP)


def test_a_command_is_tried_in_all_tasks(manager: FakeManager, client: Client) -> None:
    said = volume_holding.run(
        client, volume_holding.find(client, "data"), ("sync",), timeout=PATIENCE
    )

    assert said == {"api.1": "hello", "api.2": "hello", "web.1": "hello"}
    assert manager.commands == [("sync",)] * 3


def test_nothing_is_run_where_nothing_runs(manager: FakeManager, client: Client) -> None:
    for name in ("api", "web"):
        client.apply_service(a_spec(name, 0), ("replicas",))

    with pytest.raises(FailedPrecondition, match="volume data has no task that a command could be"):
        volume_holding.check(volume_holding.find(client, "data"), Quiesce.EXEC)


def test_other_marks_and_numbers_are_not_believed(manager: FakeManager, client: Client) -> None:
    client.apply_service(a_spec("web", 0), ("replicas",))
    marked = VolumeSpec(name="data", labels={"warren.replicas-of/web": "many"})
    client.apply_volume(marked, ("labels",))

    found = volume_holding.find(client, "data")

    assert found.replicas == {"api": 2, "web": 0}
    assert replace(found).stopped == {"api": 2}
