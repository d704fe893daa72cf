"""Tasks: one instance of a service revision on one node, in a slot. Never moves: it is replaced.

The law of a task's life: states only grow (`TaskState` is ordered), but for RESTARTING, from which
it goes back to PREPARING on the same node. A terminal state is final.

    PENDING -> ASSIGNED -> PREPARING -> STARTING -> RUNNING -> STOPPING -> STOPPED
                              ^            |           |
                              +------- RESTARTING <----+--> COMPLETE | FAILED
    (any live state) -> LOST when its node is down or gone
"""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from warren.model.services import TaskTemplate


class TaskState(Enum):
    """Where a task is in its life. Written by the scheduler up to ASSIGNED, then by its worker."""

    PENDING = "pending"
    ASSIGNED = "assigned"
    PREPARING = "preparing"
    STARTING = "starting"
    RUNNING = "running"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    COMPLETE = "complete"
    FAILED = "failed"
    LOST = "lost"

    @property
    def terminal(self) -> bool:
        """No process and none to come."""
        return self in _TERMINAL


_TERMINAL = (TaskState.STOPPED, TaskState.COMPLETE, TaskState.FAILED, TaskState.LOST)
"""A tuple, because hashing an enum member is slow and deciders ask this of every task."""


class DesiredState(Enum):
    """What the orchestrator wants of a task. Only ever later in this order.

    DRAINING: it goes on running, but no node sends it new connections; when all have said so and
    `drain_delay` is over, the leader makes it STOPPED.
    """

    RUNNING = "running"
    DRAINING = "draining"
    STOPPED = "stopped"


class Health(Enum):
    """What the checks of a running task say. NONE: it has no check, and counts as healthy."""

    NONE = "none"
    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStatus:
    """What is. `message` is one line for the user: why pending, why failed, what it waits for."""

    state: TaskState
    since: datetime
    """When it entered `state`."""
    message: str = ""
    exit_code: int | None = None
    """Of the last process that ended."""
    failures: int = 0
    """Ended or refused starts in a row, without a run longer than the restart window."""
    last_log: str = ""
    """Last line that the last failed process wrote, at most 500 characters."""
    address: str = ""
    """IPv4 address on the task network, while there is one."""
    image_digest: str = ""
    health: Health = Health.NONE
    health_output: str = ""
    """What the last check that was bad said, at most 500 characters; empty once one was good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One instance of a service revision in a slot."""

    id: str
    """`<service>-<slot>-<random>`: unique for ever."""
    service: str
    slot: int
    """From 1. Of a global service: the number of its node (`core/eligible.py`)."""
    revision: int
    template: TaskTemplate
    created_at: datetime
    version: int = 0
    """Log index of the last change."""
    node_id: str = ""
    """Set once, by the scheduler."""
    desired: DesiredState = DesiredState.RUNNING
    """Written by the orchestrator, and STOPPED by the drainer."""
    draining_since: datetime | None = None
    """When `desired` became DRAINING."""
    withdrawn_at: datetime | None = None
    """When every node that answers had stopped sending it connections. Written by the drainer."""
    leaving: bool = False
    """A user asked for another in its place."""
    node: str = ""
    """Of a global service: name of the only node that it may be on. Written at creation."""
    status: TaskStatus

    @property
    def name(self) -> str:
        """`web.3`, or of a global service `web.w1`: what people say."""
        return f"{self.service}.{self.node or self.slot}"

    @property
    def wanted(self) -> bool:
        """It is, or may still become, a running instance of its service."""
        return self.desired is DesiredState.RUNNING and self.status.state not in _TERMINAL

    @property
    def ready(self) -> bool:
        """It runs, and its checks, if it has any, say that it may receive traffic."""
        return self.status.state is TaskState.RUNNING and self.status.health in (
            Health.NONE,
            Health.HEALTHY,
        )
