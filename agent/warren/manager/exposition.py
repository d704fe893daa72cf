"""A manager's figures as text that Prometheus reads (exposition format 0.0.4). Pure.

Names begin with `warren_`, times are in seconds, sizes in bytes; docs/metrics.md lists them all.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from warren.model.nodes import NodeState
from warren.model.tasks import TaskState
from warren.state.cluster import ClusterState
from warren.store.log import LogMetrics, LogStatus

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One line: labels and a value."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A name with all its lines."""

    name: str
    kind: str
    """`gauge` or `counter`."""
    help: str
    samples: tuple[Sample, ...]


def render(metrics: Iterable[Metric]) -> str:
    """The text, one paragraph per metric."""
    lines = []
    for metric in metrics:
        lines.append(f"# HELP {metric.name} {metric.help}")
        lines.append(f"# TYPE {metric.name} {metric.kind}")
        lines += [_line(metric.name, sample) for sample in metric.samples]
    return "\n".join(lines) + "\n"


def of_manager(
    log: LogMetrics, status: LogStatus, state: ClusterState, *, version: str
) -> tuple[Metric, ...]:
    """Everything that this manager has to say."""
    leads = status.is_leader
    return (
        _one("info", "Always 1; the label says which version.", 1, version=version),
        _one("raft_is_leader", "1 on the manager that leads.", leads),
        _one("raft_has_leader", "1 while a leader is known.", status.leader is not None),
        _one("raft_in_trouble", "1 while the disk or the peers keep it out.", bool(status.trouble)),
        _one("raft_term", "Term of the log.", log.term),
        _one("raft_last_index", "Newest entry of the log here.", log.last_index),
        _one("raft_commit_index", "Newest entry known to be committed.", log.commit_index),
        _one("raft_applied_index", "Newest entry applied here.", log.applied_index),
        _one(
            "raft_snapshot_index", "Entry up to which the newest snapshot is.", log.snapshot_index
        ),
        _one("raft_snapshot_bytes", "Size of the newest snapshot.", log.snapshot_bytes),
        _one("raft_journal_bytes", "Size of the journal.", log.journal_bytes),
        _count("raft_elections_won_total", "Elections won since the start.", log.elections_won),
        _count(
            "raft_snapshots_written_total",
            "Snapshots written since the start.",
            log.snapshots_written,
        ),
        _many(
            "raft_sync_seconds",
            "Time that a sync of the journal takes, of the last thousand.",
            [
                Sample(labels={"quantile": "0.5"}, value=log.sync_p50.total_seconds()),
                Sample(labels={"quantile": "0.99"}, value=log.sync_p99.total_seconds()),
            ],
        ),
        *_members(log),
        *_objects(state),
    )


def _members(log: LogMetrics) -> tuple[Metric, ...]:
    """One line per member on the leader; a follower knows only of itself."""

    def each(values: Iterable[tuple[str, float]]) -> list[Sample]:
        return [Sample(labels={"node_id": node_id}, value=value) for node_id, value in values]

    return (
        _many(
            "raft_member_voter",
            "1 for a member that counts.",
            each((m.node_id, m.voter) for m in log.members),
        ),
        _many(
            "raft_member_match_index",
            "Entry up to which a member has the log, on its disk.",
            each((m.node_id, m.match_index) for m in log.members),
        ),
        _many(
            "raft_member_lag_entries",
            "Entries that the leader has and a member has not.",
            each((m.node_id, m.lag_entries) for m in log.members),
        ),
        _many(
            "raft_member_silent_seconds",
            "Time since a member last answered the leader.",
            each((m.node_id, _seconds(m.silent_for)) for m in log.members),
        ),
    )


def _objects(state: ClusterState) -> tuple[Metric, ...]:
    nodes = [node.status.state for node in state.nodes.values()]
    tasks = [task.status.state for task in state.tasks.values()]
    return (
        _many(
            "nodes",
            "Nodes by state.",
            [Sample(labels={"state": s.value}, value=nodes.count(s)) for s in NodeState],
        ),
        _many(
            "tasks",
            "Tasks by state.",
            [Sample(labels={"state": s.value}, value=tasks.count(s)) for s in TaskState],
        ),
        _one("services", "Services.", len(state.services)),
    )


def _one(name: str, text: str, value: float, **labels: str) -> Metric:
    return _many(name, text, [Sample(labels=labels, value=value)])


def _many(name: str, text: str, samples: Iterable[Sample]) -> Metric:
    return Metric(name=f"warren_{name}", kind="gauge", help=text, samples=tuple(samples))


def _count(name: str, text: str, value: float) -> Metric:
    sample = Sample(labels={}, value=value)
    return Metric(name=f"warren_{name}", kind="counter", help=text, samples=(sample,))


def _line(name: str, sample: Sample) -> str:
    labels = ",".join(f'{key}="{_escaped(value)}"' for key, value in sample.labels.items())
    return (
        f"{name}{{{labels}}} {_number(sample.value)}"
        if labels
        else f"{name} {_number(sample.value)}"
    )


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _seconds(duration: timedelta) -> float:
    """At most a day: a member that never answered has been silent for ever."""
    return min(duration, timedelta(days=1)).total_seconds()
