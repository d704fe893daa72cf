"""The worker's law of a task: what its checks lead to, and how it drains."""

from dataclasses import replace

import pytest
from warren.core import health
from warren.core import task as law
from warren.core.task import Progress
from warren.model.instances import InstanceState
from warren.model.services import (
    RestartCondition,
    RestartPolicy,
)
from warren.model.tasks import DesiredState, Health, Task, TaskState, TaskStatus

from tests.unit.core.task_kit import (
    BAD,
    NOW,
    SECOND,
    START,
    a_checked_task,
    a_task,
    an_instance,
    checked,
    progress,
    step,
)


def unhealthy(task: Task) -> Progress:
    """It ran, and its check was bad ten seconds ago."""
    at = NOW - 10 * SECOND
    return law.after(task.template, progress(TaskState.RUNNING), checked(at, BAD), at)


def test_a_running_task_without_a_check_counts_as_healthy_and_one_with_a_check_starts() -> None:
    plain = step(progress(TaskState.STARTING), an_instance()).progress.status
    with_check = step(progress(TaskState.STARTING), an_instance(), task=a_checked_task())

    assert plain.health is Health.NONE
    assert with_check.progress.status.health is Health.STARTING


def test_a_good_check_makes_a_running_task_healthy() -> None:
    task = a_checked_task()

    after = law.after(task.template, progress(TaskState.RUNNING), checked(NOW), NOW)
    taken = step(after, an_instance(), task=task)

    assert taken.progress.status.health is Health.HEALTHY
    assert taken.action == law.Wait()


def test_an_unhealthy_task_says_so_at_once_and_stops_after_its_drain_delay() -> None:
    task = a_checked_task()
    sick = unhealthy(task)

    at_once = step(sick, an_instance(), task=task, receives=True, now=NOW - 10 * SECOND)
    later = step(sick, an_instance(), task=task, receives=True, now=NOW - 8 * SECOND)

    status = at_once.progress.status
    assert (status.state, status.health) == (TaskState.RUNNING, Health.UNHEALTHY)
    assert status.message == "unhealthy: GET /healthz on 10.88.1.2:8080: 503 (once)"
    assert status.health_output == BAD
    assert at_once.action == law.Wait(until=NOW - 8 * SECOND)
    assert later.action == law.Stop(instance=an_instance(), signal="SIGQUIT", grace=3 * SECOND)


def test_an_unhealthy_task_that_nothing_connects_to_stops_at_once() -> None:
    task = a_checked_task()

    taken = step(unhealthy(task), an_instance(), task=task, now=NOW - 10 * SECOND)

    assert isinstance(taken.action, law.Stop)


def test_a_clock_set_back_keeps_no_unhealthy_task_running() -> None:
    task = a_checked_task()

    taken = step(unhealthy(task), an_instance(), task=task, receives=True, now=START)

    assert isinstance(taken.action, law.Stop)


@pytest.mark.parametrize("exit_code", [0, 143])
def test_the_end_of_an_unhealthy_task_is_a_failure_with_the_output_of_its_check(
    exit_code: int,
) -> None:
    task = a_checked_task(restart=RestartPolicy(condition=RestartCondition.ON_FAILURE))
    stopped = replace(
        an_instance(InstanceState.EXITED, exit_code=exit_code), started_at=START, finished_at=NOW
    )

    ended = law.after(
        task.template, unhealthy(task), law.Ended(instance=stopped, last_log="no database"), NOW
    )

    assert ended.status == TaskStatus(
        state=TaskState.RESTARTING,
        since=NOW,
        message="unhealthy: GET /healthz on 10.88.1.2:8080: 503 (once); next start in 1s",
        exit_code=exit_code,
        failures=1,
        last_log="no database",
    )
    assert (ended.attempt, ended.checks) == (1, health.Record())


def test_an_unhealthy_task_that_is_not_restarted_has_failed() -> None:
    task = a_checked_task(restart=RestartPolicy(condition=RestartCondition.NONE))
    stopped = an_instance(InstanceState.EXITED, exit_code=0)

    ended = law.after(task.template, unhealthy(task), law.Ended(instance=stopped), NOW)

    assert ended.status.state is TaskState.FAILED
    assert ended.status.message == "unhealthy: GET /healthz on 10.88.1.2:8080: 503 (once)"


def test_what_a_bad_check_said_stays_until_a_good_one() -> None:
    task = a_checked_task()
    said = TaskStatus(state=TaskState.STARTING, since=START, health_output=BAD)

    again = step(Progress(status=said), an_instance(), task=task).progress
    good = step(law.after(task.template, again, checked(NOW), NOW), an_instance(), task=task)

    assert (again.status.health, again.status.health_output) == (Health.STARTING, BAD)
    assert good.progress.status.health_output == ""


def test_a_check_of_an_attempt_that_has_ended_changes_nothing() -> None:
    task = a_checked_task()
    running = progress(TaskState.RUNNING, attempt=1)

    assert law.after(task.template, running, checked(NOW, BAD), NOW) == running


def test_health_survives_the_agent_and_another_attempt_begins_anew() -> None:
    task = a_checked_task()
    healthy = law.after(task.template, progress(TaskState.RUNNING), checked(NOW), NOW)

    kept = law.kept(step(healthy, an_instance(), task=task).progress)
    assert kept is not None
    adopted = step(kept, an_instance(), task=task).progress.status
    another = step(kept, an_instance(attempt=1), task=task).progress.status

    assert (adopted.state, adopted.health) == (TaskState.RUNNING, Health.HEALTHY)
    assert (another.state, another.health) == (TaskState.RUNNING, Health.STARTING)


def test_a_healthy_task_whose_host_was_rebooted_has_not_failed() -> None:
    task = a_checked_task()
    healthy = law.after(task.template, progress(TaskState.RUNNING), checked(NOW), NOW)
    kept = law.kept(healthy)
    assert kept is not None

    taken = step(kept, an_instance(InstanceState.BROKEN), task=task)

    assert taken.action == law.Remove(instance=an_instance(InstanceState.BROKEN))
    assert (taken.progress.attempt, taken.progress.status.failures) == (1, 0)


# ------------------------------------------------------------------ draining


@pytest.mark.parametrize("sick", [False, True])
def test_a_draining_task_goes_on_running_healthy_or_not(sick: bool) -> None:
    task = a_checked_task(desired=DesiredState.DRAINING)
    before = unhealthy(task) if sick else progress(TaskState.RUNNING)

    taken = step(before, an_instance(), task=task)

    assert taken.progress.status.state is TaskState.RUNNING
    assert taken.action == law.Wait()


def test_a_draining_task_that_ends_is_not_started_again() -> None:
    task = a_task(desired=DesiredState.DRAINING)
    dead = an_instance(InstanceState.EXITED, exit_code=1)

    removed = step(progress(TaskState.RUNNING), dead, task=task)
    gone = step(removed.progress, task=task)

    assert removed.action == law.Remove(instance=dead)
    assert (gone.progress.status.state, gone.progress.status.exit_code) == (TaskState.STOPPED, 1)


@pytest.mark.parametrize("state", [TaskState.PREPARING, TaskState.STARTING, TaskState.RESTARTING])
def test_a_task_that_does_not_run_yet_has_nothing_to_drain(state: TaskState) -> None:
    taken = step(progress(state), task=a_task(desired=DesiredState.DRAINING))

    assert taken.progress.status.state is TaskState.STOPPED
