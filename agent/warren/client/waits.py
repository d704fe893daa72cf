"""Waiting for services, for the CLI and the modules: what counts as done, and when to give up.

A service is done when it has been converged for `stable_for`, so that one which starts and dies is
not taken for running; where there is a health check, its tasks are healthy then. It is given up
early when a task of its current revision keeps failing. The waiter looks through `watch_service`,
again and again, so it outlives any one manager.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from warren.client.client import Client
from warren.model.errors import DeadlineExceeded, NotFound, Unavailable, WaitFailed
from warren.model.tasks import DesiredState, Task, TaskState
from warren.model.units import format_duration
from warren.model.views import ServiceView

Progress = Callable[[ServiceView], None]

STABLE_FOR = timedelta(seconds=2)
TOO_MANY_FAILURES = 3
_LOOK = 10.0
"""Seconds after which a silent stream is opened anew, in case its manager is dead."""
_PAUSE = 0.3
"""Seconds before a cluster that does not answer is asked again."""


class ServiceWaitFailed(WaitFailed):
    """`view` is the last that was seen, None when none was."""

    def __init__(self, message: str, view: ServiceView | None) -> None:
        super().__init__(message)
        self.view = view


def wait_service(
    client: Client,
    name: str,
    *,
    timeout: timedelta,
    stable_for: timedelta = STABLE_FOR,
    version: int = 0,
    changed: bool = True,
    on_progress: Progress | None = None,
) -> ServiceView:
    """Wait until the service of at least `version` has been converged for `stable_for`.

    When the caller has not just `changed` it, the time that it ran before counts. Raises
    ServiceWaitFailed with the reason, and NotFound when there is no such service.
    """
    wait = _Wait(timeout, stable_for, version=version, changed=changed)
    while True:
        trouble = ""
        try:
            for view in client.watch_service(name, timeout=wait.until_next_look()):
                if on_progress:
                    on_progress(view)
                before = wait.converged_at
                if wait.take(view):
                    return view
                if wait.converged_at != before:
                    break  # the time to look again is another one now
            else:
                client.get_service(name)  # the stream has ended: NotFound if the service did
        except DeadlineExceeded:
            if wait.stable():
                assert wait.view is not None
                return wait.view
        except Unavailable as error:
            trouble = error.message
            time.sleep(_PAUSE)
        wait.check_time(name, trouble)


def wait_service_gone(
    client: Client, name: str, *, timeout: timedelta, on_progress: Progress | None = None
) -> None:
    """Wait until the service and its last task are gone. ServiceWaitFailed at the timeout."""
    deadline = time.monotonic() + timeout.total_seconds()
    last: ServiceView | None = None
    reason = ""
    while (left := deadline - time.monotonic()) > 0:
        try:
            for view in client.watch_service(name, timeout=min(left, _LOOK)):
                last = view
                if on_progress:
                    on_progress(view)
            client.get_service(name)
        except NotFound:
            return
        except DeadlineExceeded:
            continue
        except Unavailable as error:
            reason = error.message
            time.sleep(_PAUSE)
    if last is not None and not reason:
        reason = last.status.reason
    raise ServiceWaitFailed(f"{name}: not gone after {format_duration(timeout)}: {reason}", last)


def is_hopeless(view: ServiceView) -> bool:
    """A task of the current revision keeps failing, or has ended for good."""
    spec = view.service.spec
    current = [
        task
        for task in view.tasks
        if task.revision == view.service.revision and (spec.is_global or task.slot <= spec.replicas)
    ]
    replaced = {task.slot for task in current if task.wanted}
    return any(_keeps_failing(task) or _has_ended(task, replaced) for task in current)


def _keeps_failing(task: Task) -> bool:
    failing = task.status.failures >= TOO_MANY_FAILURES
    return task.wanted and failing and not task.ready


def _has_ended(task: Task, replaced: set[int]) -> bool:
    ended = task.status.state in (TaskState.FAILED, TaskState.COMPLETE)
    return ended and task.desired is DesiredState.RUNNING and task.slot not in replaced


class _Wait:
    """What one wait knows: the last view, and since when it has been good."""

    def __init__(
        self, timeout: timedelta, stable_for: timedelta, *, version: int, changed: bool
    ) -> None:
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout.total_seconds()
        self._stable_for = stable_for.total_seconds()
        self._version = version
        self._changed = changed
        self.converged_at: float | None = None
        self._converged_since: datetime | None = None
        self.view: ServiceView | None = None

    def take(self, view: ServiceView) -> bool:
        """Look at a view; True when waiting is over. ServiceWaitFailed when it is in vain."""
        self.view = view
        if view.service.removing:
            raise ServiceWaitFailed(f"{view.service.spec.name}: is being removed", view)
        if view.service.version < self._version:
            return False
        if not view.status.converged:
            self.converged_at = None
            if is_hopeless(view):
                name = view.service.spec.name
                raise ServiceWaitFailed(f"{name}: {view.status.reason}", view)
            return False
        if self.converged_at is None or view.status.converged_since != self._converged_since:
            self._converged_since = view.status.converged_since
            self.converged_at = time.monotonic() - self._ran_before(view)
        return self.stable()

    def stable(self) -> bool:
        """It has been converged for long enough."""
        return (
            self.converged_at is not None
            and time.monotonic() >= self.converged_at + self._stable_for
        )

    def until_next_look(self) -> float:
        """Seconds for which to watch the stream that is opened now."""
        ends = [self._deadline, time.monotonic() + _LOOK]
        if self.converged_at is not None:
            ends.append(self.converged_at + self._stable_for)
        return max(0.05, min(ends) - time.monotonic())

    def check_time(self, name: str, trouble: str) -> None:
        """ServiceWaitFailed when the time is up."""
        if time.monotonic() < self._deadline:
            return
        reason = trouble or (self.view.status.reason if self.view else "")
        after = format_duration(self._timeout)
        reason = reason or "no manager answered"
        raise ServiceWaitFailed(f"{name}: not running after {after}: {reason}", self.view)

    def _ran_before(self, view: ServiceView) -> float:
        """Seconds it was converged before we looked. The clock of the cluster may not be ours."""
        if self._changed or view.status.converged_since is None:
            return 0.0
        ran = (datetime.now(UTC) - view.status.converged_since).total_seconds()
        return max(0.0, ran)
