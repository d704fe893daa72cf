"""The worker's law of a task: one step at a time, from what is to what to do next. Pure.

`worker/executor.py` repeats: `step` -> do the action -> `after` with what came of it. Everything
may be interrupted anywhere: the next `step` looks at the instances that exist and goes on.

    wanted here  state       its instance   next
    yes          -           leftover       Remove (an older attempt, or a second of the same)
    yes          any         RUNNING        RUNNING, Wait; a run beyond the window clears failures
    yes          unhealthy   RUNNING        Wait for drain_delay to be over, then Stop
    yes          any         EXITED         Examine -> Ended: RESTARTING, COMPLETE or FAILED
    yes          RUNNING     BROKEN, none   Examine -> Ended: its container is gone
    yes          not RUNNING BROKEN         Remove: a start of ours was interrupted, no failure
    yes          RESTARTING  none           Wait until retry_at, then PREPARING, EnsureImage
    yes          STARTING    none           Start -> instance, or Refused as a failed attempt
    yes          other       none           PREPARING, EnsureImage -> ImageReady: STARTING
    draining     any         RUNNING        RUNNING, Wait, healthy or not: the leader ends it
    draining     any         other, none    as with no: what has ended is not started again
    no           any         RUNNING        STOPPING, Stop
    no           any         other          Remove
    no           any         none           STOPPED (or the end it had), Wait
    unassigned   any         none           Forget: its logs and its progress go

An instance always has the attempt number of the progress, or is a leftover: each end and each
interrupted start makes the number grow, so no attempt is counted twice and none is reused.

The last leftover that EXITED stays until the next attempt runs, which starts in its sandbox if that
is alive: so a task keeps its address. Checked adds to what is known of the attempt's health; an
unhealthy one ends as a failure, whatever its exit code.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import assert_never

from warren.core import health, restart
from warren.model.instances import Instance, InstanceState
from warren.model.services import RestartPolicy, TaskTemplate
from warren.model.tasks import DesiredState, Health, Task, TaskState, TaskStatus
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
    checks: health.Record = health.Record()
    """Of the attempt."""


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
    receives: bool = False
    """Its service has ports: there may be connections to it."""


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
    sandbox_id: str = ""
    """Of the attempt before: to be used again if it is alive."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The start waits for something that will come. Counts as nothing."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A health check of the attempt is over."""

    attempt: int
    started_at: datetime
    outcome: health.Outcome


Event = ImageReady | Refused | Ended | Interrupted | Waiting | Checked


# ------------------------------------------------------------------ the law


def begin(task: Task | None, now: datetime) -> Progress:
    """Progress of a task of which nothing is remembered here; an end that is known is kept."""
    if task is None:
        return Progress(status=TaskStatus(state=TaskState.STOPPED, since=now))
    if task.status.state.terminal:
        return Progress(status=task.status)
    status = replace(
        task.status, state=TaskState.ASSIGNED, message="", address="", health=Health.NONE
    )
    return Progress(status=status, history=restart.History(failures=status.failures))


def kept(progress: Progress) -> Progress | None:
    """What of the progress must survive the agent; None: what was kept before still holds.

    Ends and waits are kept as they are. Of a running task its container tells that it runs, but
    not that it is healthy.
    """
    status = replace(progress.status, address="")
    if status.state is TaskState.RESTARTING or status.state.terminal:
        return replace(progress, status=status)
    checks = health.verdict(progress.checks)
    if status.state is not TaskState.RUNNING or checks.health is Health.STARTING:
        return None
    status = replace(status, state=TaskState.ASSIGNED, message="", health=Health.NONE)
    return replace(progress, status=replace(status, health_output=checks.output), checks=checks)


def step(situation: Situation) -> Step:
    """The next thing to do for a task."""
    situation = _caught_up(situation)
    current = _current(situation)
    spare = _spare(situation, current)
    lives = _wanted(situation) or _drains(situation, current)
    leftover = next((i for i in situation.instances if i not in (current, spare)), None)
    if leftover is not None:
        progress = _in_presence(situation, current) if lives else situation.progress
        return Step(progress=progress, action=_disposal(situation, leftover))
    if not lives:
        return _wind_down(situation, current)
    assert situation.task is not None
    return _run(situation, situation.task, current, spare)


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
            status = _status_of_end(progress, event)
            ending = _ending(progress, event.instance, now)
            reason = explain_end(event.instance, template)
            if progress.checks.health is Health.UNHEALTHY:
                reason = health.explain(progress.checks)
            progress = replace(progress, status=status)
            return _ended(template.restart, progress, ending, reason, now)
        case Interrupted():
            status = replace(progress.status, message=event.reason)
            started = progress.status.state is TaskState.STARTING
            return _at_attempt(replace(progress, status=status), progress.attempt + started)
        case Waiting():
            status = replace(progress.status, message=event.reason)
            return replace(progress, status=status)
        case Checked():
            if template.health is None or event.attempt != progress.attempt:
                return progress
            checks = health.take(template.health, progress.checks, event.outcome, event.started_at)
            return replace(progress, checks=checks)
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
        progress = _at_attempt(progress, newest)
    if task is not None and task.status.state.terminal and not progress.status.state.terminal:
        progress = replace(progress, status=task.status)
    return replace(situation, progress=progress)


def _at_attempt(progress: Progress, attempt: int) -> Progress:
    """Progress with that attempt; of another than before nothing is known yet."""
    if attempt == progress.attempt:
        return progress
    return replace(progress, attempt=attempt, checks=health.Record())


def _current(situation: Situation) -> Instance | None:
    """The instance of the current attempt."""
    ours = [i for i in situation.instances if i.attempt == situation.progress.attempt]
    return min(ours, key=lambda i: i.state is not InstanceState.RUNNING, default=None)


def _spare(situation: Situation, current: Instance | None) -> Instance | None:
    """The ended instance in whose sandbox the next start will be made."""
    if not _wanted(situation):
        return None
    if current is not None and current.state in (InstanceState.RUNNING, InstanceState.EXITED):
        return None
    ended = (i for i in situation.instances if i is not current and i.state is InstanceState.EXITED)
    return max(ended, key=lambda instance: instance.attempt, default=None)


def _wanted(situation: Situation) -> bool:
    task = situation.task
    return (
        situation.assigned
        and task is not None
        and task.desired is DesiredState.RUNNING
        and not situation.progress.status.state.terminal
    )


def _drains(situation: Situation, current: Instance | None) -> bool:
    """It is not wanted any more, but goes on running until the leader says STOPPED."""
    task = situation.task
    return (
        situation.assigned
        and task is not None
        and task.desired is DesiredState.DRAINING
        and not situation.progress.status.state.terminal
        and current is not None
        and current.state is InstanceState.RUNNING
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


def _in_presence(situation: Situation, current: Instance | None) -> Progress:
    """Progress while leftovers are removed: what runs is said to run. A new agent would take it
    out of traffic for so long otherwise."""
    if situation.task is None or current is None or current.state is not InstanceState.RUNNING:
        return situation.progress
    return _running(situation, situation.task, current).progress


def _disposal(situation: Situation, instance: Instance) -> Stop | Remove:
    """How to get rid of an instance: with its stop signal and grace while it runs."""
    if instance.state is not InstanceState.RUNNING:
        return Remove(instance=instance)
    if situation.task is None:
        return Stop(instance=instance)
    template = situation.task.template
    return Stop(instance=instance, signal=template.stop_signal, grace=template.stop_grace_period)


def _run(
    situation: Situation, task: Task, current: Instance | None, spare: Instance | None
) -> Step:
    progress = situation.progress
    state = progress.status.state
    match current.state if current else None:
        case InstanceState.RUNNING:
            assert current is not None
            return _running(situation, task, current)
        case InstanceState.EXITED:
            return Step(
                progress=progress, action=Examine(attempt=progress.attempt, instance=current)
            )
        case InstanceState.CREATED | InstanceState.BROKEN if state is not TaskState.RUNNING:
            assert current is not None
            progress = _at_attempt(progress, progress.attempt + 1)
            return Step(progress=progress, action=Remove(instance=current))
        case _ if state is TaskState.RUNNING:
            return Step(
                progress=progress, action=Examine(attempt=progress.attempt, instance=current)
            )
        case _:
            return _start(situation, task, spare)


def _start(situation: Situation, task: Task, spare: Instance | None) -> Step:
    """Without an instance: wait for the next attempt, or bring it on its way."""
    progress, now = situation.progress, situation.now
    match progress.status.state:
        case TaskState.RESTARTING if (until := _retry_at(task, progress, now)) is not None:
            return Step(progress=progress, action=Wait(until=until))
        case TaskState.STARTING:
            sandbox_id = spare.sandbox_id if spare is not None else ""
            start = Start(task=task, attempt=progress.attempt, sandbox_id=sandbox_id)
            return Step(progress=progress, action=start)
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


def _running(situation: Situation, task: Task, instance: Instance) -> Step:
    progress, now = situation.progress, situation.now
    since = instance.started_at or now
    stable_at = since + task.template.restart.window
    if progress.history.failures and now > stable_at:
        progress = replace(progress, history=restart.History())
    before, checks = progress.status, progress.checks
    unhealthy = checks.health is Health.UNHEALTHY
    status = replace(
        before,
        state=TaskState.RUNNING,
        since=since if before.state is not TaskState.RUNNING else before.since,
        message=health.explain(checks) if unhealthy else "",
        failures=progress.history.failures,
        address=instance.address,
        image_digest=instance.image_digest or before.image_digest,
        health=checks.health if task.template.health is not None else Health.NONE,
        health_output=checks.output if checks != health.Record() else before.health_output,
    )
    progress = replace(progress, status=status, retry_at=None)
    if unhealthy and task.desired is DesiredState.RUNNING:
        stop_at = _stop_at(situation, task)
        action = Wait(until=stop_at) if stop_at > now else _disposal(situation, instance)
        return Step(progress=progress, action=action)
    wait = Wait(until=stable_at + timedelta(milliseconds=1) if status.failures else None)
    return Step(progress=progress, action=wait)


def _stop_at(situation: Situation, task: Task) -> datetime:
    """When to stop an unhealthy task: requests under way get as long as at any other stop. A
    verdict in the future means that the host's clock was set back: then it is now."""
    verdict_at = situation.progress.checks.since
    if not situation.receives or verdict_at is None or verdict_at > situation.now:
        return situation.now
    return verdict_at + task.template.drain_delay


