"""Events: what has happened in the cluster, for people and tools. Nothing is decided by them."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum


class EventKind(Enum):
    """What has happened."""

    SERVICE_CREATED = "service_created"
    SERVICE_CHANGED = "service_changed"
    SERVICE_REMOVING = "service_removing"
    SERVICE_REMOVED = "service_removed"
    TASK_PENDING = "task_pending"
    TASK_ASSIGNED = "task_assigned"
    TASK_RUNNING = "task_running"
    TASK_HEALTHY = "task_healthy"
    TASK_UNHEALTHY = "task_unhealthy"
    TASK_RESTARTING = "task_restarting"
    TASK_DRAINING = "task_draining"
    TASK_STOPPED = "task_stopped"
    TASK_COMPLETE = "task_complete"
    TASK_FAILED = "task_failed"
    TASK_LOST = "task_lost"
    NODE_JOINED = "node_joined"
    NODE_READY = "node_ready"
    NODE_DOWN = "node_down"
    NODE_DRAINED = "node_drained"
    NODE_REMOVED = "node_removed"
    LEADER_CHANGED = "leader_changed"
    ROLLOUT_STARTED = "rollout_started"
    ROLLOUT_CHANGED = "rollout_changed"
    ROLLOUT_ENDED = "rollout_ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that has happened. Names, not ids: what they name may be gone by now."""

    index: int
    """Of the state in which it was seen first; several may have the same."""
    at: datetime
    kind: EventKind
    message: str
    """One line that says all."""
    service: str = ""
    task: str = ""
    node: str = ""
