"""`warren rollout …`, `service update` and `service history`, as their users see them."""

import io
import json
import re
from dataclasses import replace
from datetime import timedelta

import pytest
from warren.api import warren_pb2
from warren.cli import rollout_text
from warren.cli.progress import Picture
from warren.model.rollouts import (
    Analysis,
    CanaryStep,
    FailureAction,
    Pin,
    PrometheusQuery,
    Strategy,
    UpdateOrder,
    UpdatePolicy,
)
from warren.model.services import (
    Bytes,
    ExecCheck,
    HealthCheck,
    HttpCheck,
    ResourceLimits,
    Resources,
    ServiceSpec,
    TcpCheck,
)
from warren.testing.builders import NOON

from tests.modules.fake_manager import FakeManager
from tests.unit.cli.command import Run

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


def rollout_id(manager: FakeManager) -> str:
    rollout = manager.state.services["web"].rollout
    assert rollout is not None
    return rollout.id


def test_a_service_is_updated_and_its_rollout_waited_for(warren: Run, manager: FakeManager) -> None:
    web(manager, AT_ONCE, "web:1")

    ran = warren("service", "update", "web", "--image", "web:2")

    assert (ran.code, ran.out) == (0, "web: changed, revision 2, 3 of 3 tasks run\n")
    assert ran.err.splitlines()[-2:] == [
        "web: revision 1 -> 2: 3 of 3 tasks ready; complete",
        "web: 3 of 3 tasks run",
    ]


def test_an_update_that_is_rolled_back_fails_with_the_tasks_last_lines(
    warren: Run, manager: FakeManager
) -> None:
    web(manager, UpdatePolicy(monitor=timedelta()), "web:1")
    lines = (b"reading", b"KeyError: DATABASE_URL")
    manager.log_lines = [warren_pb2.LogLine(task_id="web-1-x", line=line) for line in lines]

    ran = warren("service", "update", "web", "--image", "fails")

    rollout = manager.state.services["web"].rollout
    assert rollout is not None
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.endswith(
        f"warren: web: rolled back to revision 1: {rollout.reason}\n"
        "web.1 on m1 wrote last:\n  reading\n  KeyError: DATABASE_URL\n"
    )


def test_an_update_that_waits_for_a_promotion_says_so(warren: Run, manager: FakeManager) -> None:
    web(manager, CANARY, "web:1")

    ran = warren("service", "update", "web", "--image", "web:2")

    assert (ran.code, ran.out) == (0, "web: changed, revision 2, 3 of 3 tasks run\n")
    assert ran.err.splitlines()[-1] == (
        "web: revision 1 -> 2: 1 of 3 tasks ready, 10 % of the traffic; waiting; "
        "step 1: waits for promote"
    )


def test_options_of_an_update_change_what_they_name(warren: Run, manager: FakeManager) -> None:
    manager.put(
        ServiceSpec(
            name="web",
            image="web:1",
            env={"A": "1", "B": "2"},
            labels={"team": "shop"},
            resources=Resources(limits=ResourceLimits(cpus=0.5)),
            health=HealthCheck(http=HttpCheck(path="/healthz"), interval=timedelta(seconds=2)),
            update=UpdatePolicy(monitor=timedelta(), parallelism="100%"),
        )
    )

    ran = warren(
        "service", "update", "web", "-e", "C=3", "--env-rm", "A", "--label-rm", "team",
        "--limit-memory", "64MiB", "--health-tcp", "--health-port", "80", "--strategy", "canary",
        "--step", "10%:2m", "--step", "50:manual", "--pin", "192.0.2.0/24", "--pin", "10.0.0.7",
        "--detach",
    )  # fmt: skip

    assert ran.code == 0, ran.err
    assert manager.state.services["web"].spec == ServiceSpec(
        name="web",
        image="web:1",
        env={"B": "2", "C": "3"},
        labels={},
        resources=Resources(limits=ResourceLimits(cpus=0.5, memory=Bytes(64 * 2**20))),
        health=HealthCheck(tcp=TcpCheck(port=80), interval=timedelta(seconds=2)),
        update=UpdatePolicy(
            monitor=timedelta(),
            parallelism="100%",
            strategy=Strategy.CANARY,
            steps=(
                CanaryStep(weight=10, duration=timedelta(minutes=2)),
                CanaryStep(weight=50, manual=True),
            ),
            pin=Pin(sources=("192.0.2.0/24", "10.0.0.7")),
        ),
    )


