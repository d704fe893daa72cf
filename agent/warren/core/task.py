"""The worker's law of a task: one step at a time, from what is to what to do next. Pure.

`worker/executor.py` repeats: `step` -> do the action -> `after` with what came of it. Everything
may be interrupted anywhere: the next `step` looks at the instances that exist and goes on.

    wanted here  state       its instance   next
    yes          -           leftover       Remove (an older attempt, or a second of the same)
    yes          any         RUNNING        RUNNING, Wait; a run beyond the window clears failures
    yes          any         EXITED         Examine -> Ended: RESTARTING, COMPLETE or FAILED
    yes          RUNNING     BROKEN, none   Examine -> Ended: its container is gone
    yes          not RUNNING BROKEN         Remove: a start of ours was interrupted, no failure
    yes          RESTARTING  none           Wait until retry_at, then PREPARING, EnsureImage
    yes          STARTING    none           Start -> instance, or Refused as a failed attempt
    yes          other       none           PREPARING, EnsureImage -> ImageReady: STARTING
    no           any         RUNNING        STOPPING, Stop
    no           any         other          Remove
    no           any         none           STOPPED (or the end it had), Wait
    unassigned   any         none           Forget: its logs and its progress go

An instance always has the attempt number of the progress, or is a leftover: each end and each
interrupted start makes the number grow, so no attempt is counted twice and none is reused.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import assert_never

from warren.core import restart
from warren.model.instances import Instance, InstanceState
from warren.model.services import RestartPolicy, TaskTemplate
from warren.model.tasks import DesiredState, Task, TaskState, TaskStatus
from warren.model.units import format_bytes, format_duration

_KILLED = 128
_SIGNALS = 64
_DEFAULT_GRACE = timedelta(seconds=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far this node is with a task. Written by `step` and `after` alone."""

    status: TaskStatus
    attempt: int = 0
    """Number of the attempt that runs, or comes next."""
    history: restart.History = restart.History()
    retry_at: datetime | None = None
    """When RESTARTING ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """All that the next step depends on."""

    task: Task | None
    """As last assigned; None if only its containers or logs are known."""
    assigned: bool
    instances: tuple[Instance, ...] = ()
    """Those of this task on the host."""
    progress: Progress
    now: datetime


# ------------------------------------------------------------------ actions


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureImage:
    """Have the image. Leads to ImageReady or Refused."""

    template: TaskTemplate


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Start the attempt. Leads to an instance, or Refused."""

    task: Task
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Examine:
    """Read the last line of the ended attempt's log. Leads to Ended."""

    attempt: int
    instance: Instance | None
    """None if the container is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Stop signal, grace, kill."""

    instance: Instance
    signal: str = ""
    grace: timedelta = _DEFAULT_GRACE


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove:
    """Remove the instance; its logs stay."""

    instance: Instance


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget:
    """Remove logs and progress: nothing is left of the task here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Nothing to do until something changes, or until then."""

    until: datetime | None = None


Action = EnsureImage | Start | Examine | Stop | Remove | Forget | Wait


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What to do, and how far the task is while it is being done."""

    progress: Progress
    action: Action


# ------------------------------------------------------------------ events


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageReady:
    """The image is on the host."""

    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The image cannot be had, or the start failed: counts as a failed attempt."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The attempt's process has ended, or its container is gone."""

    instance: Instance | None
    last_log: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupted:
    """The outcome is unknown: the runtime does not answer. Counts as nothing."""

    reason: str


Event = ImageReady | Refused | Ended | Interrupted


# ------------------------------------------------------------------ the law


def begin(task: Task | None, now: datetime) -> Progress:
    """Progress of a task of which nothing is remembered here; an end that is known is kept."""
    if task is None:
        return Progress(status=TaskStatus(state=TaskState.STOPPED, since=now))
    if task.status.state.terminal:
        return Progress(status=task.status)
    status = replace(task.status, state=TaskState.ASSIGNED, message="", address="")
    return Progress(status=status, history=restart.History(failures=status.failures))


