"""Checks: how it is found out whether a task does what it should.

A worker makes those of `HealthCheck` against its own tasks, and a manager those of a rollout.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated

from warren.model.constraints import Pattern, Range


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpCheck:
    """GET `path` on the task's own address; healthy if the status is expected."""

    path: Annotated[
        str, Pattern(r"/[!-~]*", "a path that begins with / and has %XX for special characters")
    ] = "/"
    port: Annotated[int, Range(0, 65535)] = 0
    """0: the target of the service's first TCP port."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent with the request; `Host` replaces the task's address."""
    status: Annotated[
        str,
        Pattern(
            r"[1-5]\d\d(-[1-5]\d\d)?(,[1-5]\d\d(-[1-5]\d\d)?)*", "statuses such as 200-299,404"
        ),
    ] = "200-399"

    def accepts(self, status: int) -> bool:
        """A task that answers with `status` is healthy."""
        ranges = (part.partition("-") for part in self.status.split(","))
        return any(int(low) <= status <= int(high or low) for low, _, high in ranges)


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpCheck:
    """Healthy if a connection to the port is accepted."""

    port: Annotated[int, Range(0, 65535)] = 0
    """0: the target of the service's first TCP port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecCheck:
    """Healthy if the command, run in the task's container, exits with 0."""

    command: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """How a worker finds out whether a task may receive traffic. Exactly one of http, tcp, exec.

    A task is healthy after `success_threshold` good checks in a row, and unhealthy after `retries`
    bad ones; bad ones within `start_period` of its start do not count until a first good one.
    """

    http: HttpCheck | None = None
    tcp: TcpCheck | None = None
    exec: ExecCheck | None = None
    interval: timedelta = timedelta(seconds=5)
    timeout: timedelta = timedelta(seconds=2)
    retries: Annotated[int, Range(1, 100)] = 3
    start_period: timedelta = timedelta()
    success_threshold: Annotated[int, Range(1, 100)] = 1

    @property
    def port(self) -> int | None:
        """The port it connects to, 0 for the service's first TCP port; None: to none."""
        connects = self.http or self.tcp
        return connects.port if connects is not None else None
