"""The playbooks that deliver new revisions, with their examples, as AWX would run them."""

import json
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from warren.model.rollouts import CanaryStep, RolloutPhase, RolloutState, Strategy, UpdatePolicy
from warren.model.services import ServiceSpec
from warren.model.tasks import TaskState

from tests.modules.conftest import ROOT, Play, StartPlaybook
from tests.modules.fake_manager import FakeManager
from tests.modules.test_playbooks import changed

AT_ONCE = UpdatePolicy(parallelism="100%", monitor=timedelta())
CANARY = UpdatePolicy(
    strategy=Strategy.CANARY,
    steps=(CanaryStep(weight=10, manual=True), CanaryStep(weight=50, manual=True)),
    monitor=timedelta(),
)
QUICK = {"update": {"monitor": "0s", "parallelism": "100%", "analysis": []}}


def shop(manager: FakeManager, policy: UpdatePolicy, *images: str) -> None:
    """A service of two tasks that has moved on from image to image."""
    for image in images:
        manager.put(ServiceSpec(name="shop", image=image, replicas=2, update=policy))


def rollout(manager: FakeManager) -> Any:
    return manager.state.services["shop"].rollout


def variables(**values: Any) -> tuple[str, ...]:
    return ("-e", json.dumps(values))


def manifest(image: str) -> dict[str, Any]:
    return {"name": "shop", "image": image, "replicas": 2, **QUICK}


@pytest.fixture
def artifacts(environment: dict[str, str]) -> None:
    """What `set_stats` leaves to later jobs is printed."""
    environment["ANSIBLE_SHOW_CUSTOM_STATS"] = "true"


@pytest.mark.parametrize(
    ("name", "example", "strategy"),
    [
        ("deploy-service.yml", "rolling.yml", "rolling"),
        ("canary-service.yml", "canary.yml", "canary"),
        ("blue-green-service.yml", "blue-green.yml", "blue_green"),
    ],
)
def test_an_example_is_planned_then_created_then_found_unchanged(
    playbook: Play, manager: FakeManager, name: str, example: str, strategy: str
) -> None:
    file = ("-e", f"@{ROOT / 'examples' / example}")

    checked = playbook(name, *file, "--check", "--diff")
    planned = dict(manager.state.services)
    first = playbook(name, *file)
    second = playbook(name, *file)

    assert [each.code for each in (checked, first, second)] == [0, 0, 0], first.output
    assert [changed(each.output) for each in (checked, first, second)] == [1, 1, 0]
    assert planned == {}
    assert manager.state.services["shop"].spec.policy.strategy.value == strategy


@pytest.mark.usefixtures("artifacts")
def test_a_canary_goes_through_its_shares_judged_by_tasks_of_the_user(
    playbook: Play, manager: FakeManager, tmp_path: Path
) -> None:
    shop(manager, AT_ONCE, "shop:1")
    judged = tmp_path / "judged"
    judge = tmp_path / "judge.yml"
    judge.write_text(
        (ROOT / "examples" / "canary-analysis.yml").read_text()
        + "- name: Take a note\n"
        + "  ansible.builtin.lineinfile:\n"
        + f"    path: {judged}\n    create: true\n    mode: '0600'\n"
        + '    line: "{{ canary_step }}: {{ canary_weight }} % of {{ canary_rollout_id }}"\n'
    )

    played = playbook(
        "canary-service.yml",
        *variables(
            service=manifest("shop:2"), canary_weights=[10, 25, 50], canary_analysis=str(judge)
        ),
    )

    newest = rollout(manager)
    assert played.code == 0, played.output
    assert judged.read_text().splitlines() == [
        f"{step}: {weight} % of {newest.id}" for step, weight in ((1, 10), (2, 25), (3, 50))
    ]
    assert newest.state is RolloutState.COMPLETE
    assert f'"rollout_id": "{newest.id}"' in played.output


