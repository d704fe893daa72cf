"""warren_service, warren_apply and warren_service_info, as playbooks use them."""

import json
from dataclasses import replace
from typing import Any

from warren.model.nodes import HeldPort
from warren.model.services import Port, Protocol, ServiceSpec

from tests.modules.conftest import Play, task
from tests.modules.fake_manager import FakeManager

WEB: dict[str, Any] = {
    "name": "web",
    "image": "web:1",
    "replicas": 2,
    "ports": [{"target": 8080, "published": 80}],
    "env": {"PORT": 8080},
    "resources": {"limits": {"memory": "64MiB", "cpus": 0.5}},
}
SPEC = ServiceSpec(name="web", image="web:1", replicas=2)
OLD = ServiceSpec(name="old", image="old:1", ports=(Port(target=1, published=80),))


def test_a_service_is_created_then_found_unchanged(play: Play, manager: FakeManager) -> None:
    first, second = play(task("warren_service", WEB), task("warren_service", WEB)).results

    assert (first["changed"], second["changed"]) == (True, False)
    assert [each["state"] for each in second["tasks"]] == ["running", "running"]
    assert second["service"]["resources"]["limits"]["memory"] == "64MiB"
    assert second["endpoints"] == ["192.0.2.1:80", "192.0.2.2:80", "192.0.2.3:80"]
    assert manager.state.services["web"].revision == 1
    assert manager.state.services["web"].spec.env == {"PORT": "8080"}


def test_a_port_that_a_host_holds_is_a_warning(play: Play, manager: FakeManager) -> None:
    held = HeldPort(service="web", port=80, protocol=Protocol.TCP, holder="nginx (pid 7)")
    nodes = manager.state.nodes
    manager.state = replace(
        manager.state, nodes={**nodes, "m1": replace(nodes["m1"], held_ports=(held,))}
    )

    (done,) = play(task("warren_service", WEB)).results

    warning = "port 80/tcp is not answered on node m1: nginx (pid 7) of that host holds it"
    assert done["warnings"] == [f"service web: {warning}"]
    assert done["service"]["status"]["warnings"] == [warning]


def test_check_mode_and_diff_say_what_then_happens(play: Play, manager: FakeManager) -> None:
    manager.put(SPEC)
    wanted = {"name": "web", "image": "web:2", "replicas": 3}

    played = play(
        task("warren_service", wanted, check=True),
        task("warren_service_info", {"name": "web"}),
        task("warren_service", wanted, diff=True),
    )

    checked, between, done = played.results
    assert between["services"][0]["service"]["image"] == "web:1"
    assert checked["changed"]
    assert checked["changes"] == [
        {"path": "image", "before": "web:1", "after": "web:2"},
        {"path": "replicas", "before": "2", "after": "3"},
    ]
    for key in ("changes", "plan", "diff"):
        assert checked[key] == done[key]
    assert set(checked) == set(done)
    assert "-image: web:1\n-replicas: 2\n+image: web:2\n+replicas: 3\n" in played.output
    assert "slot 3  +task on m1" in played.output


def test_what_is_left_out_is_left_as_it_is(play: Play, manager: FakeManager) -> None:
    manager.put(ServiceSpec(name="web", image="web:1", ports=(Port(target=80),), env={"A": "1"}))

    play(task("warren_service", {"name": "web", "env": {}}))

    assert manager.state.services["web"].spec == ServiceSpec(
        name="web", image="web:1", ports=(Port(target=80),)
    )


def test_a_health_check_is_set_as_a_whole_and_removed_by_an_empty_one(
    play: Play, manager: FakeManager
) -> None:
    manager.put(ServiceSpec(name="web", image="web:1", ports=(Port(target=80),)))
    health = {"http": {"path": "/healthz"}, "interval": "2s"}

    given, removed = play(
        task(
            "warren_service",
            {"name": "web", "health": health, "affinity": "source", "drain_delay": "500ms"},
        ),
        task("warren_service", {"name": "web", "health": {}}),
    ).results

    assert given["service"]["health"]["interval"] == "2s"
    assert (given["service"]["affinity"], given["service"]["drain_delay"]) == ("source", "500ms")
    assert [each["health"] for each in given["tasks"] if each["state"] == "running"] == ["none"]
    assert removed["service"]["health"] is None
    assert manager.state.services["web"].spec.health is None


