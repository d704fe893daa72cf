"""A rollout as text: a line for the progress of a wait, and the picture of `rollout status`."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from warren.model.rollouts import Rollout, RolloutPhase, RolloutState, Strategy
from warren.model.units import format_duration
from warren.model.views import FailingTask, RolloutView

BAR_WIDTH = 40


def line(view: RolloutView) -> str:
    """`web: revision 4 -> 5: 2 of 6 tasks ready, 10 % of the traffic; …`. The same until something
    happens."""
    rollout = view.rollout
    shown = [f"{view.ready_new} of {view.replicas} tasks ready"]
    if view.weight is not None:
        shown.append(f"{view.weight} % of the traffic")
    text = f"{view.service}: {way(rollout)}: {', '.join(shown)}"
    what = rollout.reason if rollout.backwards else view.waiting_for
    if rollout.state is not RolloutState.RUNNING:
        text = f"{text}; {state(rollout)}"
    return f"{text}; {what}" if what else text


def picture(view: RolloutView, now: datetime) -> list[str]:
    """All of it, some lines."""
    rollout = view.rollout
    rows = [
        ("revision", f"{rollout.from_revision} -> {rollout.to_revision}{_images(view)}"),
        ("rollout", f"{rollout.id}, {rollout.policy.strategy.value}, {_since(rollout, now)}"),
        ("because", rollout.started_because),
        ("state", where(rollout)),
        ("traffic", _traffic(view)),
        ("pinned", _pinned(rollout)),
        ("new", _tasks(view.tasks_new, view.ready_new)),
        ("old", _tasks(view.tasks_old, view.ready_old)),
        ("served", f"{view.served} of {view.replicas}, at least {view.min_healthy}"),
        ("waits for", _waits(view, now)),
        ("reason", rollout.reason),
        *(("failing", failing(task)) for task in view.failing),
        *(
            ("analysis", f"{each.name}: {each.good} good, {each.bad} bad in a row: {each.output}")
            for each in rollout.analyses
        ),
    ]
    return [view.service, *(f"  {name.ljust(9)}  {text}" for name, text in rows if text)]


def way(rollout: Rollout) -> str:
    """`revision 4 -> 5`, in the direction in which it goes."""
    first, last = rollout.from_revision, rollout.to_revision
    return f"revision {last} -> {first}" if rollout.backwards else f"revision {first} -> {last}"


def state(rollout: Rollout) -> str:
    """`rolled back`."""
    return rollout.state.value.replace("_", " ")


def where(rollout: Rollout) -> str:
    """`running, step 2 of 3`."""
    at = "".join(f", {text}" for text in _phase(rollout)) if rollout.live else ""
    return f"{state(rollout)}{at}"


def time_left(until: datetime | None, now: datetime) -> str:
    """`1m12s left`; nothing where time alone brings nothing. The cluster's clock may be ahead."""
    if until is None or until <= now:
        return ""
    seconds = timedelta(seconds=int((until - now).total_seconds()) or 1)
    return f"{format_duration(seconds)} left"


def failing(task: FailingTask) -> str:
    """`web.7 on w1: exit code 1; last log line: KeyError: DATABASE_URL`."""
    last = f"; last log line: {task.last_log}" if task.last_log not in task.message else ""
    return f"{task.name} on {task.node}: {task.message}{last}"


def _phase(rollout: Rollout) -> Iterator[str]:
    match rollout.phase:
        case RolloutPhase.STEP:
            yield f"step {rollout.step} of {len(rollout.policy.steps)}"
        case RolloutPhase.REPLACE if rollout.batches:
            yield f"batch {rollout.batches}"
        case RolloutPhase.SURGE:
            yield "the new set comes up"
        case RolloutPhase.TRIAL:
            yield "the new set is tried"
        case RolloutPhase.SWITCHED:
            yield "all traffic is on the new set"
        case _:
            pass


def _traffic(view: RolloutView) -> str:
    if view.weight is None:
        return ""
    full = round(view.weight * BAR_WIDTH / 100)
    to_revision = view.rollout.to_revision
    return f"{'#' * full}{'.' * (BAR_WIDTH - full)}  {view.weight} % to revision {to_revision}"


def _pinned(rollout: Rollout) -> str:
    """Who reaches the new tasks now."""
    if rollout.pin is None:
        return ""
    return f"{', '.join(rollout.pin.sources)} to revision {rollout.to_revision}"


def _tasks(count: int, ready: int) -> str:
    noun = "task" if count == 1 else "tasks"
    return f"{count} {noun}, {ready} ready"


def _waits(view: RolloutView, now: datetime) -> str:
    left = time_left(view.until, now)
    return f"{view.waiting_for} ({left})" if left else view.waiting_for


def _images(view: RolloutView) -> str:
    if not view.image_after or view.image_before == view.image_after:
        return f" ({view.image_after})" if view.image_after else ""
    return f" ({view.image_before} -> {view.image_after})"


def _since(rollout: Rollout, now: datetime) -> str:
    by = f" by {rollout.started_by}" if rollout.started_by else ""
    if rollout.ended_at is not None:
        took = rollout.ended_at - rollout.started_at
        return f"took {format_duration(timedelta(seconds=int(took.total_seconds())))}{by}"
    running = max(timedelta(), now - rollout.started_at)
    return f"for {format_duration(timedelta(seconds=int(running.total_seconds())))}{by}"


def strategy_label(rollout: Rollout) -> str:
    """`canary`, with its place: `canary 2/3`."""
    value = rollout.policy.strategy.value
    if rollout.policy.strategy is Strategy.CANARY and rollout.live and rollout.step:
        return f"{value} {rollout.step}/{len(rollout.policy.steps)}"
    return value
