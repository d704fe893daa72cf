"""Instances: what a container runtime holds of a task on one host.

Read by `core/task.py`, which decides, and made by the drivers, which find them by their labels.
Never leaves the host, so it has no message on the wire.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum


class InstanceState(Enum):
    """State of an instance's container."""

    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"
    BROKEN = "broken"
    """A sandbox without a usable container, or one that the runtime no longer knows well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One attempt at running a task: a sandbox and its container, found by their labels."""

    task_id: str
    attempt: int
    """From 0; grows with every start of the task on this node."""
    sandbox_id: str
    container_id: str = ""
    state: InstanceState
    address: str = ""
    exit_code: int | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    message: str = ""
    """What the runtime says of its end: `OOMKilled`, …"""
    image_digest: str = ""