def test_how_a_service_is_updated_is_given_by_options(warren: Run, manager: FakeManager) -> None:
    ran = warren(
        "service", "create", "web", "web:1", "-p", "8080", "--strategy", "blue_green",
        "--parallelism", "25%", "--delay", "1s", "--order", "stop_first", "--monitor", "0s",
        "--max-failure-ratio", "0.1", "--on-failure", "pause", "--progress-deadline", "5m",
        "--min-healthy", "50%", "--keep-revisions", "3", "--manual-promote",
        "--grace-period", "2m", "--smoke-http", "/ready",
    )  # fmt: skip

    assert ran.code == 0, ran.err
    assert manager.state.services["web"].spec.update == UpdatePolicy(
        strategy=Strategy.BLUE_GREEN,
        parallelism="25%",
        delay=timedelta(seconds=1),
        order=UpdateOrder.STOP_FIRST,
        monitor=timedelta(),
        max_failure_ratio=0.1,
        on_failure=FailureAction.PAUSE,
        progress_deadline=timedelta(minutes=5),
        min_healthy="50%",
        keep_revisions=3,
        auto_promote=False,
        grace_period=timedelta(minutes=2),
        smoke=Analysis(http=HttpCheck(path="/ready")),
    )


def test_checks_of_a_canary_are_given_by_options(warren: Run, manager: FakeManager) -> None:
    ran = warren(
        "service", "create", "web", "web:1", "-p", "8080", "--strategy", "canary", "--step", "10",
        "--analysis-http", "/healthz", "--analysis-http", "/ready", "--analysis-port", "8081",
        "--analysis-header", "Host=shop.example", "--analysis-status", "200-299",
        "--analysis-command", "check --deep 'a b'", "--analysis-prometheus", "http://prom:9090",
        "--analysis-query", "sum(rate(errors[1m]))", "--analysis-min", "-1", "--analysis-max",
        "0.1", "--analysis-interval", "2s", "--analysis-timeout", "1s", "--analysis-retries", "5",
    )  # fmt: skip

    assert ran.code == 0, ran.err
    policy = manager.state.services["web"].spec.update
    assert policy is not None
    http = HttpCheck(port=8081, headers={"Host": "shop.example"}, status="200-299")
    query = PrometheusQuery(
        url="http://prom:9090", query="sum(rate(errors[1m]))", min=-1.0, max=0.1
    )
    timing = {"interval": timedelta(seconds=2), "timeout": timedelta(seconds=1), "retries": 5}
    assert policy.analysis == tuple(
        replace(check, **timing)  # type: ignore[arg-type]
        for check in (
            Analysis(http=replace(http, path="/healthz")),
            Analysis(http=replace(http, path="/ready")),
            Analysis(exec=ExecCheck(command=("check", "--deep", "a b"))),
            Analysis(prometheus=query),
        )
    )


def test_a_part_of_the_smoke_check_is_changed_and_another_kind_replaces_it(
    warren: Run, manager: FakeManager
) -> None:
    smoke = Analysis(http=HttpCheck(path="/ready", port=80), retries=7)
    web(manager, UpdatePolicy(strategy=Strategy.BLUE_GREEN, smoke=smoke), "web:1")

    part = warren("service", "update", "web", "--smoke-port", "81", "--detach")
    changed = manager.state.services["web"].spec.policy.smoke
    other = warren("service", "update", "web", "--smoke-command", "check", "--detach")
    replaced = manager.state.services["web"].spec.policy.smoke
    none = warren("service", "update", "web", "--no-smoke", "--detach")

    assert [ran.code for ran in (part, other, none)] == [0, 0, 0]
    assert changed == replace(smoke, http=HttpCheck(path="/ready", port=81))
    assert replaced == Analysis(exec=ExecCheck(command=("check",)), retries=7)
    assert manager.state.services["web"].spec.policy.smoke is None


