"""What speaks against a revision: its tasks that fail, its analyses, no progress. In the user's
words, with the last log line, because that is what a rollout that was rolled back leaves behind."""

from collections.abc import Callable, Collection, Container, Iterable

from warren.core import amounts, names
from warren.core.situation import Situation
from warren.model.rollouts import Analysis, Rollout, RolloutPhase
from warren.model.tasks import Health, Task, TaskState
from warren.model.units import format_duration
from warren.state.cluster import ClusterState

SMOKE = "smoke check"
_STOPPED = (TaskState.LOST, TaskState.STOPPED, TaskState.STOPPING)


def explain(state: ClusterState, task: Task) -> str:
    """`web.7 on w1 failed 3 times: exit code 1; last log line: KeyError`."""
    status = task.status
    cause = status.message
    if not cause and status.health_output:
        cause = f"not healthy yet: {status.health_output}"
    if not cause and status.exit_code is not None:
        cause = f"exit code {status.exit_code}"
    line = status.last_log if status.last_log not in cause else ""
    details = "; last log line: ".join(part for part in (cause, line) if part)
    where = f"{task.name} on {names.node_name(state, task)}"
    if not status.failures and status.health is Health.UNHEALTHY:
        return f"{where} is {details}"
    times = {0: "", 1: " once"}.get(status.failures, f" {status.failures} times")
    return f"{where} failed{times}: {details}" if details else f"{where} failed{times}"


def is_bad(task: Task, excused: Collection[TaskState] = _STOPPED) -> bool:
    """It failed, or is unhealthy. That its node was lost says nothing of it."""
    status = task.status
    if not status.failures and status.health is not Health.UNHEALTHY:
        return status.state is TaskState.FAILED
    return status.state not in excused


def was_bad(task: Task) -> bool:
    """The same, also of a task that has been stopped since."""
    return is_bad(task, (TaskState.LOST,))


def against(
    rollout: Rollout,
    tasks: Iterable[Task],
    slots: Container[int],
    *,
    speaks: Callable[[Task], bool] = is_bad,
) -> list[Task]:
    """Tasks that the rollout brought in `slots`, and that failed since it was last resumed."""
    new, resumed_at = rollout.to_revision, rollout.resumed_at
    bad = [task for task in tasks if task.revision == new and speaks(task)]
    counted = (
        task
        for task in bad
        if task.slot in slots
        and task.created_at >= rollout.started_at
        and not (resumed_at and task.status.since <= resumed_at)
    )
    return sorted(counted, key=lambda task: (task.slot, task.id))


def found_bad(situation: Situation) -> str:
    """Why the new revision is bad; empty text: it is not, so far."""
    rollout = situation.rollout
    bad = against(rollout, situation.tasks, situation.by_number)
    slots = {task.slot for task in bad}
    if slots and len(slots) > rollout.policy.max_failure_ratio * situation.replicas:
        return f"task {explain(situation.state, bad[-1])}{_of(len(slots), situation)}"
    for name, analysis in analyses(rollout):
        record = next((each for each in rollout.analyses if each.name == name), None)
        if record is not None and record.bad >= analysis.retries:
            times = f" ({record.bad} times)" if record.bad > 1 else ""
            return f"{name}: {record.output}{times}"
    return ""


def _of(slots: int, situation: Situation) -> str:
    if slots < 2:
        return ""
    return f" (with {names.count(slots - 1, 'other')} of {situation.replicas})"


def analyses(rollout: Rollout) -> tuple[tuple[str, Analysis], ...]:
    """Those that are made in the rollout's phase, by name."""
    if rollout.phase is RolloutPhase.TRIAL and rollout.policy.smoke is not None:
        return ((rollout.policy.smoke.name or SMOKE, rollout.policy.smoke),)
    if rollout.phase is RolloutPhase.STEP and has_share(rollout):
        return tuple(named(rollout.policy.analysis))
    return ()


def named(found: Iterable[Analysis]) -> Iterable[tuple[str, Analysis]]:
    """Each with the name that it has, or that it is given."""
    for number, analysis in enumerate(found, 1):
        yield analysis.name or f"analysis {number}", analysis


def share(rollout: Rollout) -> int:
    """CANARY: the share of the traffic that belongs to the step."""
    return rollout.policy.steps[rollout.step - 1].weight


def has_share(rollout: Rollout) -> bool:
    """CANARY: the step's share has been given, be it none."""
    return rollout.weight_at is not None and rollout.weight == share(rollout)


def canaries(rollout: Rollout, replicas: int) -> int:
    """CANARY: how many tasks carry that share; none needs one, too."""
    return max(min(1, replicas), amounts.of(f"{share(rollout)}%", replicas))


def stalled(situation: Situation, waits_for: str) -> str:
    """That there was no progress for as long as the policy allows; empty text: there was."""
    deadline = situation.deadline
    if deadline is None or deadline > situation.now:
        return ""
    allowed = format_duration(situation.rollout.policy.progress_deadline)
    return f"no progress for {allowed}: {waits_for}"
