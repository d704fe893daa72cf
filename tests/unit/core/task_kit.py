"""Tasks, instances and progress for the tests of the worker's law of a task."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from warren.core import health, restart
from warren.core import task as law
from warren.core.task import Progress, Situation, Step
from warren.model.instances import Instance, InstanceState
from warren.model.services import (
    HealthCheck,
    HttpCheck,
    RestartPolicy,
    TaskTemplate,
)
from warren.model.tasks import DesiredState, Task, TaskState, TaskStatus

START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = START + timedelta(minutes=1)
SECOND = timedelta(seconds=1)


def a_task(
    *,
    desired: DesiredState = DesiredState.RUNNING,
    state: TaskState = TaskState.ASSIGNED,
    restart: RestartPolicy | None = None,
) -> Task:
    return Task(
        id="web-1-abcde",
        service="web",
        slot=1,
        revision=1,
        template=TaskTemplate(
            image="example:1",
            restart=restart or RestartPolicy(),
            stop_signal="SIGQUIT",
            stop_grace_period=3 * SECOND,
        ),
        created_at=START,
        desired=desired,
        status=TaskStatus(state=state, since=START),
    )


def an_instance(
    state: InstanceState = InstanceState.RUNNING, *, attempt: int = 0, exit_code: int | None = None
) -> Instance:
    return Instance(
        task_id="web-1-abcde",
        attempt=attempt,
        sandbox_id=f"sandbox-{attempt}",
        state=state,
        address="10.88.1.2",
        exit_code=exit_code,
        started_at=START,
        finished_at=START + 30 * SECOND if exit_code is not None else None,
        image_digest="sha256:1",
    )


def progress(
    state: TaskState, *, attempt: int = 0, failures: int = 0, retry_at: datetime | None = None
) -> Progress:
    return Progress(
        status=TaskStatus(state=state, since=START, failures=failures),
        attempt=attempt,
        history=restart.History(failures=failures),
        retry_at=retry_at,
    )


def step(
    now_in: Progress,
    *instances: Instance,
    task: Task | None = None,
    assigned: bool = True,
    receives: bool = False,
    now: datetime = NOW,
) -> Step:
    known = task if task is not None or not assigned else a_task()
    return law.step(
        Situation(
            task=known,
            assigned=assigned,
            instances=instances,
            progress=now_in,
            now=now,
            receives=receives,
        )
    )


def a_checked_task(
    *, desired: DesiredState = DesiredState.RUNNING, restart: RestartPolicy | None = None
) -> Task:
    """A task with a health check that gives one verdict per result."""
    task = a_task(desired=desired, restart=restart)
    check = HealthCheck(http=HttpCheck(path="/healthz"), retries=1, interval=5 * SECOND)
    return replace(task, template=replace(task.template, health=check))


def checked(at: datetime, output: str = "") -> law.Checked:
    """A result; it is good if there is nothing to say."""
    outcome = health.Outcome(healthy=not output, output=output, at=at)
    return law.Checked(attempt=0, started_at=START, outcome=outcome)


BAD = "GET /healthz on 10.88.1.2:8080: 503"
