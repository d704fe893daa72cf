"""Which health checks make sense. Pure; called by `core/services.py` at an Apply.

The types have ruled out what one value alone can be wrong in; here is what takes more than one.
Each refusal names the field by its path.
"""

import re
from datetime import timedelta
from itertools import pairwise

from warren.model.errors import InvalidInput
from warren.model.services import HealthCheck, HttpCheck, Protocol, ServiceSpec
from warren.model.units import format_duration

_MOMENT = timedelta(milliseconds=10)
_LONGEST = timedelta(hours=1)
_INTERVAL_MIN = timedelta(milliseconds=100)
_COMMAND_INTERVAL_MIN = timedelta(seconds=1)
"""Starting a process in a container costs the node a thousand times what a connection does."""
_START_PERIOD_MAX = timedelta(days=1)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t -~]*")
_OWN_HEADERS = ("connection", "content-length", "transfer-encoding", "upgrade", "expect")


def check(spec: ServiceSpec) -> None:
    """InvalidInput if the service's health check makes no sense."""
    _within(spec.drain_delay, timedelta(), _LONGEST, f"{spec.name}.drain_delay")
    health = spec.health
    if health is None:
        return
    path = f"{spec.name}.health"
    _check_kind(health, path)
    _check_times(health, path)
    _check_port(spec, health, path)
    if health.exec is not None and not (health.exec.command and health.exec.command[0]):
        raise InvalidInput("must not be empty", path=f"{path}.exec.command")
    if health.http is not None:
        _check_headers(health.http, f"{path}.http.headers")
        _check_statuses(health.http, f"{path}.http.status")


def _check_kind(health: HealthCheck, path: str) -> None:
    given = [name for name in ("http", "tcp", "exec") if getattr(health, name) is not None]
    if not given:
        raise InvalidInput("needs one of http, tcp, exec", path=path)
    if len(given) > 1:
        raise InvalidInput(f"takes one of http, tcp, exec, not {' and '.join(given)}", path=path)


def _check_times(health: HealthCheck, path: str) -> None:
    shortest = _INTERVAL_MIN if health.exec is None else _COMMAND_INTERVAL_MIN
    _within(health.interval, shortest, _LONGEST, f"{path}.interval")
    _within(health.timeout, _MOMENT, _LONGEST, f"{path}.timeout")
    _within(health.start_period, timedelta(), _START_PERIOD_MAX, f"{path}.start_period")


def _within(value: timedelta, low: timedelta, high: timedelta, path: str) -> None:
    if not low <= value <= high:
        bounds = f"{format_duration(low)} and {format_duration(high)}"
        raise InvalidInput(f"{format_duration(value)} is not between {bounds}", path=path)


def _check_port(spec: ServiceSpec, health: HealthCheck, path: str) -> None:
    kind = "http" if health.http is not None else "tcp"
    has_tcp = any(port.protocol is Protocol.TCP for port in spec.ports)
    if health.port == 0 and not has_tcp:
        message = "is needed: the service has no TCP port to stand for it"
        raise InvalidInput(message, path=f"{path}.{kind}.port")


def _check_headers(http: HttpCheck, path: str) -> None:
    for name, value in http.headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise InvalidInput(f"{name!r} is not the name of a header", path=path)
        if name.lower() in _OWN_HEADERS:
            raise InvalidInput(f"{name} is set by the check itself", path=path)
        if not _HEADER_VALUE.fullmatch(value) or value != value.strip():
            raise InvalidInput(f"{value!r} is not the value of a header", path=f"{path}.{name}")
    names = sorted(name.lower() for name in http.headers)
    for one, other in pairwise(names):
        if one == other:
            raise InvalidInput(f"{one} stands there twice", path=path)


def _check_statuses(http: HttpCheck, path: str) -> None:
    for part in http.status.split(","):
        low, _, high = part.partition("-")
        if high and int(high) < int(low):
            raise InvalidInput(f"{part} runs backwards", path=path)
