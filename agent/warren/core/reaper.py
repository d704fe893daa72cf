"""What the state may forget, so that it stays bounded: ended tasks, removed services, old tokens.

Kept are, per slot, the newest `task_history` ended tasks, and always the one that is the reason for
an empty slot: a FAILED task of a revision that the slot shall have, without which the orchestrator
would begin anew for ever. The history of a slot that there is no more stays readable for an hour.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta

from warren.core import eligible, index
from warren.core.decisions import Decision, earliest
from warren.core.index import Services
from warren.model.services import Service
from warren.model.tasks import DesiredState, Task, TaskState
from warren.state.cluster import ClusterState
from warren.state.commands import Command, ForgetService, RemoveJoinToken, RemoveTask

GONE_SLOT_KEPT = timedelta(hours=1)
EXPIRED_TOKEN_KEPT = timedelta(days=7)
"""So that who uses it is told that it has expired, and not that it is unknown."""


def decide(state: ClusterState, now: datetime, among: Services | None = None) -> Decision:
    """Tasks and services (all, or those `among` which to look) and join tokens to forget."""
    if state.cluster is None:
        return Decision()
    among = index.every_service(state) if among is None else among
    decisions = [
        of_service(state, service, tasks.values(), now)
        for name, tasks in sorted(among.items())
        if (service := state.services.get(name)) is not None
    ]
    decisions.append(_tokens(state, now))
    commands = tuple(command for decision in decisions for command in decision.commands)
    return Decision(commands=commands, wake_at=earliest(d.wake_at for d in decisions))


def of_service(
    state: ClusterState, service: Service, tasks: Collection[Task], now: datetime
) -> Decision:
    """What of one service to forget."""
    assert state.cluster is not None, "there is a service"
    history = state.cluster.spec.task_history
    if service.removing and all(task.status.state.terminal for task in tasks):
        return Decision(commands=(ForgetService(name=service.spec.name),))
    ended: defaultdict[int, list[Task]] = defaultdict(list)
    for task in tasks:
        if task.status.state.terminal:
            ended[task.slot].append(task)
    within = eligible.numbers(state, service, tasks)
    commands: list[Command] = []
    wake_ups: list[datetime] = []
    for slot in sorted(ended):
        kept = _kept(service, ended[slot], history)
        if slot not in within:
            wake_ups += (t.status.since + GONE_SLOT_KEPT for t in kept if not _gone(t, now))
            kept = [task for task in kept if not _gone(task, now)]
        kept_ids = {task.id for task in kept}
        commands += (
            RemoveTask(task_id=task.id)
            for task in sorted(ended[slot], key=lambda task: task.id)
            if task.id not in kept_ids
        )
    return Decision(commands=tuple(commands), wake_at=earliest(wake_ups))


def _kept(service: Service, ended: Iterable[Task], history: int) -> list[Task]:
    """The newest ended tasks of a slot that ever had a node, and the newest that ended it."""
    placed = sorted(
        (task for task in ended if task.node_id),
        key=lambda task: (task.created_at, task.id),
        reverse=True,
    )
    reasons = [task for task in placed if _is_reason(service, task)]
    return placed[:history] + [task for task in reasons[:1] if task not in placed[:history]]


def _is_reason(service: Service, task: Task) -> bool:
    """The orchestrator leaves the slot empty because of this task."""
    return (
        task.revision in _revisions(service)
        and task.desired is DesiredState.RUNNING
        and task.status.state in (TaskState.FAILED, TaskState.COMPLETE)
    )


def _revisions(service: Service) -> tuple[int, ...]:
    """Those that a slot may have now."""
    live = service.live_rollout
    if live is None:
        return (service.revision,)
    return (live.from_revision, live.to_revision)


def _gone(task: Task, now: datetime) -> bool:
    return task.status.since + GONE_SLOT_KEPT <= now


def _tokens(state: ClusterState, now: datetime) -> Decision:
    commands: list[Command] = []
    wake_ups: list[datetime] = []
    for token in sorted(state.tokens.values(), key=lambda token: token.id):
        end = token.expires_at + EXPIRED_TOKEN_KEPT
        if end <= now:
            commands.append(RemoveJoinToken(token_id=token.id))
        else:
            wake_ups.append(end)
    return Decision(commands=tuple(commands), wake_at=earliest(wake_ups))
