"""Health checks that make no sense are refused with the place; those that do, are not."""

from datetime import timedelta
from typing import Any

import pytest
from warren.core import health_specs
from warren.model.errors import InvalidInput
from warren.model.manifest import parse_service

HTTP = {"http": {"path": "/healthz"}}
EXEC = {"exec": {"command": ["pg_isready"]}}


def check(health: dict[str, Any], **values: Any) -> None:
    values.setdefault("ports", [{"target": 8080}])
    spec, _ = parse_service({"name": "web", "image": "example:1", "health": health, **values})
    health_specs.check(spec)


@pytest.mark.parametrize(
    ("health", "values"),
    [
        (HTTP, {}),
        ({"tcp": {}}, {}),
        ({"tcp": {"port": 5432}}, {"ports": []}),
        (EXEC, {"ports": []}),
        ({**HTTP, "interval": "100ms", "timeout": "30s"}, {}),
        ({"http": {"headers": {"Host": "web.example", "X-A": "b c"}, "status": "200,404-410"}}, {}),
    ],
)
def test_a_check_that_makes_sense_is_accepted(
    health: dict[str, Any], values: dict[str, Any]
) -> None:
    check(health, **values)


@pytest.mark.parametrize(
    ("health", "path", "message"),
    [
        ({}, "", "needs one of http, tcp, exec"),
        ({"interval": "1s"}, "", "needs one of http, tcp, exec"),
        ({**HTTP, "tcp": {}}, "", "takes one of http, tcp, exec, not http and tcp"),
        ({**HTTP, "interval": "0s"}, ".interval", "0s is not between 100ms and 1h"),
        ({**EXEC, "interval": "500ms"}, ".interval", "500ms is not between 1s and 1h"),
        ({**HTTP, "timeout": "0s"}, ".timeout", "0s is not between 10ms and 1h"),
        ({**HTTP, "start_period": "2d"}, ".start_period", "2d is not between 0s and 1d"),
        ({"exec": {"command": []}}, ".exec.command", "must not be empty"),
        ({"exec": {"command": [""]}}, ".exec.command", "must not be empty"),
        (
            {"http": {"headers": {"a b": "c"}}},
            ".http.headers",
            "'a b' is not the name of a header",
        ),
        (
            {"http": {"headers": {"A": "b\r\nC: d"}}},
            ".http.headers.A",
            "'b\\r\\nC: d' is not the value of a header",
        ),
        (
            {"http": {"headers": {"Connection": "x"}}},
            ".http.headers",
            "Connection is set by the check itself",
        ),
        ({"http": {"headers": {"A": "1", "a": "2"}}}, ".http.headers", "a stands there twice"),
        ({"http": {"status": "500-200"}}, ".http.status", "500-200 runs backwards"),
    ],
)
def test_a_check_that_makes_no_sense_is_refused_with_its_place(
    health: dict[str, Any], path: str, message: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        check(health)

    assert str(refused.value) == f"web.health{path}: {message}"


@pytest.mark.parametrize(
    ("health", "path", "message"),
    [
        (
            {"http": {"path": "healthz"}},
            ".http.path",
            "'healthz' is not a path that begins with / and has %XX for special characters",
        ),
        (
            {"http": {"path": "/a b"}},
            ".http.path",
            "'/a b' is not a path that begins with / and has %XX for special characters",
        ),
        ({"http": {"status": "ok"}}, ".http.status", "'ok' is not statuses such as 200-299,404"),
        ({**HTTP, "retries": 0}, ".retries", "0 is not between 1 and 100"),
        ({"tcp": {"port": 70_000}}, ".tcp.port", "70000 is not between 0 and 65535"),
        ({"exec": {}}, ".exec.command", "is required"),
        ({"grpc": {}}, ".grpc", "unknown key (did you mean http?)"),
    ],
)
def test_values_that_cannot_be_are_refused_before_anything_is_asked(
    health: dict[str, Any], path: str, message: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        check(health)

    assert str(refused.value).startswith(f"web.health{path}: {message.partition(' (')[0]}")


@pytest.mark.parametrize("kind", ["http", "tcp"])
@pytest.mark.parametrize("ports", [[], [{"target": 53, "protocol": "udp"}]])
def test_a_check_without_a_port_needs_a_tcp_port_of_the_service(
    kind: str, ports: list[dict[str, Any]]
) -> None:
    with pytest.raises(InvalidInput) as refused:
        check({kind: {}}, ports=ports)

    assert str(refused.value) == (
        f"web.health.{kind}.port: is needed: the service has no TCP port to stand for it"
    )


def test_a_drain_delay_has_an_end() -> None:
    with pytest.raises(InvalidInput) as refused:
        check(HTTP, drain_delay="2h")

    assert str(refused.value) == "web.drain_delay: 2h is not between 0s and 1h"


def test_expected_statuses_are_numbers_and_ranges() -> None:
    spec, _ = parse_service(
        {"name": "web", "image": "x", "health": {"http": {"status": "200-204,404"}}}
    )
    assert spec.health is not None
    assert spec.health.http is not None

    accepted = [s for s in (199, 200, 204, 205, 404, 500) if spec.health.http.accepts(s)]

    assert accepted == [200, 204, 404]
    assert spec.health.interval == timedelta(seconds=5)
