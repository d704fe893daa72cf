"""Answers of the API that are not stored objects or views: read by name from their messages."""

from dataclasses import dataclass
from datetime import datetime

from warren.model.clusters import ClusterSpec
from warren.model.nodes import NodeSpec
from warren.model.views import Change


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceDeleted:
    """`changed` is False when it was being removed already, or never there."""

    changed: bool
    plan: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeApplied:
    """The same for a dry run."""

    changed: bool
    before: NodeSpec
    after: NodeSpec
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterApplied:
    """The same for a dry run."""

    changed: bool
    before: ClusterSpec
    after: ClusterSpec
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorCertificate:
    """What a context file needs besides the key. Certificates are PEM."""

    certificate: str
    ca_certificate: str
    endpoints: tuple[str, ...]
    cluster: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line that a task wrote, without its newline."""

    task_id: str
    time: datetime
    stderr: bool
    line: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Executed:
    """What a command in a task left behind."""

    stdout: bytes
    stderr: bytes
    exit_code: int
    task_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoppedTask:
    """A task that is on its way out. `changed`: it was not before."""

    task_id: str
    changed: bool
