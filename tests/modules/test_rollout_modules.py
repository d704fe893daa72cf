"""warren_service through a rollout, warren_rollout and its _info, as playbooks use them."""

from datetime import timedelta
from typing import Any

import pytest
from warren.api import warren_pb2
from warren.model.rollouts import CanaryStep, RolloutState, Strategy, UpdatePolicy
from warren.model.services import ServiceSpec

from tests.modules.conftest import Play, task
from tests.modules.fake_manager import FakeManager

AT_ONCE = UpdatePolicy(parallelism="100%", monitor=timedelta())
CANARY = UpdatePolicy(
    strategy=Strategy.CANARY,
    steps=(CanaryStep(weight=10, manual=True), CanaryStep(weight=50, manual=True)),
    monitor=timedelta(),
)


def web(manager: FakeManager, policy: UpdatePolicy, *images: str) -> None:
    """A service of three tasks that has moved on from image to image."""
    for image in images:
        manager.put(ServiceSpec(name="web", image=image, replicas=3, update=policy))


def rollout(manager: FakeManager) -> Any:
    return manager.state.services["web"].rollout


def act(state: str, **options: Any) -> dict[str, Any]:
    return task("warren_rollout", {"service": "web", "state": state, **options})


def test_a_change_begins_a_rollout_and_waits_for_it(play: Play, manager: FakeManager) -> None:
    web(manager, AT_ONCE, "web:1")
    wanted = {"name": "web", "image": "web:2"}

    first, second = play(task("warren_service", wanted), task("warren_service", wanted)).results

    assert (first["changed"], second["changed"]) == (True, False)
    assert first["rollout"]["state"] == "complete"
    assert (first["rollout_id"], second["rollout_id"]) == (rollout(manager).id, "")
    assert first["service"]["revision"] == 2


def test_how_it_comes_into_use_is_an_option(play: Play, manager: FakeManager) -> None:
    update = {
        "strategy": "canary",
        "steps": [{"weight": 10, "duration": "2m"}, {"weight": 50, "manual": True}],
        "parallelism": 2,
        "analysis": [{"prometheus": {"url": "http://p:9090", "query": "up", "min": 1}}],
    }

    given, again, gone = play(
        task("warren_service", {"name": "web", "image": "web:1", "update": update}),
        task("warren_service", {"name": "web", "update": update}),
        task("warren_service", {"name": "web", "update": {}}),
    ).results

    assert (given["changed"], again["changed"], gone["changed"]) == (True, False, True)
    assert given["service"]["update"]["parallelism"] == "2"
    assert given["service"]["update"]["steps"][0] == {
        "weight": 10,
        "duration": "2m",
        "manual": False,
    }
    assert manager.state.services["web"].spec.update is None


def test_a_rollout_that_was_rolled_back_is_a_failed_task(play: Play, manager: FakeManager) -> None:
    web(manager, UpdatePolicy(monitor=timedelta()), "web:1")
    lines = (b"reading", b"KeyError: DATABASE_URL")
    manager.log_lines = [warren_pb2.LogLine(task_id="web-1-x", line=line) for line in lines]

    failed = play(task("warren_service", {"name": "web", "image": "fails"})).result

    assert failed["error"] == "WaitFailed"
    assert failed["msg"].splitlines() == [
        f"web: rolled back to revision 1: {rollout(manager).reason}",
        "web.1 on m1 wrote last:",
        "  reading",
        "  KeyError: DATABASE_URL",
    ]
    assert failed["logs"] == [
        {"name": "web.1", "node": "m1", "lines": ["reading", "KeyError: DATABASE_URL"]}
    ]
    assert failed["changed"]
    assert (failed["rollout"]["state"], failed["rollout_id"]) == (
        "rolled_back",
        rollout(manager).id,
    )
    assert (failed["service"]["image"], failed["service"]["revision"]) == ("web:1", 1)