def test_another_strategy_takes_nothing_along_of_the_last_one(
    warren: Run, manager: FakeManager
) -> None:
    analysis = Analysis(exec=ExecCheck(command=("check",)))
    web(manager, replace(CANARY, analysis=(analysis,), parallelism="2"), "web:1")

    ran = warren("service", "update", "web", "--strategy", "rolling", "--detach")

    assert ran.code == 0, ran.err
    assert manager.state.services["web"].spec.update == UpdatePolicy(
        parallelism="2", monitor=timedelta()
    )


def test_the_checks_of_a_canary_go_and_its_steps_stay(warren: Run, manager: FakeManager) -> None:
    analysis = Analysis(exec=ExecCheck(command=("check",)))
    web(manager, replace(CANARY, analysis=(analysis,)), "web:1")

    ran = warren("service", "update", "web", "--no-analysis", "--detach")

    assert ran.code == 0, ran.err
    assert manager.state.services["web"].spec.update == CANARY


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["service", "update", "web"], "nothing to change was given"),
        (["service", "update", "web", "--step", "x"], "--step: 'x' is not PERCENT[:DURATION|:man"),
        (["service", "update", "web", "--pin", "::1"], "web.update.pin.sources[0]: '::1' is IPv6"),
        (["service", "update", "web", "--strategy", "x"], "web.update.strategy: 'x' is not one of"),
        (["service", "update", "nope", "--image", "x"], "there is no service nope"),
        (
            ["service", "update", "web", "--analysis-port", "80"],
            "--analysis-port: needs --analysis-http beside it",
        ),
        (
            ["service", "update", "web", "--analysis-max", "1"],
            "--analysis-max: needs --analysis-prometheus beside it",
        ),
        (
            ["service", "update", "web", "--analysis-retries", "1"],
            "--analysis-retries: needs --analysis-http, -command or -prometheus beside it",
        ),
        (
            ["service", "update", "web", "--analysis-prometheus", "http://prom:9090"],
            "web.update.analysis[0].prometheus.query: ",
        ),
        (
            ["service", "update", "web", "--analysis-http", "/ready"],
            "web.update.analysis: is for strategy canary, not rolling",
        ),
        (
            ["service", "update", "web", "--smoke-command", "a 'b"],
            '--smoke-command: "a \'b": No closing quotation',
        ),
        (
            ["service", "update", "web", "--analysis-command", ""],
            "--analysis-command: must not be empty",
        ),
        (
            ["service", "update", "web", "--no-analysis", "--analysis-http", "/"],
            "--no-analysis: stands beside options of analysis",
        ),
        (["service", "history", "nope"], "there is no service nope"),
        (["rollout", "status", "web"], "web has no rollout"),
        (["rollout", "promote", "web", "--id", "x"], "web has no rollout"),
    ],
)
def test_a_wrong_value_is_one_line(
    warren: Run, manager: FakeManager, words: list[str], sentence: str
) -> None:
    web(manager, AT_ONCE, "web:1")

    ran = warren(*words)

    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith(f"warren: {sentence}")
    assert ran.err.count("\n") == 1


def test_rollouts_are_listed(warren: Run, manager: FakeManager) -> None:
    web(manager, CANARY, "web:1", "web:2")

    ran = warren("rollout", "ls")

    assert ran.out == (
        "SERVICE  ROLLOUT       REVISION  STRATEGY    STATE    NEW  TRAFFIC  AGE  MESSAGE\n"
        f"web      {rollout_id(manager)}  1 -> 2    canary 1/2  waiting  1/3  10 %     1s   "
        "step 1: waits for promote\n"
    )