def test_a_canary_that_is_judged_badly_is_taken_back(
    playbook: Play, manager: FakeManager, tmp_path: Path
) -> None:
    shop(manager, AT_ONCE, "shop:1")
    judge = tmp_path / "judge.yml"
    judge.write_text(
        "- name: It is quick enough\n"
        "  ansible.builtin.assert:\n"
        "    that: canary_weight < 50\n"
        '    fail_msg: "too slow at {{ canary_weight }} %"\n'
    )

    played = playbook(
        "canary-service.yml",
        *variables(service=manifest("shop:2"), canary_analysis=str(judge)),
    )

    newest = rollout(manager)
    assert played.code == 2, played.output
    assert (newest.state, newest.step) == (RolloutState.ROLLED_BACK, 2)
    assert newest.reason == "aborted by alice: too slow at 50 %"
    assert '"msg": "too slow at 50 %"' in played.output.rsplit("TASK [Say why]", 1)[1]
    assert manager.state.services["shop"].spec.image == "shop:1"


def test_a_canary_whose_address_does_not_answer_is_taken_back(
    playbook: Play, manager: FakeManager
) -> None:
    shop(manager, AT_ONCE, "shop:1")

    played = playbook(
        "canary-service.yml",
        *variables(service=manifest("shop:2"), canary_url="http://127.0.0.1:9/", canary_requests=1),
    )

    assert played.code == 2, played.output
    assert rollout(manager).state is RolloutState.ROLLED_BACK
    assert "Connection refused" in rollout(manager).reason


def test_a_canary_that_fails_by_itself_says_why(playbook: Play, manager: FakeManager) -> None:
    shop(manager, AT_ONCE, "shop:1")

    played = playbook("canary-service.yml", *variables(service=manifest("fails")))

    assert played.code == 2, played.output
    assert "KeyError: DATABASE_URL" in played.output.rsplit("TASK [Say why]", 1)[1]
    assert rollout(manager).failed


def test_a_second_run_goes_on_from_the_step_where_the_canary_is(
    playbook: Play, manager: FakeManager
) -> None:
    shop(manager, AT_ONCE, "shop:1")
    begun = playbook("deploy-service.yml", *variables(service=manifest("shop:1")))
    canary = {**CANARY_MANIFEST, "image": "shop:2"}
    detached = playbook("deploy-service.yml", *variables(service=canary, deploy_wait=False))
    playbook("promote.yml", "-e", "service_name=shop")
    newest = rollout(manager)

    played = playbook("canary-service.yml", *variables(service=manifest("shop:2")))

    assert [each.code for each in (begun, detached, played)] == [0, 0, 0], played.output
    assert (newest.step, newest.state) == (2, RolloutState.WAITING)
    assert (rollout(manager).id, rollout(manager).state) == (newest.id, RolloutState.COMPLETE)


CANARY_MANIFEST: dict[str, Any] = {
    "name": "shop",
    "replicas": 2,
    "update": {
        **QUICK["update"],
        "strategy": "canary",
        "steps": [{"weight": 10, "manual": True}, {"weight": 50, "manual": True}],
    },
}


def test_a_run_attaches_to_the_rollout_of_one_that_was_killed(
    playbook: Play, start_playbook: StartPlaybook, manager: FakeManager
) -> None:
    shop(manager, AT_ONCE, "shop:1")
    wanted = variables(service=manifest("hangs"))
    killed = start_playbook("deploy-service.yml", *wanted)
    wait_until(lambda: "WatchRollout" in manager.calls)
    running = killed.processes()

    killed.kill()
    begun = rollout(manager)
    for name in ("shop.1", "shop.2"):
        manager.change_task(name, revision=2, state=TaskState.RUNNING)
    played = playbook("deploy-service.yml", *wanted)

    assert len(running) > 1, "ansible, and a worker at least"
    assert killed.processes() == ()
    assert begun.state is RolloutState.RUNNING
    assert (played.code, changed(played.output)) == (0, 0), played.output
    rollouts = manager.state.services["shop"].rollouts
    assert [(each.id, each.state) for each in rollouts] == [(begun.id, RolloutState.COMPLETE)]