def step(situation: Situation) -> Step:
    """The next thing to do for a task."""
    situation = _caught_up(situation)
    current, leftover = _split(situation)
    if leftover is not None:
        return Step(progress=situation.progress, action=_disposal(situation, leftover))
    if not _wanted(situation):
        return _wind_down(situation, current)
    assert situation.task is not None
    return _run(situation, situation.task, current)


def after(template: TaskTemplate, progress: Progress, event: Event, now: datetime) -> Progress:
    """Progress once it is known what came of an action."""
    match event:
        case ImageReady():
            status = replace(progress.status, image_digest=event.digest)
            return _entered(replace(progress, status=status), TaskState.STARTING, now)
        case Refused():
            ending = restart.Ending(at=now)
            return _ended(template.restart, progress, ending, event.reason, now)
        case Ended():
            status = _status_of_end(progress.status, event)
            ending = _ending(progress, event.instance, now)
            reason = explain_end(event.instance, template)
            progress = replace(progress, status=status)
            return _ended(template.restart, progress, ending, reason, now)
        case Interrupted():
            status = replace(progress.status, message=event.reason)
            started = progress.status.state is TaskState.STARTING
            return replace(progress, status=status, attempt=progress.attempt + started)
        case _:
            assert_never(event)


def explain_end(instance: Instance | None, template: TaskTemplate) -> str:
    """Why the process ended, in the user's words."""
    if instance is None or instance.exit_code is None:
        return "its container is gone"
    if "oom" in instance.message.lower():
        limit = template.resources.limits.memory
        return f"out of memory (limit {format_bytes(limit)})" if limit else "out of memory"
    if _KILLED < instance.exit_code <= _KILLED + _SIGNALS:
        return f"killed by signal {instance.exit_code - _KILLED}"
    return f"exit code {instance.exit_code}"


def _caught_up(situation: Situation) -> Situation:
    """With the progress that the instances and the assignment prove, should they know more."""
    progress, task = situation.progress, situation.task
    newest = max((i.attempt for i in situation.instances), default=progress.attempt)
    if newest > progress.attempt:
        progress = replace(progress, attempt=newest)
    if task is not None and task.status.state.terminal and not progress.status.state.terminal:
        progress = replace(progress, status=task.status)
    return replace(situation, progress=progress)


def _split(situation: Situation) -> tuple[Instance | None, Instance | None]:
    """The instance of the current attempt, and one that should not be here."""
    ours = [i for i in situation.instances if i.attempt == situation.progress.attempt]
    current = min(ours, key=lambda i: i.state is not InstanceState.RUNNING, default=None)
    leftover = next((i for i in situation.instances if i is not current), None)
    return current, leftover


def _wanted(situation: Situation) -> bool:
    task = situation.task
    return (
        situation.assigned
        and task is not None
        and task.desired is DesiredState.RUNNING
        and not situation.progress.status.state.terminal
    )


def _wind_down(situation: Situation, current: Instance | None) -> Step:
    progress = situation.progress
    if current is None:
        if not situation.assigned:
            return Step(progress=progress, action=Forget())
        return Step(progress=_entered(progress, TaskState.STOPPED, situation.now), action=Wait())
    progress = _entered(progress, TaskState.STOPPING, situation.now)
    if current.state is InstanceState.EXITED and progress.status.state is TaskState.STOPPING:
        progress = replace(
            progress, status=replace(progress.status, exit_code=current.exit_code, address="")
        )
    return Step(progress=progress, action=_disposal(situation, current))


def _disposal(situation: Situation, instance: Instance) -> Stop | Remove:
    """How to get rid of an instance: with its stop signal and grace while it runs."""
    if instance.state is not InstanceState.RUNNING:
        return Remove(instance=instance)
    if situation.task is None:
        return Stop(instance=instance)
    template = situation.task.template
    return Stop(instance=instance, signal=template.stop_signal, grace=template.stop_grace_period)