def test_of_several_services_the_one_that_was_rolled_back_is_named(
    play: Play, manager: FakeManager
) -> None:
    web(manager, UpdatePolicy(monitor=timedelta()), "web:1")
    services = [{"name": "api", "image": "api:1"}, {"name": "web", "image": "fails"}]

    failed = play(task("warren_apply", {"services": services})).result

    assert failed["msg"].startswith("web: rolled back to revision 1: ")
    assert [each["rollout"].get("state") for each in failed["services"]] == [None, "rolled_back"]


def test_a_detached_change_is_attached_to_by_the_next_run(play: Play, manager: FakeManager) -> None:
    web(manager, CANARY, "web:1")
    wanted = {"name": "web", "image": "web:2"}

    detached, attached, info = play(
        task("warren_service", {**wanted, "wait": False}),
        task("warren_service", wanted),
        task("warren_rollout_info", {"service": "web"}),
    ).results

    assert (detached["changed"], attached["changed"]) == (True, False)
    assert detached["rollout_id"] == attached["rollout_id"] == rollout(manager).id
    assert attached["rollout"]["state"] == "waiting"
    assert [each["id"] for each in info["rollouts"]] == [rollout(manager).id]


def test_check_mode_and_diff_show_the_plan_that_is_then_carried_out(
    play: Play, manager: FakeManager
) -> None:
    web(manager, AT_ONCE, "web:1")
    wanted = {"name": "web", "image": "web:2", "update": {"monitor": "0s", "parallelism": 2}}

    played = play(
        task("warren_service", wanted, check=True),
        task("warren_service", wanted, diff=True),
    )

    checked, done = played.results
    assert checked["rollout_id"] == ""
    assert (checked["changed"], rollout(manager).state) == (True, RolloutState.COMPLETE)
    for key in ("changes", "plan", "rollout_plan", "diff"):
        assert checked[key] == done[key]
    assert set(checked) == set(done)
    plan = checked["rollout_plan"]
    moves = [[move["slot"] for move in step["moves"]] for step in plan["steps"]]
    assert moves[:2] == [[1, 2], [3]]
    assert (plan["lowest"], plan["min_healthy"], plan["enough"], plan["blocks"]) == (3, 3, True, [])
    assert "+++ after: service web, revision 2 (rolling)" in played.output
    for line in checked["plan"]:
        assert line in played.output


def test_a_canary_goes_on_step_by_step(play: Play, manager: FakeManager) -> None:
    web(manager, CANARY, "web:1", "web:2")

    results = play(
        act("promoted", step=1),
        act("promoted", step=1),
        act("promoted", step=2),
        act("promoted", step=2),
    ).results

    assert [each["changed"] for each in results] == [True, False, True, False]
    assert [each["rollout"]["state"] for each in results] == [
        "waiting",
        "waiting",
        "complete",
        "complete",
    ]
    assert [each["rollout"]["weight"] for each in results[:2]] == [50, 50]


def test_a_canary_goes_on_through_all_its_steps(play: Play, manager: FakeManager) -> None:
    web(manager, CANARY, "web:1", "web:2")

    done = play(act("promoted", full=True)).result

    assert (done["changed"], done["rollout"]["state"]) == (True, "complete")


def test_a_rollout_is_paused_and_resumed(play: Play, manager: FakeManager) -> None:
    web(manager, CANARY, "web:1", "web:2")

    paused, again, attached, resumed = play(
        act("paused"), act("paused"), act("attached"), act("resumed")
    ).results

    assert [each["changed"] for each in (paused, again, resumed)] == [True, False, True]
    assert paused["rollout"]["state"] == "paused"
    assert attached["msg"] == "web: paused at revision 2: paused by alice"
    assert resumed["rollout"]["state"] == "waiting"


def test_an_abort_is_no_failure_and_happens_once(play: Play, manager: FakeManager) -> None:
    web(manager, CANARY, "web:1", "web:2")

    first, second, attached = play(
        act("aborted", reason="too slow"), act("aborted"), act("attached")
    ).results

    assert [each["changed"] for each in (first, second)] == [True, False]
    assert first["rollout"]["state"] == "rolled_back"
    assert first["rollout"]["reason"] == "aborted by alice: too slow"
    assert attached["msg"] == "web: rolled back to revision 1: aborted by alice: too slow"
    assert manager.state.services["web"].spec.image == "web:1"