def test_a_failing_service_fails_with_its_last_line_and_its_tasks(
    play: Play, manager: FakeManager
) -> None:
    failed = play(task("warren_service", {"name": "bad", "image": "fails"})).result

    assert failed["msg"] == f"bad: {manager.reason('bad')}"
    assert "KeyError: DATABASE_URL" in failed["msg"]
    assert failed["error"] == "WaitFailed"
    assert failed["tasks"][0]["last_log"] == "KeyError: DATABASE_URL"
    assert failed["service"]["status"]["failing"] == 1


def test_a_task_that_nobody_can_take_says_why(play: Play) -> None:
    options = {
        "name": "big",
        "image": "big:1",
        "resources": {"reservations": {"memory": "512GiB"}},
        "wait_timeout": 0.5,
    }

    failed = play(task("warren_service", options)).result

    assert "no node has 512 GiB" in failed["msg"]


REFUSALS: list[tuple[dict[str, Any], str, str]] = [
    (
        {"ports": [{"targt": 1}]},
        "web.ports[0].targt: unknown key (did you mean target?)",
        "web.ports[0].targt",
    ),
    ({"replicas": -1}, "web.replicas: -1 is not between 0 and 10000", "web.replicas"),
    ({"name": "My_Web"}, "service.name: 'My_Web' is not a DNS label", "service.name"),
    ({"command": "sleep 1"}, "web.command: 'sleep 1' is not a list", "web.command"),
    ({"image": None}, "web.image: is required", "web.image"),
    (
        {"mode": "global", "replicas": 2},
        "web.replicas: is for mode replicated: a global service has one task on each node",
        "web.replicas",
    ),
    ({"health": {"interval": "1s"}}, "web.health: needs one of http, tcp, exec", "web.health"),
    ({"health": {"tcp": {}}}, "web.health.tcp.port: is needed: the", "web.health.tcp.port"),
    (
        {"resources": {"limits": {"memory": 1}, "reservations": {"memory": 2}}},
        "web.resources.limits.memory: 1B is below the reservation, 2B",
        "web.resources.limits.memory",
    ),
]


def test_a_wrong_option_is_named_and_nothing_is_done(play: Play, manager: FakeManager) -> None:
    tasks = []
    for options, _, _ in REFUSALS:
        given = {"name": "web", "image": "web:1", **options}
        given = {key: value for key, value in given.items() if value is not None}
        tasks.append(task("warren_service", given))

    results = play(*tasks).results

    for refused, (_, sentence, path) in zip(results, REFUSALS, strict=True):
        assert refused["failed"]
        assert refused["msg"].startswith(sentence)
        assert (refused["path"], refused["error"]) == (path, "InvalidInput")
    assert manager.state.services == {}


def test_a_global_service_has_a_task_on_each_node(play: Play, manager: FakeManager) -> None:
    wanted = {"name": "web", "image": "web:1", "mode": "global"}

    planned, created, again, changed, scaled, otherwise = play(
        task("warren_service", wanted, check=True),
        task("warren_service", wanted),
        task("warren_service", wanted),
        task("warren_service", {**wanted, "image": "web:2", "wait": False}, check=True),
        task("warren_service", {"name": "web", "replicas": 2}),
        task("warren_service", {"name": "web", "mode": "replicated"}),
    ).results

    assert planned["plan"] == ["node m1  +task", "node m2  +task", "node m3  +task"]
    assert (created["changed"], again["changed"]) == (True, False)
    assert [each["name"] for each in created["tasks"]] == ["web.m1", "web.m2", "web.m3"]
    assert [each["node"] for each in created["tasks"]] == ["m1", "m2", "m3"]
    assert created["service"]["mode"] == "global"
    assert "replicas" not in created["service"]
    assert changed["plan"][0] == "batch 1  node m1  replace (start first)  capacity 3/3  then 5s"
    assert changed["rollout_plan"]["mode"] == "global"
    assert scaled["msg"].startswith("web.replicas: is for mode replicated")
    assert otherwise["msg"] == (
        "web.mode: cannot be changed from global: remove the service, and create it"
    )