def test_only_what_is_under_way_is_listed_on_request(warren: Run, manager: FakeManager) -> None:
    web(manager, AT_ONCE, "web:1", "web:2")

    every = json.loads(warren("rollout", "ls", "web", "-o", "json").out)
    live = json.loads(warren("rollout", "ls", "--live", "-o", "json").out)

    assert ([each["state"] for each in every], live) == (["complete"], [])


def test_the_status_is_a_picture(warren: Run, manager: FakeManager) -> None:
    web(manager, CANARY, "web:1", "web:2")

    ran = warren("rollout", "status", "web")

    assert re.sub(r"for \d+m?s", "for 0s", ran.out) == (
        "web\n"
        "  revision   1 -> 2 (web:1 -> web:2)\n"
        f"  rollout    {rollout_id(manager)}, canary, for 0s by alice\n"
        "  state      waiting, step 1 of 2\n"
        "  traffic    ####....................................  10 % to revision 2\n"
        "  new        1 task, 1 ready\n"
        "  old        3 tasks, 3 ready\n"
        "  served     3 of 3, at least 3\n"
        "  waits for  step 1: waits for promote\n"
    )


def test_the_picture_says_who_is_pinned_while_the_trial_lasts(
    warren: Run, manager: FakeManager
) -> None:
    pin = Pin(sources=("192.0.2.0/24", "10.0.0.7"))
    web(manager, replace(CANARY, pin=pin), "web:1", "web:2")

    under_way = warren("rollout", "status", "web").out
    warren("rollout", "promote", "web", "--full")
    complete = warren("rollout", "status", "web").out

    assert "  pinned     192.0.2.0/24, 10.0.0.7 to revision 2\n" in under_way
    assert "pinned" not in complete


def test_what_is_left_of_a_time_is_told(manager: FakeManager) -> None:
    minute = timedelta(seconds=72.4)

    assert rollout_text.time_left(NOON + minute, NOON) == "1m12s left"
    assert rollout_text.time_left(NOON, NOON) == ""
    assert rollout_text.time_left(None, NOON) == ""


def test_watching_ends_well_with_the_rollout(warren: Run, manager: FakeManager) -> None:
    web(manager, UpdatePolicy(monitor=timedelta(milliseconds=100)), "web:1", "web:2")

    ran = warren("rollout", "status", "web", "--watch")

    lines = ran.out.splitlines()
    assert (ran.code, ran.err, len(lines)) == (0, "", len(set(lines)))
    assert lines[-1] == "web: revision 1 -> 2: 3 of 3 tasks ready; complete"


def test_watching_a_rollout_that_went_back_fails_with_its_reason(
    warren: Run, manager: FakeManager
) -> None:
    web(manager, UpdatePolicy(monitor=timedelta()), "web:1", "fails")

    ran = warren("rollout", "status", "web", "--watch", "-o", "json")

    shown = json.loads(ran.out)
    assert (ran.code, shown["state"], shown["failing"][0]["name"]) == (1, "rolled_back", "web.1")
    assert ran.err == f"warren: web: rolled back to revision 1: {shown['reason']}\n"


def test_a_picture_is_drawn_over_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, terminal = io.StringIO(), io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)

    for stream in (plain, terminal):
        picture = Picture(stream)
        picture.draw(["a", "b"], "one")
        picture.draw(["a", "c"], "one")
        picture.draw(["d"], "two")

    assert plain.getvalue() == "one\ntwo\n"
    assert terminal.getvalue() == "a\nb\n\x1b[2F\x1b[Ja\nc\n\x1b[2F\x1b[Jd\n"


def test_a_canary_is_promoted_step_by_step(warren: Run, manager: FakeManager) -> None:
    web(manager, CANARY, "web:1", "web:2")

    dry = warren("rollout", "promote", "web", "--dry-run")
    first = warren("rollout", "promote", "web", "--step", "1")
    again = warren("rollout", "promote", "web", "--step", "1")
    last = warren("rollout", "promote", "web")

    assert [each.code for each in (dry, first, again, last)] == [0, 0, 0, 0]
    assert dry.out == "web: would be changed, revision 1 -> 2, running, step 2 of 2\n"
    assert first.out == "web: changed, revision 1 -> 2, waiting, step 2 of 2\n"
    assert again.out == "web: unchanged, revision 1 -> 2, waiting, step 2 of 2\n"
    assert last.out == "web: changed, revision 1 -> 2, complete\n"