def _run(situation: Situation, task: Task, current: Instance | None) -> Step:
    progress, now = situation.progress, situation.now
    state = progress.status.state
    match current.state if current else None:
        case InstanceState.RUNNING:
            assert current is not None
            return _running(progress, current, task.template.restart, now)
        case InstanceState.EXITED:
            return Step(
                progress=progress, action=Examine(attempt=progress.attempt, instance=current)
            )
        case InstanceState.CREATED | InstanceState.BROKEN if state is not TaskState.RUNNING:
            assert current is not None
            progress = replace(progress, attempt=progress.attempt + 1)
            return Step(progress=progress, action=Remove(instance=current))
        case _ if state is TaskState.RUNNING:
            return Step(
                progress=progress, action=Examine(attempt=progress.attempt, instance=current)
            )
        case _:
            return _start(task, progress, now)


def _start(task: Task, progress: Progress, now: datetime) -> Step:
    """Without an instance: wait for the next attempt, or bring it on its way."""
    match progress.status.state:
        case TaskState.RESTARTING if (until := _retry_at(task, progress, now)) is not None:
            return Step(progress=progress, action=Wait(until=until))
        case TaskState.STARTING:
            return Step(progress=progress, action=Start(task=task, attempt=progress.attempt))
        case _:
            message = f"getting image {task.template.image}"
            progress = _entered(progress, TaskState.PREPARING, now, message)
            progress = replace(progress, retry_at=None)
            return Step(progress=progress, action=EnsureImage(template=task.template))


def _retry_at(task: Task, progress: Progress, now: datetime) -> datetime | None:
    """When to start again, unless it is due. A wait longer than any the policy gives means that
    the host's clock was set back."""
    at = progress.retry_at
    if at is None or at <= now or at - now > task.template.restart.max_delay:
        return None
    return at


def _running(progress: Progress, instance: Instance, policy: RestartPolicy, now: datetime) -> Step:
    since = instance.started_at or now
    stable_at = since + policy.window
    failures = progress.history.failures
    if failures and now > stable_at:
        progress = replace(progress, history=restart.History())
    status = replace(
        progress.status,
        state=TaskState.RUNNING,
        since=since if progress.status.state is not TaskState.RUNNING else progress.status.since,
        message="",
        failures=progress.history.failures,
        address=instance.address,
        image_digest=instance.image_digest or progress.status.image_digest,
    )
    wait = Wait(until=stable_at + timedelta(milliseconds=1) if status.failures else None)
    return Step(progress=replace(progress, status=status, retry_at=None), action=wait)


def _ending(progress: Progress, instance: Instance | None, now: datetime) -> restart.Ending:
    if instance is None or instance.finished_at is None:
        return restart.Ending(at=now, ran_for=now - progress.status.since)
    at = min(instance.finished_at, now)
    ran_for = at - (instance.started_at or at)
    return restart.Ending(at=at, ran_for=ran_for, succeeded=instance.exit_code == 0)


def _status_of_end(status: TaskStatus, event: Ended) -> TaskStatus:
    exit_code = event.instance.exit_code if event.instance else None
    last_log = status.last_log if exit_code == 0 else event.last_log
    return replace(status, exit_code=exit_code, last_log=last_log)


def _ended(
    policy: RestartPolicy, progress: Progress, ending: restart.Ending, reason: str, now: datetime
) -> Progress:
    """Progress after an attempt: RESTARTING, or ended for good."""
    decision = restart.decide(policy, progress.history, ending)
    status = replace(progress.status, failures=decision.history.failures)
    progress = replace(
        progress, status=status, attempt=progress.attempt + 1, history=decision.history
    )
    match decision:
        case restart.Again():
            message = f"{reason}; next start in {format_duration(decision.at - ending.at)}"
            progress = _entered(progress, TaskState.RESTARTING, now, message)
            return replace(progress, retry_at=decision.at)
        case restart.Enough():
            state = TaskState.COMPLETE if ending.succeeded else TaskState.FAILED
            message = f"{reason}; {decision.reason}" if decision.reason else reason
            return _entered(progress, state, now, message)


def _entered(progress: Progress, state: TaskState, now: datetime, message: str = "") -> Progress:
    """Progress in `state`; an end is final, and `since` is the time of the first entry."""
    status = progress.status
    if status.state.terminal or (status.state is state and status.message == message):
        return progress
    since = status.since if status.state is state else now
    address = status.address if state is TaskState.STOPPING else ""
    status = replace(status, state=state, since=since, message=message, address=address)
    return replace(progress, status=status)
