"""Waiting for services, for the CLI and the modules: what counts as done, and when to give up.

A service is done when it has been converged for `stable_for`, so that one which starts and dies is
not taken for running. It is given up early when a task of its current revision keeps failing.
The waiter looks through `watch_service`, again and again, so it outlives any one manager.
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
            wait.check_time(name, error.message)
            time.sleep(_PAUSE)
        wait.check_time(name)


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
    if last is not None:
        reason = f"{sum(not t.status.state.terminal for t in last.tasks)} tasks have not stopped"
    raise ServiceWaitFailed(f"{name}: not gone after {format_duration(timeout)}: {reason}", last)


def failure_of(view: ServiceView) -> str:
    """Why the service will not come up by waiting, or empty text."""
    for task, node in _current_tasks(view):
        given_up = task.status.state is TaskState.FAILED
        failing = task.status.failures >= TOO_MANY_FAILURES
        if given_up or (failing and task.status.state is not TaskState.RUNNING):
            return f"{view.service.spec.name}: {_task_failure(task, node)}"
    return ""


def shortfall_of(view: ServiceView) -> str:
    """What is missing now: counts, then the first thing that stands against it."""
    counts = f"{view.status.up_to_date} of {view.status.desired} tasks run"
    if view.status.running > view.status.up_to_date:
        counts += f" revision {view.service.revision}"
    return f"{counts}: {reason}" if (reason := _reason(view)) else counts


def _reason(view: ServiceView) -> str:
    for task, node in _current_tasks(view):
        status = task.status
        if status.state is TaskState.RUNNING:
            continue
        if status.failures:
            return _task_failure(task, node)
        where = f" on {node}" if node else ""
        what = f"{task.name} is {status.state.value}{where}"
        return f"{what}: {status.message}" if status.message else what
    return view.status.reason


def _task_failure(task: Task, node: str) -> str:
    status = task.status
    where = f" on {node}" if node else ""
    times = f" {status.failures} times" if status.failures > 1 else ""
    text = f"task {task.name}{where} failed{times}"
    if status.message:
        text += f": {status.message}"
    elif status.exit_code is not None:
        text += f": exit code {status.exit_code}"
    return f'{text}; last log line: "{status.last_log}"' if status.last_log else text


def _current_tasks(view: ServiceView) -> list[tuple[Task, str]]:
    """Tasks that the service needs at its current revision, with the names of their nodes."""
    return [
        (task, node)
        for task, node in zip(view.tasks, view.node_names, strict=True)
        if task.revision == view.service.revision and task.desired is DesiredState.RUNNING
    ]


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
            if failure := failure_of(view):
                raise ServiceWaitFailed(failure, view)
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

    def check_time(self, name: str, trouble: str = "") -> None:
        """ServiceWaitFailed when the time is up."""
        if time.monotonic() < self._deadline:
            return
        reason = trouble or (shortfall_of(self.view) if self.view else "no manager answered")
        after = format_duration(self._timeout)
        raise ServiceWaitFailed(f"{name}: not running after {after}: {reason}", self.view)

    def _ran_before(self, view: ServiceView) -> float:
        """Seconds it was converged before we looked. The clock of the cluster may not be ours."""
        if self._changed or view.status.converged_since is None:
            return 0.0
        ran = (datetime.now(UTC) - view.status.converged_since).total_seconds()
        return max(0.0, ran)