def test_a_port_that_is_taken_names_its_holder(play: Play, manager: FakeManager) -> None:
    manager.put(OLD)

    refused = play(task("warren_service", WEB)).result

    assert refused["msg"].startswith("web.ports[0].published: 80/tcp")
    assert "old" in refused["msg"]


def test_a_service_is_pulled_with_a_secret(play: Play, manager: FakeManager) -> None:
    password = "hunter2-hunter2"
    value = json.dumps({"username": "deploy", "password": password})
    web = {**WEB, "registry_secret": "registry"}
    api = {"name": "api", "image": "api:1", "registry_secret": "registry"}
    wrong = {"name": "registry", "value": "no json"}

    played = play(
        task("warren_service", web, check=True),
        task("warren_secret", {"name": "registry", "value": value}, diff=True),
        task("warren_service", web, diff=True),
        task("warren_service", web),
        task("warren_apply", {"services": [api]}, diff=True),
        task("warren_secret", wrong),
        task("warren_secret", {"name": "registry", "state": "absent"}),
        flags=("-vvv",),
    )

    results = played.results
    assert results[0]["msg"] == "web.registry_secret: there is no secret registry"
    assert [each["changed"] for each in results[1:5]] == [True, True, False, True], played.output
    assert "registry_secret: registry" in results[2]["diff"]["after"]
    assert results[5]["msg"].startswith("registry.value: is no JSON, and credentials of a registry")
    assert results[6]["msg"] == "secret registry is used by services api, web"
    assert manager.state.services["api"].spec.registry_secret == "registry"
    assert password not in played.output
    assert password not in str(results)


def test_a_password_in_the_open_is_refused_and_nowhere(play: Play, manager: FakeManager) -> None:
    password = "hunter2-hunter2"
    auth = {"username": "deploy", "password": password}
    api = {"name": "api", "image": "api:1", "registry_auth": auth}

    played = play(task("warren_apply", {"services": [api]}, diff=True), flags=("-vvv",))

    assert played.result["msg"].startswith("api.registry_auth: would be stored in the open")
    assert password not in played.output
    assert manager.state.services == {}


def test_a_removed_service_is_gone_and_stays_gone(play: Play, manager: FakeManager) -> None:
    manager.put(SPEC)
    gone = {"name": "web", "state": "absent"}

    results = play(
        task("warren_service", gone, check=True),
        task("warren_service", gone),
        task("warren_service", gone),
    ).results

    assert [each["changed"] for each in results] == [True, True, False]
    assert results[0]["plan"] == results[1]["plan"]
    assert results[1]["plan"] == ["slot 1  -task on m1", "slot 2  -task on m2"]
    assert manager.state.services == {}


def test_several_services_are_refused_together(play: Play, manager: FakeManager) -> None:
    manager.put(OLD)
    api = {"name": "api", "image": "api:1"}
    clash = {"name": "web", "image": "web:1", "ports": [{"target": 1, "published": 80}]}

    clashing, twice = play(
        task("warren_apply", {"services": [api, clash]}),
        task("warren_apply", {"services": [api, api]}),
    ).results

    assert clashing["error"] == "FailedPrecondition"
    assert twice["msg"] == "api.name: stands there twice"
    assert set(manager.state.services) == {"old"}


def test_services_are_read_also_in_check_mode(play: Play, manager: FakeManager) -> None:
    manager.put(SPEC)

    one, none = play(
        task("warren_service_info", {"name": "web"}, check=True),
        task("warren_service_info", {"name": "api"}),
    ).results

    assert one["services"][0]["service"]["status"]["running"] == 2
    assert (none["exists"], none["services"]) == (False, [])


def test_no_manager_is_said_with_the_endpoint(play: Play) -> None:
    options = {"name": "web", "endpoints": ["unix:///nowhere.sock"], "timeout": 1}

    failed = play(task("warren_service_info", options)).result

    assert failed["msg"] == "unix:///nowhere.sock: no such file or directory"
    assert failed["error"] == "Unavailable"
