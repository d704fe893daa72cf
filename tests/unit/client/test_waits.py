"""Waiting for services: what counts as done, and what is in vain."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from warren.client import Client, connect, waits
from warren.client.waits import ServiceWaitFailed
from warren.model.errors import NotFound
from warren.model.services import Bytes, ResourceReservations, Resources, ServiceSpec
from warren.model.tasks import Health, TaskState
from warren.model.views import ServiceView

from tests.modules.fake_manager import FakeManager

SHORT = timedelta(milliseconds=200)
LONG = timedelta(seconds=20)


@pytest.fixture
def client(endpoint: str) -> Iterator[Client]:
    with connect(endpoints=[endpoint], timeout=5.0) as connected:
        yield connected


def test_a_running_service_is_waited_for_until_it_is_stable(
    client: Client, manager: FakeManager
) -> None:
    manager.put(ServiceSpec(name="web", image="web:1", replicas=3))

    view = waits.wait_service(client, "web", timeout=LONG, stable_for=SHORT)

    assert view.status.running == 3
    assert manager.calls.count("WatchService") == 2


def test_an_unchanged_service_that_has_run_before_is_not_waited_for(
    client: Client, manager: FakeManager
) -> None:
    manager.put(ServiceSpec(name="web", image="web:1"))
    waits.wait_service(client, "web", timeout=LONG, stable_for=SHORT)
    manager.calls.clear()

    waits.wait_service(client, "web", timeout=LONG, stable_for=SHORT, changed=False)

    assert manager.calls == ["WatchService"]


def test_a_service_that_becomes_running_is_waited_for(client: Client, manager: FakeManager) -> None:
    manager.put(ServiceSpec(name="web", image="hangs"))
    seen: list[str] = []

    def start_after_first_look(view: ServiceView) -> None:
        seen.append(view.status.reason)
        if len(seen) == 1:
            manager.change_task("web.1", state=TaskState.RUNNING, message="")

    view = waits.wait_service(
        client, "web", timeout=LONG, stable_for=SHORT, on_progress=start_after_first_look
    )

    assert view.status.converged
    assert "pulling the image" in seen[0]


def test_a_task_that_keeps_failing_ends_the_wait_with_its_last_line(
    client: Client, manager: FakeManager
) -> None:
    manager.put(ServiceSpec(name="web", image="fails"))

    with pytest.raises(ServiceWaitFailed) as failure:
        waits.wait_service(client, "web", timeout=LONG)

    assert str(failure.value) == f"web: {manager.reason('web')}"
    assert "web.1 on m1 failed 3 times: exit code 1" in str(failure.value)
    assert "KeyError: DATABASE_URL" in str(failure.value)
    assert failure.value.view is not None
    assert failure.value.view.status.failing == 1


def test_a_task_that_is_not_healthy_is_named_at_the_timeout_with_what_its_check_said(
    client: Client, manager: FakeManager
) -> None:
    manager.put(ServiceSpec(name="web", image="web:1"))
    said = "GET /healthz on 10.88.1.1:8080: 503"
    manager.change_task("web.1", health=Health.STARTING, health_output=said)

    with pytest.raises(ServiceWaitFailed) as failure:
        waits.wait_service(client, "web", timeout=timedelta(seconds=0.5))

    assert str(failure.value) == (
        f"web: not running after 500ms: 0 of 1 tasks run; web.1 on m1 is not healthy yet: {said}"
    )


def test_a_task_that_keeps_getting_unhealthy_ends_the_wait_while_it_runs(
    client: Client, manager: FakeManager
) -> None:
    manager.put(ServiceSpec(name="web", image="web:1"))
    manager.change_task("web.1", health=Health.STARTING, health_output="x", failures=3)

    with pytest.raises(ServiceWaitFailed, match=r"web\.1 on m1 failed 3 times: not healthy yet: x"):
        waits.wait_service(client, "web", timeout=LONG)


@pytest.mark.parametrize("state", [TaskState.FAILED, TaskState.COMPLETE])
def test_a_task_that_ended_for_good_ends_the_wait(
    client: Client, manager: FakeManager, state: TaskState
) -> None:
    manager.put(ServiceSpec(name="web", image="web:1"))
    manager.change_task("web.1", state=state, exit_code=0)

    with pytest.raises(ServiceWaitFailed, match=r"^web: "):
        waits.wait_service(client, "web", timeout=LONG)


def test_a_task_that_nobody_can_take_says_why_at_the_timeout(
    client: Client, manager: FakeManager
) -> None:
    too_much = Resources(reservations=ResourceReservations(memory=Bytes(512 * 2**30)))
    manager.put(ServiceSpec(name="web", image="web:1", resources=too_much))

    with pytest.raises(ServiceWaitFailed) as failure:
        waits.wait_service(client, "web", timeout=timedelta(milliseconds=300))

    assert str(failure.value) == f"web: not running after 300ms: {manager.reason('web')}"
    assert "no node has 512 GiB" in str(failure.value)


def test_a_service_that_is_not_there_is_not_waited_for(client: Client) -> None:
    with pytest.raises(NotFound):
        waits.wait_service(client, "web", timeout=LONG)


def test_a_cluster_without_a_leader_is_waited_for(client: Client, manager: FakeManager) -> None:
    manager.put(ServiceSpec(name="web", image="web:1"))
    manager.stop()

    with pytest.raises(ServiceWaitFailed, match=r"^web: not running after 300ms: unix:"):
        waits.wait_service(client, "web", timeout=timedelta(milliseconds=300))


def test_a_removed_service_is_waited_for_until_it_is_gone(
    client: Client, manager: FakeManager
) -> None:
    manager.put(ServiceSpec(name="web", image="web:1"))
    client.delete_service("web")

    waits.wait_service_gone(client, "web", timeout=LONG)

    assert client.list_services() == ()


def test_a_service_that_stays_is_told_at_the_timeout(client: Client, manager: FakeManager) -> None:
    manager.put(ServiceSpec(name="web", image="web:1"))

    with pytest.raises(ServiceWaitFailed, match=r"^web: not gone after 200ms"):
        waits.wait_service_gone(client, "web", timeout=SHORT)
