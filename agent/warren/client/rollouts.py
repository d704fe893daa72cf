"""Waiting for rollouts, for the CLI and the modules: what counts as done, how a failure is told.

A rollout is waited for until it is decided, or until it is somebody's turn to promote it. The
waiter looks through `watch_rollout`, again and again, so it outlives any one manager; what the
rollout does is the cluster's, and goes on without us.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from warren.client import waits
from warren.client.client import Client
from warren.model.errors import DeadlineExceeded, Unavailable, WaitFailed, WarrenError
from warren.model.rollouts import RolloutState
from warren.model.units import format_duration
from warren.model.views import FailingTask, RolloutView, ServiceApplied, ServiceView

Progress = Callable[[RolloutView], None]

LINES = 10
"""Last log lines of a failing task that are shown."""
LOGS_TIMEOUT = 5.0
LOOK = 10.0
"""Seconds after which a silent stream is opened anew, in case its manager is dead."""
_PAUSE = 0.3
"""Seconds before a cluster that does not answer is asked again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskLines:
    """The last lines of a task that spoke against a revision, oldest first."""

    name: str
    node: str
    lines: tuple[str, ...]


class RolloutWaitFailed(WaitFailed):
    """`view` is the last that was seen, None when none was; `lines` are there once `explained`."""

    def __init__(
        self, message: str, view: RolloutView | None, lines: tuple[TaskLines, ...] = ()
    ) -> None:
        super().__init__(message)
        self.view = view
        self.lines = lines


def wait_applied(
    client: Client,
    applied: ServiceApplied,
    *,
    timeout: timedelta,
    on_service: waits.Progress | None = None,
    on_rollout: Progress | None = None,
) -> tuple[ServiceView, RolloutView | None]:
    """What an Apply set going: the rollout that it began or found under way, then the service.

    A rollout that waits for a promotion, or keeps the old set for its grace period, is enough.
    Raises RolloutWaitFailed or ServiceWaitFailed, with the reason.
    """
    name = applied.after.name
    deadline = time.monotonic() + timeout.total_seconds()
    rollout = None
    if applied.rollout:
        rollout = wait_rollout(
            client, name, applied.rollout, timeout=timeout, on_progress=on_rollout
        )
        if rollout.rollout.state is not RolloutState.COMPLETE:
            return client.get_service(name), rollout
    view = waits.wait_service(
        client,
        name,
        timeout=timedelta(seconds=max(0.0, deadline - time.monotonic())),
        version=applied.version,
        changed=applied.changed and rollout is None,
        on_progress=on_service,
    )
    return view, rollout


def wait_rollout(
    client: Client,
    service: str,
    rollout: str = "",
    *,
    timeout: timedelta,
    back: bool = False,
    on_progress: Progress | None = None,
) -> RolloutView:
    """Wait until the rollout is decided, or is to be promoted. `back`: the caller has turned it
    back, and waits for that.

    Raises RolloutWaitFailed with the reason, and NotFound when there is no such rollout.
    """
    for view in watch(client, service, rollout, timeout=timeout):
        if on_progress:
            on_progress(view)
        if is_over(view, back=back):
            return view
    raise AssertionError("a rollout that has ended is over")


def wait_followers(
    client: Client,
    rollouts: Mapping[str, str],
    *,
    timeout: timedelta,
    on_progress: Progress | None = None,
) -> dict[str, RolloutView]:
    """Wait for rollouts, by service, that a new version of a secret or config has begun."""
    deadline = time.monotonic() + timeout.total_seconds()
    return {
        service: wait_rollout(
            client,
            service,
            rollout,
            timeout=timedelta(seconds=max(0.0, _left(deadline))),
            on_progress=on_progress,
        )
        for service, rollout in sorted(rollouts.items())
    }


def watch(
    client: Client,
    service: str,
    rollout: str = "",
    *,
    timeout: timedelta | None = None,
    look: float = LOOK,
) -> Iterator[RolloutView]:
    """The rollout after each change, and again every `look` seconds, until it has ended.

    RolloutWaitFailed when `timeout` is over before.
    """
    deadline = None if timeout is None else time.monotonic() + timeout.total_seconds()
    last: RolloutView | None = None
    trouble = "no manager answered"
    while (left := _left(deadline)) > 0:
        try:
            for view in client.watch_rollout(service, rollout, timeout=min(left, look)):
                last, trouble = view, view.waiting_for
                rollout = view.rollout.id  # the same one, should there be another meanwhile
                yield view
            if last is not None and not last.rollout.live:
                return
        except DeadlineExceeded:
            if last is not None:
                yield last
            continue
        except Unavailable as error:
            trouble = error.message
        time.sleep(_PAUSE)
    assert timeout is not None
    after = format_duration(timeout)
    raise RolloutWaitFailed(f"{service}: rollout not over after {after}: {trouble}", last)


def _left(deadline: float | None) -> float:
    return math.inf if deadline is None else deadline - time.monotonic()


def is_over(view: RolloutView, *, back: bool = False) -> bool:
    """There is nothing more to wait for. RolloutWaitFailed when it is not what was wished for."""
    rollout, name = view.rollout, view.service
    match rollout.state:
        case RolloutState.ROLLED_BACK if not back:
            where = f"rolled back to revision {rollout.from_revision}"
            raise RolloutWaitFailed(_with_reason(f"{name}: {where}", view), view)
        case RolloutState.PAUSED:
            where = f"paused at revision {rollout.to_revision}"
            raise RolloutWaitFailed(_with_reason(f"{name}: {where}", view), view)
        case RolloutState.SUPERSEDED:
            raise RolloutWaitFailed(f"{name}: {rollout.reason or 'superseded'}", view)
        case RolloutState.WAITING:
            return not back
        case RolloutState.COMPLETE if back:
            raise RolloutWaitFailed(f"{name}: revision {rollout.to_revision} is complete", view)
        case _:
            return rollout.decided


def explained(client: Client, error: RolloutWaitFailed) -> RolloutWaitFailed:
    """The same, with what its failing tasks wrote last, also in the message."""
    if error.view is None:
        return error
    found = tuple(filter(None, (_lines(client, task) for task in error.view.failing)))
    told = [error.message]
    for task in found:
        if len(task.lines) > 1:  # one alone stands in the reason
            told += (f"{task.name} on {task.node} wrote last:", *(f"  {s}" for s in task.lines))
    return RolloutWaitFailed("\n".join(told), error.view, found)


def _lines(client: Client, task: FailingTask) -> TaskLines | None:
    """None if there are none. A node that is away has at most the last line to give."""
    lines: list[str] = []
    with suppress(WarrenError):
        logs = client.logs(task=task.task_id, tail=LINES, timeout=LOGS_TIMEOUT)
        lines += (line.line.decode(errors="replace") for line in logs)
    if not lines and task.last_log:
        lines = [task.last_log]
    return TaskLines(name=task.name, node=task.node, lines=tuple(lines)) if lines else None


def _with_reason(sentence: str, view: RolloutView) -> str:
    return f"{sentence}: {view.rollout.reason}" if view.rollout.reason else sentence
