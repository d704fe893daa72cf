"""Waiting for rollouts: what counts as done, what it outlives, and how a failure is told."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from warren.api import warren_pb2
from warren.client import Client, connect, rollouts
from warren.client.rollouts import RolloutWaitFailed, TaskLines
from warren.model.errors import FailedPrecondition, NotFound
from warren.model.rollouts import (
    CanaryStep,
    FailureAction,
    RolloutPhase,
    RolloutState,
    Strategy,
    UpdatePolicy,
)
from warren.model.services import ServiceSpec
from warren.model.tasks import TaskState
from warren.model.views import RolloutView, ServiceApplied

from tests.modules.fake_manager import FakeManager

LONG = timedelta(seconds=20)
SHORT = timedelta(milliseconds=300)
AT_ONCE = UpdatePolicy(parallelism="100%", monitor=timedelta())
CANARY = UpdatePolicy(
    strategy=Strategy.CANARY,
    steps=(CanaryStep(weight=10, manual=True), CanaryStep(weight=50, manual=True)),
    monitor=timedelta(),
)
BLUE_GREEN = UpdatePolicy(strategy=Strategy.BLUE_GREEN, monitor=timedelta(), grace_period=LONG)


@pytest.fixture
def client(endpoint: str) -> Iterator[Client]:
    with connect(endpoints=[endpoint], timeout=5.0) as connected:
        yield connected


def begin(
    client: Client, manager: FakeManager, policy: UpdatePolicy, image: str = "web:2"
) -> ServiceApplied:
    """A service of three tasks moves on to another image."""
    if "web" not in manager.state.services:
        manager.put(ServiceSpec(name="web", image="web:1", replicas=3, update=policy))
    return client.apply_service(ServiceSpec(name="web", image=image), ("image",))


def test_a_change_is_done_when_its_rollout_is_complete(
    client: Client, manager: FakeManager
) -> None:
    applied = begin(client, manager, AT_ONCE)
    seen: list[str] = []

    view, rollout = rollouts.wait_applied(
        client, applied, timeout=LONG, on_rollout=lambda view: seen.append(view.rollout.id)
    )

    assert rollout is not None
    assert rollout.rollout.state is RolloutState.COMPLETE
    assert (view.service.revision, view.status.converged) == (2, True)
    assert set(seen) == {applied.rollout}


def test_a_change_without_a_rollout_waits_for_the_service(
    client: Client, manager: FakeManager
) -> None:
    manager.put(ServiceSpec(name="web", image="web:1"))
    applied = client.apply_service(ServiceSpec(name="web", image="", replicas=2), ("replicas",))

    view, rollout = rollouts.wait_applied(client, applied, timeout=LONG)

    assert (view.status.running, rollout) == (2, None)


def test_a_rollout_that_was_rolled_back_fails_with_its_reason(
    client: Client, manager: FakeManager
) -> None:
    applied = begin(client, manager, AT_ONCE, image="fails")

    with pytest.raises(RolloutWaitFailed) as failure:
        rollouts.wait_applied(client, applied, timeout=LONG)

    view = failure.value.view
    assert view is not None
    assert str(failure.value) == f"web: rolled back to revision 1: {view.rollout.reason}"
    assert "KeyError: DATABASE_URL" in view.rollout.reason
    assert client.get_service("web").service.spec.image == "web:1"


def test_a_failure_is_explained_by_the_last_lines_of_the_task(
    client: Client, manager: FakeManager
) -> None:
    applied = begin(client, manager, UpdatePolicy(monitor=timedelta()), image="fails")
    lines = (b"reading", b"KeyError: DATABASE_URL")
    manager.log_lines = [warren_pb2.LogLine(task_id="web-1-x", line=line) for line in lines]
    with pytest.raises(RolloutWaitFailed) as failure:
        rollouts.wait_rollout(client, "web", applied.rollout, timeout=LONG)

    told = rollouts.explained(client, failure.value)

    assert told.lines == (
        TaskLines(name="web.1", node="m1", lines=("reading", "KeyError: DATABASE_URL")),
    )
    assert str(told) == (
        f"{failure.value}\nweb.1 on m1 wrote last:\n  reading\n  KeyError: DATABASE_URL"
    )


def test_lines_that_are_gone_are_replaced_by_the_last_that_is_known(
    client: Client, manager: FakeManager
) -> None:
    applied = begin(client, manager, UpdatePolicy(monitor=timedelta()), image="fails")
    with pytest.raises(RolloutWaitFailed) as failure:
        rollouts.wait_rollout(client, "web", applied.rollout, timeout=LONG)

    told = rollouts.explained(client, failure.value)

    assert [each.lines for each in told.lines] == [("KeyError: DATABASE_URL",)]
    assert str(told) == str(failure.value)


def test_a_paused_rollout_fails_the_wait(client: Client, manager: FakeManager) -> None:
    policy = UpdatePolicy(monitor=timedelta(), on_failure=FailureAction.PAUSE)
    applied = begin(client, manager, policy, image="fails")

    with pytest.raises(RolloutWaitFailed, match=r"^web: paused at revision 2: task web\.1 on m1"):
        rollouts.wait_applied(client, applied, timeout=LONG)


def test_a_superseded_rollout_fails_the_wait_and_names_the_other(
    client: Client, manager: FakeManager
) -> None:
    first = begin(client, manager, CANARY)
    second = begin(client, manager, CANARY, image="web:3")

    with pytest.raises(RolloutWaitFailed, match=f"^web: superseded by {second.rollout}$"):
        rollouts.wait_applied(client, first, timeout=LONG)


def test_a_canary_is_waited_for_until_it_is_to_be_promoted(
    client: Client, manager: FakeManager
) -> None:
    applied = begin(client, manager, CANARY)

    first = rollouts.wait_rollout(client, "web", applied.rollout, timeout=LONG)
    client.promote_rollout("web", applied.rollout, step=1)
    second = rollouts.wait_rollout(client, "web", applied.rollout, timeout=LONG)
    client.promote_rollout("web", applied.rollout, step=2)
    view, last = rollouts.wait_applied(client, applied, timeout=LONG)

    assert last is not None
    assert [(each.rollout.state, each.weight) for each in (first, second, last)] == [
        (RolloutState.WAITING, 10),
        (RolloutState.WAITING, 50),
        (RolloutState.COMPLETE, None),
    ]
    assert view.status.converged


def test_a_switched_rollout_is_not_waited_for_until_the_old_set_is_gone(
    client: Client, manager: FakeManager
) -> None:
    applied = begin(client, manager, BLUE_GREEN)

    view, rollout = rollouts.wait_applied(client, applied, timeout=LONG)

    assert rollout is not None
    assert (rollout.rollout.phase, rollout.weight) == (RolloutPhase.SWITCHED, 100)
    assert (view.status.running, rollout.ready_old) == (6, 3)


def test_an_abort_is_waited_for_until_only_the_revision_before_is_left(
    client: Client, manager: FakeManager
) -> None:
    applied = begin(client, manager, CANARY)

    acted = client.abort_rollout("web", applied.rollout, reason="too slow")
    view = rollouts.wait_rollout(client, "web", applied.rollout, timeout=LONG, back=True)

    assert acted.changed
    assert view.rollout.state is RolloutState.ROLLED_BACK
    assert view.rollout.reason == "aborted by alice: too slow"
    assert (view.tasks_new, view.ready_old) == (0, 3)


def test_a_service_goes_back_to_the_revision_before(client: Client, manager: FakeManager) -> None:
    rollouts.wait_applied(client, begin(client, manager, AT_ONCE), timeout=LONG)

    acted = client.roll_back_service("web")
    view = rollouts.wait_rollout(client, "web", acted.view.rollout.id, timeout=LONG)

    assert (view.rollout.state, view.rollout.to_revision) == (RolloutState.COMPLETE, 1)
    assert client.get_service("web").service.spec.image == "web:1"
    assert not client.roll_back_service("web", 1).changed


def test_dry_runs_of_acts_change_nothing(client: Client, manager: FakeManager) -> None:
    applied = begin(client, manager, CANARY)
    before = manager.state

    states = [
        client.promote_rollout("web", dry_run=True).view.rollout.step,
        client.pause_rollout("web", dry_run=True).view.rollout.state,
        client.abort_rollout("web", dry_run=True).view.rollout.state,
    ]

    assert states == [2, RolloutState.PAUSED, RolloutState.ROLLING_BACK]
    assert manager.state == before
    assert client.get_rollout("web").rollout.id == applied.rollout


def test_what_is_so_already_changes_nothing(client: Client, manager: FakeManager) -> None:
    begin(client, manager, CANARY)
    client.promote_rollout("web", step=1)

    again = [client.promote_rollout("web", step=1).changed, client.pause_rollout("web").changed]
    again += [client.pause_rollout("web").changed, client.resume_rollout("web").changed]

    assert again == [False, True, False, True]
    with pytest.raises(FailedPrecondition, match="is at step 2, not 3 yet"):
        client.promote_rollout("web", step=3)


def test_a_wait_survives_streams_that_end_and_managers_that_know_no_leader(
    client: Client, manager: FakeManager
) -> None:
    applied = begin(client, manager, AT_ONCE, image="hangs")
    manager.breaks_watches = 2
    manager.unavailable = 3
    looks: list[RolloutView] = []

    def start_all_at_the_third_look(view: RolloutView) -> None:
        looks.append(view)
        for slot in (1, 2, 3) if len(looks) == 3 else ():
            manager.change_task(f"web.{slot}", revision=2, state=TaskState.RUNNING)

    view = rollouts.wait_rollout(
        client,
        "web",
        applied.rollout,
        timeout=LONG,
        on_progress=start_all_at_the_third_look,
    )

    assert view.rollout.state is RolloutState.COMPLETE
    assert manager.calls == ["ApplyService", *["WatchRollout"] * 6]


def test_the_wait_ends_at_its_timeout_and_says_what_the_rollout_waits_for(
    client: Client, manager: FakeManager
) -> None:
    applied = begin(client, manager, AT_ONCE, image="hangs")

    with pytest.raises(RolloutWaitFailed) as failure:
        rollouts.wait_applied(client, applied, timeout=SHORT)

    assert str(failure.value) == (
        "web: rollout not over after 300ms: batch 1: 0 of 3 tasks of revision 2 are ready"
    )
    assert client.get_rollout("web").rollout.state is RolloutState.RUNNING


def test_the_wait_goes_on_when_tasks_become_ready(client: Client, manager: FakeManager) -> None:
    applied = begin(client, manager, AT_ONCE, image="hangs")
    looks = iter(range(1, 4))

    def start_one(_: object) -> None:
        slot = next(looks, None)
        if slot is not None:
            task = f"web.{slot}"
            manager.change_task(task, revision=2, state=TaskState.RUNNING, message="")

    view, _ = rollouts.wait_applied(client, applied, timeout=LONG, on_rollout=start_one)

    assert view.status.converged


def test_the_rollouts_of_a_cluster_and_of_a_service_are_listed(
    client: Client, manager: FakeManager
) -> None:
    first = begin(client, manager, CANARY)
    second = begin(client, manager, CANARY, image="web:3")
    manager.put(ServiceSpec(name="api", image="api:1"))

    newest = [view.rollout.id for view in client.list_rollouts()]
    of_web = [view.rollout.id for view in client.list_rollouts("web")]
    live = [view.rollout.id for view in client.list_rollouts("web", live=True)]

    assert (newest, of_web, live) == (
        [second.rollout],
        [second.rollout, first.rollout],
        [second.rollout],
    )
    with pytest.raises(NotFound, match=r"^api has no rollout$"):
        client.get_rollout("api")


def test_the_history_has_what_can_be_gone_back_to(client: Client, manager: FakeManager) -> None:
    rollouts.wait_applied(client, begin(client, manager, AT_ONCE), timeout=LONG)

    history = client.get_history("web")

    assert [(each.revision.number, each.current, each.tasks) for each in history.revisions] == [
        (2, True, 3),
        (1, False, 0),
    ]
    assert [each.to_revision for each in history.rollouts] == [2]