def wait_until(condition: Callable[[], object], *, seconds: float = 60) -> None:
    """Ask until it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


@pytest.mark.usefixtures("artifacts")
def test_jobs_of_a_workflow_share_a_rollout(playbook: Play, manager: FakeManager) -> None:
    shop(manager, AT_ONCE, "shop:1")
    canary = {"strategy": "canary", "steps": [{"weight": 10, "manual": True}]}

    deployed = playbook(
        "deploy-service.yml", *variables(service=manifest("shop:2"), deploy_update=canary)
    )
    begun = rollout(manager)
    promoted = playbook("promote.yml", *variables(service_name="shop", rollout_id=begun.id))
    again = playbook("promote.yml", *variables(service_name="shop", rollout_id=begun.id))
    back = playbook("rollback.yml", "-e", "service_name=shop")
    back_again = playbook("rollback.yml", "-e", "service_name=shop")

    runs = (deployed, promoted, again, back, back_again)
    assert [each.code for each in runs] == [0] * 5, promoted.output
    assert [changed(each.output) for each in runs] == [1, 1, 0, 1, 0]
    assert begun.state is RolloutState.WAITING
    assert f'"rollout_ids": {{  "shop": "{begun.id}"' in deployed.output
    assert (
        "shop: changed, 2 of 2 tasks run, rollout waiting (10 % to revision 2)" in deployed.output
    )
    assert "shop: revision 2 is complete" in promoted.output
    assert "shop: from revision 2 to 1, complete" in back.output


def test_a_rollback_is_planned_before_it_is_made(playbook: Play, manager: FakeManager) -> None:
    shop(manager, AT_ONCE, "shop:1", "shop:2")
    before = manager.state

    played = playbook(
        "rollback.yml", "-e", "service_name=shop", "-e", "rollback_revision=1", "--check", "--diff"
    )

    assert (played.code, changed(played.output)) == (0, 1), played.output
    assert "+revision: 1" in played.output
    assert manager.state == before


def test_a_blue_green_delivery_switches_and_goes_back_in_an_instant(
    playbook: Play, manager: FakeManager
) -> None:
    shop(manager, AT_ONCE, "shop:1")

    delivered = playbook(
        "blue-green-service.yml",
        *variables(service=manifest("shop:2"), blue_green_grace_period="5m"),
    )
    switched = rollout(manager)
    back = playbook("rollback.yml", "-e", "service_name=shop")

    assert [each.code for each in (delivered, back)] == [0, 0], delivered.output
    assert (switched.phase, switched.weight) == (RolloutPhase.SWITCHED, 100)
    assert rollout(manager).state is RolloutState.ROLLED_BACK
    assert manager.state.services["shop"].spec.image == "shop:1"


def test_a_new_set_waits_when_nobody_shall_promote_it(playbook: Play, manager: FakeManager) -> None:
    shop(manager, AT_ONCE, "shop:1")

    delivered = playbook(
        "blue-green-service.yml",
        *variables(service=manifest("shop:2"), blue_green_promote=False),
    )
    waiting = rollout(manager)
    promoted = playbook("promote.yml", "-e", "service_name=shop")

    assert [each.code for each in (delivered, promoted)] == [0, 0], delivered.output
    assert waiting.state is RolloutState.WAITING
    assert rollout(manager).phase is RolloutPhase.SWITCHED


@pytest.mark.parametrize(
    ("condition", "code", "state"),
    [
        ("blue_green_addresses | length == 2", 0, RolloutState.RUNNING),
        ("blue_green_addresses | length == 7", 2, RolloutState.ROLLED_BACK),
    ],
)
def test_a_new_set_is_tried_by_tasks_of_the_user_before_it_gets_traffic(
    playbook: Play,
    manager: FakeManager,
    tmp_path: Path,
    condition: str,
    code: int,
    state: RolloutState,
) -> None:
    shop(manager, AT_ONCE, "shop:1")
    checks = tmp_path / "checks.yml"
    checks.write_text(f"- name: All are there\n  ansible.builtin.assert:\n    that: {condition}\n")

    played = playbook(
        "blue-green-service.yml",
        *variables(service=manifest("shop:2"), blue_green_checks=str(checks)),
    )

    assert played.code == code, played.output
    assert rollout(manager).state is state