def test_a_rollout_is_paused_resumed_and_aborted(warren: Run, manager: FakeManager) -> None:
    web(manager, CANARY, "web:1", "web:2")

    paused = warren("rollout", "pause", "web", "-o", "json")
    resumed = warren("rollout", "resume", "web")
    aborted = warren("rollout", "abort", "web", "--reason", "too slow")

    shown = json.loads(paused.out)
    assert (shown["changed"], shown["rollout"]["state"]) == (True, "paused")
    assert resumed.out == "web: changed, revision 1 -> 2, waiting, step 1 of 2\n"
    assert aborted.out == "web: changed, revision 2 -> 1, rolled back\n"
    assert aborted.err.endswith("; rolled back; aborted by alice: too slow\n")


def test_an_act_on_a_rollout_that_is_another_by_now_is_refused(
    warren: Run, manager: FakeManager
) -> None:
    web(manager, CANARY, "web:1", "web:2")
    old = rollout_id(manager)
    web(manager, CANARY, "web:3")

    ran = warren("rollout", "promote", "web", "--id", old)

    assert ran.code == 1
    assert f"superseded by {rollout_id(manager)}" in ran.err


def test_a_service_is_rolled_back_to_a_revision(warren: Run, manager: FakeManager) -> None:
    web(manager, AT_ONCE, "web:1", "web:2", "web:3")

    ran = warren("rollout", "rollback", "web", "--to", "1")

    assert ran.out == "web: changed, revision 3 -> 1, complete\n"
    assert manager.state.services["web"].spec.image == "web:1"


def test_the_reason_of_a_way_back_is_shown_later(warren: Run, manager: FakeManager) -> None:
    web(manager, AT_ONCE, "web:1", "web:2")
    warren("rollout", "rollback", "web", "--reason", "wrong prices")

    status = warren("rollout", "status", "web")
    listed = warren("rollout", "ls")
    history = warren("service", "history", "web")

    assert "  because    wrong prices\n" in status.out
    assert listed.out.splitlines()[1].endswith("1s   wrong prices")
    assert re.search(r"^2 .* rolled back  rolled back by \S+: wrong prices$", history.out, re.M)


def test_the_history_lists_what_can_be_gone_back_to(warren: Run, manager: FakeManager) -> None:
    web(manager, UpdatePolicy(monitor=timedelta(), parallelism="100%"), "web:1", "web:2", "fails")

    ran = warren("service", "history", "web")

    rollout = manager.state.services["web"].rollout
    assert rollout is not None
    told = rollout.reason if len(rollout.reason) <= 100 else f"{rollout.reason[:99]}…"
    assert ran.out == (
        "REVISION  IMAGE  AGE  TASKS  STATUS       REASON\n"
        f"3         fails  1s   0      rolled back  {told}\n"
        "2         web:2  1s   3      current\n"
        "1         web:1  1s   0      kept\n"
    )


@pytest.mark.parametrize(
    ("words", "candidates"),
    [
        (["rollout", ""], ["ls", "status", "promote", "pause", "resume", "abort", "rollback"]),
        (["rollout", "promote", ""], ["web"]),
        (["rollout", "status", "web", "--w"], ["--watch"]),
        (["service", "update", ""], ["web"]),
        (["service", "history", ""], ["web"]),
        (["service", "update", "web", "--strategy", ""], ["rolling", "blue_green", "canary"]),
        (["service", "update", "web", "--analysis-m"], ["--analysis-min", "--analysis-max"]),
    ],
)
def test_words_are_completed(
    warren: Run, manager: FakeManager, words: list[str], candidates: list[str]
) -> None:
    web(manager, AT_ONCE, "web:1")

    assert warren("__complete", *words).out.split() == candidates