def test_a_service_goes_back_once_unless_it_is_told_where(play: Play, manager: FakeManager) -> None:
    web(manager, AT_ONCE, "web:1", "web:2", "web:3")

    first, again, named, named_again = play(
        act("rolled_back"),
        act("rolled_back"),
        act("rolled_back", revision=1),
        act("rolled_back", revision=1),
    ).results

    results = (first, again, named, named_again)
    assert [each["changed"] for each in results] == [True, False, True, False]
    assert [each["rollout"]["to_revision"] for each in results] == [2, 2, 1, 1]
    assert manager.state.services["web"].spec.image == "web:1"


@pytest.mark.parametrize(
    ("state", "before", "after"),
    [
        ("promoted", "step: 1", "step: 2"),
        ("paused", "state: waiting", "state: paused"),
        ("aborted", "revision: 2", "revision: 1"),
        ("rolled_back", "revision: 2", "revision: 1"),
    ],
)
def test_check_mode_says_what_would_become_of_it_and_does_nothing(
    play: Play, manager: FakeManager, state: str, before: str, after: str
) -> None:
    web(manager, CANARY, "web:1", "web:2")
    untouched = manager.state

    played = play({**act(state), "check_mode": True, "diff": True})

    assert played.result["changed"], played.output
    assert before in played.result["diff"]["before"]
    assert after in played.result["diff"]["after"]
    assert manager.state == untouched


def test_check_mode_refuses_what_would_be_refused(play: Play, manager: FakeManager) -> None:
    web(manager, CANARY, "web:1", "web:2")

    refused = play({**act("promoted", step=2), "check_mode": True}).result

    assert refused["error"] == "FailedPrecondition"
    assert "is at step 1, not 2 yet" in refused["msg"]


def test_a_rollout_that_is_another_by_now_is_not_acted_on(play: Play, manager: FakeManager) -> None:
    web(manager, CANARY, "web:1", "web:2")
    old = rollout(manager).id
    web(manager, CANARY, "web:3")

    promoted, attached = play(
        act("promoted", rollout_id=old), act("attached", rollout_id=old)
    ).results

    assert promoted["failed"]
    assert f"superseded by {rollout(manager).id}" in promoted["msg"]
    assert attached["msg"] == f"web: superseded by {rollout(manager).id}"


def test_options_that_do_not_go_with_the_state_are_refused(play: Play) -> None:
    results = play(
        act("aborted", step=1), act("promoted", revision=1), act("paused", reason="x")
    ).results

    assert [each["msg"] for each in results] == [
        "step: only with state: promoted",
        "revision: only with state: rolled_back",
        "reason: only with state: aborted or state: rolled_back",
    ]
    assert results[0]["path"] == "step"


def test_what_is_not_there_is_said(play: Play, manager: FakeManager) -> None:
    manager.put(ServiceSpec(name="web", image="web:1"))

    results = play(
        task("warren_rollout", {"service": "nope"}),
        act("attached"),
        task("warren_rollout_info", {"service": "nope"}),
    ).results

    assert [each.get("msg") for each in results[:2]] == [
        "there is no service nope",
        "web has no rollout",
    ]
    assert (results[2]["exists"], results[2]["rollouts"]) == (False, [])


def test_rollouts_and_revisions_are_read(play: Play, manager: FakeManager) -> None:
    web(manager, AT_ONCE, "web:1", "web:2")

    of_web, live = play(
        task("warren_rollout_info", {"service": "web"}, check=True),
        task("warren_rollout_info", {"live": True}),
    ).results

    assert [each["state"] for each in of_web["rollouts"]] == ["complete"]
    assert [(each["revision"], each["current"]) for each in of_web["revisions"]] == [
        (2, True),
        (1, False),
    ]
    assert of_web["revisions"][0]["template"]["image"] == "web:2"
    assert (live["exists"], live["rollouts"]) == (False, [])
