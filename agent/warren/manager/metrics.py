"""A manager's figures: its part in the replicated log, and what the cluster has. Pure."""

from collections.abc import Iterable
from datetime import timedelta

from warren.api.exposition import Metric, Sample, count, many, one
from warren.model.nodes import NodeState
from warren.model.tasks import TaskState
from warren.state.cluster import ClusterState
from warren.store.log import LogMetrics, LogStatus


def of_manager(
    log: LogMetrics, status: LogStatus, state: ClusterState, *, version: str, locked: bool
) -> tuple[Metric, ...]:
    """Everything that this manager has to say."""
    leads = status.is_leader
    return (
        one("info", "Always 1; the label says which version.", 1, version=version),
        one("secrets_locked", "1 while this manager is locked and opens no secret.", locked),
        one("raft_is_leader", "1 on the manager that leads.", leads),
        one("raft_has_leader", "1 while a leader is known.", status.leader is not None),
        one("raft_in_trouble", "1 while the disk or the peers keep it out.", bool(status.trouble)),
        one("raft_term", "Term of the log.", log.term),
        one("raft_last_index", "Newest entry of the log here.", log.last_index),
        one("raft_commit_index", "Newest entry known to be committed.", log.commit_index),
        one("raft_applied_index", "Newest entry applied here.", log.applied_index),
        one("raft_snapshot_index", "Entry up to which the newest snapshot is.", log.snapshot_index),
        one("raft_snapshot_bytes", "Size of the newest snapshot.", log.snapshot_bytes),
        one("raft_journal_bytes", "Size of the journal.", log.journal_bytes),
        count("raft_elections_won_total", "Elections won since the start.", log.elections_won),
        count(
            "raft_snapshots_written_total",
            "Snapshots written since the start.",
            log.snapshots_written,
        ),
        many(
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
        many(
            "raft_member_voter",
            "1 for a member that counts.",
            each((m.node_id, m.voter) for m in log.members),
        ),
        many(
            "raft_member_match_index",
            "Entry up to which a member has the log, on its disk.",
            each((m.node_id, m.match_index) for m in log.members),
        ),
        many(
            "raft_member_lag_entries",
            "Entries that the leader has and a member has not.",
            each((m.node_id, m.lag_entries) for m in log.members),
        ),
        many(
            "raft_member_silent_seconds",
            "Time since a member last answered the leader.",
            each((m.node_id, _seconds(m.silent_for)) for m in log.members),
        ),
    )


def _objects(state: ClusterState) -> tuple[Metric, ...]:
    nodes = [node.status.state for node in state.nodes.values()]
    tasks = [task.status.state for task in state.tasks.values()]
    return (
        many(
            "nodes",
            "Nodes by state.",
            [Sample(labels={"state": s.value}, value=nodes.count(s)) for s in NodeState],
        ),
        many(
            "tasks",
            "Tasks by state.",
            [Sample(labels={"state": s.value}, value=tasks.count(s)) for s in TaskState],
        ),
        one("services", "Services.", len(state.services)),
    )


def _seconds(duration: timedelta) -> float:
    """At most a day: a member that never answered has been silent for ever."""
    return min(duration, timedelta(days=1)).total_seconds()
