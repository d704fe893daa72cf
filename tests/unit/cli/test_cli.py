"""The command line as its users see it: what is printed, where, and the exit code."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from warren.api import convert, warren_pb2
from warren.cli.main import main
from warren.client import contexts
from warren.client.contexts import Context
from warren.model.events import Event, EventKind
from warren.model.services import (
    Affinity,
    Bytes,
    ExecCheck,
    HealthCheck,
    HttpCheck,
    Port,
    PortMode,
    RegistryAuth,
    ResourceReservations,
    Resources,
    Secret,
    ServiceMode,
    ServiceSpec,
    TcpCheck,
)
from warren.model.tasks import Health

from tests.modules.fake_manager import FakeManager
from tests.unit.cli.command import Ran, Run

WEB = ServiceSpec(
    name="web", image="web:1", replicas=2, ports=(Port(name="http", target=8080, published=80),)
)


def test_services_are_listed_with_why_they_do_not_run(warren: Run, manager: FakeManager) -> None:
    too_much = Resources(reservations=ResourceReservations(memory=Bytes(2**40)))
    manager.put(WEB)
    manager.put(ServiceSpec(name="big", image="big:1", resources=too_much))

    ran = warren("service", "ls")

    assert ran == Ran(
        0,
        "NAME  REVISION  TASKS  IMAGE  PORTS         STATUS\n"
        f"big   1         0/1    big:1                {manager.reason('big')}\n"
        "web   1         2/2    web:1  80->8080/tcp  running\n",
        "",
    )


def test_tasks_are_listed_with_their_last_line(warren: Run, manager: FakeManager) -> None:
    manager.put(ServiceSpec(name="bad", image="fails"))

    ran = warren("service", "ps", "bad")

    assert ran.out == (
        "NAME   ID           NODE  REVISION  DESIRED  STATE          HEALTH  MESSAGE\n"
        "bad.1  bad-1-00001  m1    1         running  restarting 1s  -       "
        "exit code 1; last log line: KeyError: DATABASE_URL\n"
    )


def test_an_unhealthy_task_is_listed_with_what_its_check_said(
    warren: Run, manager: FakeManager
) -> None:
    manager.put(ServiceSpec(name="web", image="web:1"))
    said = "GET /healthz on 10.88.1.1:8080: 503"
    manager.change_task("web.1", health=Health.UNHEALTHY, health_output=said)

    listed = warren("service", "ps", "web").out.splitlines()[1]
    shown = json.loads(warren("service", "inspect", "web", "-o", "json").out)

    assert listed.endswith(f"  unhealthy  {said}")
    assert (shown["tasks"][0]["health"], shown["tasks"][0]["health_output"]) == ("unhealthy", said)
    assert shown["status"]["running"] == 0


def test_a_health_check_is_given_by_options(warren: Run, manager: FakeManager) -> None:
    options = ["--health-http", "/healthz", "--health-interval", "2s", "--health-header", "A=b"]
    more = ["--drain-delay", "1s", "--affinity", "source"]

    http = warren("service", "create", "web", "web:1", "-p", "8080", *options, *more)
    tcp = warren("service", "create", "db", "db:1", "--health-tcp", "--health-port", "5432")
    command = warren("service", "create", "job", "job:1", "--health-command", "sh -c 'exit 0'")
    both = warren("service", "create", "no", "no:1", "--health-tcp", "--health-http", "/")

    assert (http.code, tcp.code, command.code) == (0, 0, 0)
    specs = {name: service.spec for name, service in manager.state.services.items()}
    assert specs["web"].health == HealthCheck(
        http=HttpCheck(path="/healthz", headers={"A": "b"}), interval=timedelta(seconds=2)
    )
    assert (specs["web"].drain_delay, specs["web"].affinity) == (
        timedelta(seconds=1),
        Affinity.SOURCE,
    )
    assert specs["db"].health == HealthCheck(tcp=TcpCheck(port=5432))
    assert specs["job"].health == HealthCheck(exec=ExecCheck(command=("sh", "-c", "exit 0")))
    assert both.err == "warren: no.health: takes one of http, tcp, exec, not http and tcp\n"


def test_events_are_one_line_each(warren: Run, manager: FakeManager) -> None:
    at = datetime(2026, 1, 1, 12, tzinfo=UTC)
    unhealthy = Event(
        index=7,
        at=at,
        kind=EventKind.TASK_UNHEALTHY,
        message="web.1 on m1 is unhealthy: TCP connection to 10.88.1.2:80: refused (3 times)",
        service="web",
        task="web.1",
        node="m1",
    )
    down = Event(index=8, at=at, kind=EventKind.NODE_DOWN, message="m1 is down", node="m1")
    manager.events = [convert.to_message(unhealthy), convert.to_message(down)]

    told = warren("events", "--since", "10m")
    data = warren("events", "--service", "web", "-o", "json")

    assert told.out == (
        "2026-01-01T12:00:00.000Z  web.1 on m1 is unhealthy: TCP connection to 10.88.1.2:80: "
        "refused (3 times)\n"
        "2026-01-01T12:00:00.000Z  m1 is down\n"
    )
    assert json.loads(data.out) == {
        "at": "2026-01-01T12:00:00.000Z",
        "kind": "task_unhealthy",
        "message": unhealthy.message,
        "service": "web",
        "task": "web.1",
        "node": "m1",
    }


def test_nodes_are_listed(warren: Run) -> None:
    assert warren("node", "ls").out == (
        "NAME  ROLES                    STATE     AVAILABILITY  TASKS  CPUS  MEMORY     ADDRESS"
        "    MESSAGE\n"
        "m1    manager,worker (leader)  ready 1s  active        0      0/4   0 B/4 GiB  192.0.2.1\n"
        "m2    manager,worker           ready 1s  active        0      0/4   0 B/4 GiB  192.0.2.2\n"
        "m3    manager,worker           ready 1s  active        0      0/4   0 B/4 GiB  192.0.2.3\n"
    )


def test_the_output_option_may_stand_before_or_after(warren: Run) -> None:
    before = warren("-o", "json", "node", "ls")
    after = warren("node", "ls", "-o", "json")

    assert before == after
    assert [node["name"] for node in json.loads(before.out)] == ["m1", "m2", "m3"]


def test_a_service_is_created_and_waited_for(warren: Run, manager: FakeManager) -> None:
    ran = warren(
        "service", "create", "web", "web:1", "-p", "80:8080", "-e", "A=1", "--replicas", "2",
        "--limit-memory", "64MiB", "--publish-host", "53/udp", "-l", "team=shop",
    )  # fmt: skip

    assert ran.out == "web: created, revision 1, 2 of 2 tasks run\n"
    assert ran.err == "web: 2 of 2 tasks run\n"
    spec = manager.state.services["web"].spec
    assert spec.ports[0] == Port(target=8080, published=80)
    assert spec.ports[1].mode is PortMode.HOST
    assert (spec.env, spec.labels, spec.resources.limits.memory) == (
        {"A": "1"},
        {"team": "shop"},
        64 * 2**20,
    )


def test_a_service_that_fails_ends_with_its_last_line(warren: Run, manager: FakeManager) -> None:
    ran = warren("service", "create", "bad", "fails")

    assert (ran.code, ran.out) == (1, "")
    assert ran.err.splitlines()[-1] == f"warren: bad: {manager.reason('bad')}"
    assert "KeyError: DATABASE_URL" in ran.err


def test_a_service_that_exists_is_not_created(warren: Run, manager: FakeManager) -> None:
    manager.put(WEB)

    ran = warren("service", "create", "web", "web:2")

    assert ran == Ran(1, "", "warren: service web exists: change it with warren apply\n")


def test_scaling_changes_replicas_and_nothing_else(warren: Run, manager: FakeManager) -> None:
    manager.put(WEB)

    ran = warren("service", "scale", "web=3", "--detach")

    assert (ran.code, ran.out) == (0, "web: changed, revision 1, 3 of 3 tasks run\n")
    assert manager.state.services["web"].spec.image == "web:1"


def test_scaling_several_changes_none_if_one_is_not_there(
    warren: Run, manager: FakeManager
) -> None:
    manager.put(WEB)

    ran = warren("service", "scale", "web=3", "api=2")

    assert ran == Ran(1, "", "warren: there is no service api\n")
    assert manager.state.services["web"].spec.replicas == 2


def test_a_global_service_has_a_task_on_each_node(warren: Run, manager: FakeManager) -> None:
    created = warren("service", "create", "web", "web:1", "--mode", "global")

    assert (created.code, manager.state.services["web"].spec.mode) == (0, ServiceMode.GLOBAL)
    listed = [line.split()[0] for line in warren("service", "ps", "web").out.splitlines()]
    assert listed == ["NAME", "web.m1", "web.m2", "web.m3"]
    assert "web   1         3/3    web:1" in warren("service", "ls").out
    inspected = yaml.safe_load(warren("service", "inspect", "web").out)
    assert (inspected["mode"], "replicas" in inspected) == ("global", False)
    planned = warren("service", "update", "web", "--image", "web:2", "--dry-run")
    assert "node m2  replace (start first)" in planned.out


def test_a_global_service_is_not_scaled(warren: Run, manager: FakeManager) -> None:
    manager.put(ServiceSpec(name="web", image="web:1", mode=ServiceMode.GLOBAL))

    assert warren("service", "scale", "web=2") == Ran(
        1,
        "",
        "warren: web.replicas: is for mode replicated: a global service has one task on each "
        "node\n",
    )


def test_services_are_removed(warren: Run, manager: FakeManager) -> None:
    manager.put(WEB)

    assert warren("service", "rm", "web") == Ran(0, "web\n", "")
    assert warren("service", "rm", "web") == Ran(1, "", "warren: there is no service web\n")


def test_a_password_is_never_printed(warren: Run, manager: FakeManager) -> None:
    auth = RegistryAuth(username="deploy", password=Secret("hunter2"))
    manager.put(ServiceSpec(name="web", image="web:1", registry_auth=auth))

    ran = warren("service", "inspect", "web")

    assert yaml.safe_load(ran.out)["registry_auth"] == {
        "username": "deploy",
        "password": "(hidden)",
    }
    assert "hunter2" not in ran.out


def test_lines_of_several_tasks_begin_with_the_task(warren: Run, manager: FakeManager) -> None:
    manager.put(WEB)
    manager.log_lines = [
        warren_pb2.LogLine(task_id="web-1-00001", line=b"one"),
        warren_pb2.LogLine(task_id="web-2-00002", line=b"two", stderr=True),
    ]

    assert warren("service", "logs", "web") == Ran(0, "web.1 | one\n", "web.2 | two\n")


def test_lines_of_one_task_stand_alone(warren: Run, manager: FakeManager) -> None:
    manager.log_lines = [warren_pb2.LogLine(task_id="web-1-00001", line=b"one")]
    manager.log_lines[0].time.FromJsonString("2026-06-01T12:00:00.5Z")

    ran = warren("service", "logs", "web.1", "--timestamps", "--tail", "1")

    assert ran.out == "2026-06-01T12:00:00.500Z one\n"


def test_the_exit_code_of_a_command_is_ours(
    endpoint: str,
    manager: FakeManager,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    monkeypatch.setenv("WARREN_ENDPOINTS", endpoint)
    manager.exec_response = warren_pb2.ExecResponse(stdout=b"out\xff", stderr=b"err", exit_code=7)

    code = main(["service", "exec", "web", "--", "ls", "-l"])

    assert code == 7
    assert tuple(capfdbinary.readouterr()) == (b"out\xff", b"err")


def test_a_file_is_applied_and_found_unchanged(warren: Run, tmp_path: Path) -> None:
    file = tmp_path / "web.yml"
    file.write_text("service: {name: web, image: 'web:1', replicas: 2}\n")

    first = warren("apply", "-f", str(file))
    second = warren("apply", "-f", str(file))

    assert first.out == "web: created, revision 1, 2 of 2 tasks run\n"
    assert second.out == "web: unchanged, revision 1, 2 of 2 tasks run\n"


def test_a_dry_run_shows_changes_and_plan(
    warren: Run, manager: FakeManager, tmp_path: Path
) -> None:
    manager.put(WEB)
    file = tmp_path / "web.yml"
    file.write_text("{name: web, image: 'web:2', labels: {team: shop}}\n")

    ran = warren("apply", "-f", str(file), "--dry-run")
    data = warren("apply", "-f", str(file), "--dry-run", "-o", "json")

    (told,) = json.loads(data.out)
    title = ["service web: revision 1 -> 2 (rolling)"]
    changes = ["  image        web:1 -> web:2", "  labels.team  shop"]
    plan = [f"  {line}" for line in told["plan"]]
    assert ran == Ran(0, "\n".join([*title, *changes, *plan, ""]), "")
    assert [move["slot"] for step in told["rollout_plan"]["steps"] for move in step["moves"]] == [
        1,
        2,
    ]
    assert "slot 1  replace on m" in plan[0]
    assert manager.state.services["web"].spec == WEB


def test_nothing_of_a_file_is_applied_if_one_service_is_wrong(
    warren: Run, manager: FakeManager, tmp_path: Path
) -> None:
    file = tmp_path / "shop.yml"
    file.write_text(
        "services:\n- {name: web, image: 'web:1'}\n- {name: api, image: a, ports: [{targt: 1}]}\n"
    )

    ran = warren("apply", "-f", str(file))

    assert ran == Ran(1, "", "warren: api.ports[0].targt: unknown key (did you mean target?)\n")
    assert manager.calls == []


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("servce: {}", "servce: unknown key (did you mean service?)"),
        ("", "FILE: holds no manifest"),
        ("a: [", "FILE: is not YAML: while parsing a flow node"),
        ("{name: web, image: 'web:{{ version }}'}", "web.image: 'web:{{ version }}' is a template"),
    ],
)
def test_a_file_that_is_no_manifest_is_refused(
    warren: Run, tmp_path: Path, text: str, sentence: str
) -> None:
    file = tmp_path / "web.yml"
    file.write_text(text)

    ran = warren("apply", "-f", str(file))

    assert ran.code == 1
    assert ran.err.replace(str(file), "FILE").startswith(f"warren: {sentence}")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["service", "scale", "web=-1"], "web.replicas: '-1' is not a number of tasks"),
        (["service", "scale", "web"], "service: 'web' is not KEY=VALUE"),
        (["service", "create", "My_Web", "a"], "service.name: 'My_Web' is not a DNS label"),
        (["service", "create", "web"], "NAME and IMAGE are needed, or --file"),
        (["service", "create", "web", "a", "-p", "x"], "--publish: 'x' is not [PUBLISHED:]TARGET"),
        (
            ["service", "create", "web", "a", "--limit-memory", "1GiB", "--reserve-memory", "2GiB"],
            "web.resources.limits.memory: 1GiB is below the reservation, 2GiB",
        ),
        (["service", "exec", "web"], "command: is missing"),
        (["node", "inspect", "nope"], "there is no node nope"),
        (["--context", "nope", "node", "ls"], "there is no context nope"),
    ],
)
def test_a_wrong_value_is_one_line(warren: Run, words: list[str], sentence: str) -> None:
    ran = warren(*words)

    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith(f"warren: {sentence}")
    assert ran.err.count("\n") == 1


def test_wrong_usage_has_another_code(warren: Run) -> None:
    assert warren("service", "dance").code == 2


def test_a_node_is_changed_label_by_label(warren: Run, manager: FakeManager) -> None:
    warren("node", "update", "m1", "--label-add", "zone=north", "--label-add", "disk=ssd")

    ran = warren("node", "update", "m1", "--label-rm", "disk", "--availability", "drain")

    assert ran.out == "m1: changed\n"
    spec = manager.state.nodes["m1"].spec
    assert (spec.labels, spec.availability.value) == ({"zone": "north"}, "drain")


def test_join_tokens_are_made_listed_and_revoked(warren: Run) -> None:
    assert warren("cluster", "join-token", "create", "--role", "worker").out == "warren-1-w-text\n"
    assert warren("cluster", "join-token", "ls").out.splitlines()[1].startswith("token0  worker")
    assert warren("cluster", "join-token", "rm", "token0").out == "token0\n"
    assert warren("cluster", "join-token", "rm", "token0").code == 1


def test_the_cluster_is_shown_at_a_glance(warren: Run) -> None:
    out = warren("cluster", "info").out

    assert out.startswith("Cluster:              demo (c1)\nLeader:               m1\n")


def test_contexts_are_listed_and_chosen(warren: Run) -> None:
    for name in ("demo", "lab"):
        context = Context(
            cluster=name, endpoints=("a:1", "b:1"), ca_cert="c", client_cert="c", client_key="k"
        )
        contexts.save(name, context)

    assert warren("context", "use", "lab").out == "lab\n"
    assert warren("context", "ls").out == (
        "CURRENT  NAME  CLUSTER  ENDPOINTS\n         demo  demo     a:1,b:1\n"
        "*        lab   lab      a:1,b:1\n"
    )


@pytest.mark.parametrize(
    ("words", "candidates"),
    [
        (
            [""],
            [
                "service",
                "rollout",
                "secret",
                "config",
                "volume",
                "task",
                "node",
                "mesh",
                "cluster",
                "context",
                "events",
                "apply",
                "completion",
            ],
        ),
        (["clu"], ["cluster"]),
        (["cluster", "join-token", ""], ["create", "ls", "rm"]),
        (["service", "ps", ""], ["web"]),
        (["node", "inspect", "m"], ["m1", "m2", "m3"]),
        (["node", "update", "m1", "--availability", ""], ["active", "pause", "drain"]),
        (["-o", "json", "serv"], ["service"]),
        (["service", "logs", "web", "--ti"], ["--timeout", "--timestamps"]),
        (["completion", ""], ["bash", "fish", "zsh"]),
    ],
)
def test_words_are_completed(
    warren: Run, manager: FakeManager, words: list[str], candidates: list[str]
) -> None:
    manager.put(WEB)

    assert warren("__complete", *words).out.split() == candidates


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_serve_both_names(warren: Run, shell: str) -> None:
    out = warren("completion", shell).out

    assert "warren __complete" in out
    assert "wrn" in out