def _ending(progress: Progress, instance: Instance | None, now: datetime) -> restart.Ending:
    if instance is None or instance.finished_at is None:
        return restart.Ending(at=now, ran_for=now - progress.status.since)
    at = min(instance.finished_at, now)
    ran_for = at - (instance.started_at or at)
    return restart.Ending(at=at, ran_for=ran_for, succeeded=_succeeded(progress, instance))


def _succeeded(progress: Progress, instance: Instance | None) -> bool:
    """Its process ended by itself and well. One that was unhealthy ended because we stopped it."""
    healthy = progress.checks.health is not Health.UNHEALTHY
    return healthy and instance is not None and instance.exit_code == 0


def _status_of_end(progress: Progress, event: Ended) -> TaskStatus:
    status = progress.status
    exit_code = event.instance.exit_code if event.instance else None
    last_log = status.last_log if _succeeded(progress, event.instance) else event.last_log
    return replace(status, exit_code=exit_code, last_log=last_log)


def _ended(
    policy: RestartPolicy, progress: Progress, ending: restart.Ending, reason: str, now: datetime
) -> Progress:
    """Progress after an attempt: RESTARTING, or ended for good."""
    decision = restart.decide(policy, progress.history, ending)
    status = replace(progress.status, failures=decision.history.failures)
    progress = replace(progress, status=status, history=decision.history)
    progress = _at_attempt(progress, progress.attempt + 1)
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
    status = replace(
        status, state=state, since=since, message=message, address=address, health=Health.NONE
    )
    return replace(progress, status=status)
