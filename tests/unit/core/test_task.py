"""The worker's law of a task: each row of its table."""

from dataclasses import replace
from datetime import timedelta

import pytest
from warren.core import restart
from warren.core import task as law
from warren.core.task import Progress, Step
from warren.model.instances import Instance, InstanceState
from warren.model.services import (
    Bytes,
    ResourceLimits,
    Resources,
    RestartCondition,
    RestartPolicy,
)
from warren.model.tasks import DesiredState, TaskState, TaskStatus

from tests.unit.core.task_kit import (
    NOW,
    SECOND,
    START,
    a_task,
    an_instance,
    progress,
    step,
)


def test_a_new_task_gets_its_image() -> None:
    task = a_task()

    taken = step(law.begin(task, NOW), task=task)

    status = TaskStatus(state=TaskState.PREPARING, since=NOW, message="getting image example:1")
    assert taken == Step(
        progress=Progress(status=status), action=law.EnsureImage(template=task.template)
    )


def test_a_task_with_its_image_is_started() -> None:
    task = a_task()
    before = progress(TaskState.PREPARING)

    ready = law.after(task.template, before, law.ImageReady(digest="sha256:1"), NOW)
    taken = step(ready, task=task)

    status = TaskStatus(state=TaskState.STARTING, since=NOW, image_digest="sha256:1")
    assert taken == Step(progress=Progress(status=status), action=law.Start(task=task, attempt=0))


def test_a_started_instance_means_running() -> None:
    taken = step(progress(TaskState.STARTING), an_instance())

    status = TaskStatus(
        state=TaskState.RUNNING, since=START, address="10.88.1.2", image_digest="sha256:1"
    )
    assert taken == Step(progress=Progress(status=status), action=law.Wait())


def test_a_running_instance_is_adopted_with_its_attempt_number() -> None:
    taken = step(progress(TaskState.ASSIGNED), an_instance(attempt=3))

    assert taken.progress.attempt == 3
    assert taken.progress.status.state is TaskState.RUNNING
    assert taken.action == law.Wait()


def test_an_exit_is_examined_then_waits_for_the_next_start() -> None:
    dead = an_instance(InstanceState.EXITED, exit_code=1)
    running = progress(TaskState.RUNNING)

    examined = step(running, dead)
    ended = law.after(
        a_task().template, running, law.Ended(instance=dead, last_log="KeyError: X"), NOW
    )

    assert examined == Step(progress=running, action=law.Examine(attempt=0, instance=dead))
    assert ended == Progress(
        status=TaskStatus(
            state=TaskState.RESTARTING,
            since=NOW,
            message="exit code 1; next start in 1s",
            exit_code=1,
            failures=1,
            last_log="KeyError: X",
        ),
        attempt=1,
        history=restart.History(failures=1),
        retry_at=START + 31 * SECOND,
    )


def test_the_instance_of_an_ended_attempt_lends_its_sandbox_to_the_next_and_is_removed() -> None:
    dead = an_instance(InstanceState.EXITED, exit_code=1)
    waiting = progress(TaskState.RESTARTING, attempt=1, retry_at=NOW + SECOND)

    waits = step(waiting, dead)
    starts = step(progress(TaskState.STARTING, attempt=1), dead)
    runs = step(progress(TaskState.RUNNING, attempt=1), dead, an_instance(attempt=1))

    assert waits.action == law.Wait(until=NOW + SECOND)
    assert starts.action == law.Start(task=a_task(), attempt=1, sandbox_id="sandbox-0")
    assert runs.action == law.Remove(instance=dead)


def test_what_runs_is_said_to_run_while_an_older_attempt_is_removed() -> None:
    dead = an_instance(InstanceState.EXITED, exit_code=1)

    taken = step(progress(TaskState.ASSIGNED), dead, an_instance(attempt=1))

    status = TaskStatus(
        state=TaskState.RUNNING, since=START, address="10.88.1.2", image_digest="sha256:1"
    )
    assert taken == Step(
        progress=Progress(status=status, attempt=1), action=law.Remove(instance=dead)
    )


def test_of_several_ended_attempts_only_the_last_stays() -> None:
    oldest, older = (
        an_instance(InstanceState.EXITED, attempt=attempt, exit_code=1) for attempt in (0, 1)
    )

    taken = step(progress(TaskState.RESTARTING, attempt=2), oldest, older)

    assert taken.action == law.Remove(instance=oldest)


def test_a_dead_sandbox_is_removed_before_the_next_start() -> None:
    dead = an_instance(InstanceState.BROKEN)

    taken = step(progress(TaskState.STARTING, attempt=1), dead)

    assert taken.action == law.Remove(instance=dead)


def test_an_interrupted_start_leaves_the_sandbox_of_the_attempt_before() -> None:
    ended = an_instance(InstanceState.EXITED, exit_code=1)
    half = an_instance(InstanceState.BROKEN, attempt=1)

    first = step(progress(TaskState.RESTARTING, attempt=1), ended, half)
    second = step(replace(first.progress, status=progress(TaskState.STARTING).status), ended)

    assert first.action == law.Remove(instance=half)
    assert second.action == law.Start(task=a_task(), attempt=2, sandbox_id="sandbox-0")


def test_a_restarting_task_waits_for_its_time() -> None:
    waiting = progress(TaskState.RESTARTING, attempt=1, retry_at=NOW + SECOND)

    taken = step(waiting)

    assert taken == Step(progress=waiting, action=law.Wait(until=NOW + SECOND))


def test_a_restarting_task_starts_again_when_it_is_time() -> None:
    taken = step(progress(TaskState.RESTARTING, attempt=1, retry_at=NOW))

    assert taken.progress.status.state is TaskState.PREPARING
    assert taken.progress.retry_at is None
    assert isinstance(taken.action, law.EnsureImage)


def test_a_clock_set_back_does_not_keep_a_task_from_starting() -> None:
    taken = step(progress(TaskState.RESTARTING, retry_at=NOW + timedelta(days=1)))

    assert isinstance(taken.action, law.EnsureImage)


def test_an_image_that_cannot_be_had_counts_as_a_failure() -> None:
    refused = law.Refused(reason="image example:1 does not exist")

    ended = law.after(a_task().template, progress(TaskState.PREPARING), refused, NOW)

    assert ended.status == TaskStatus(
        state=TaskState.RESTARTING,
        since=NOW,
        message="image example:1 does not exist; next start in 1s",
        failures=1,
    )
    assert (ended.attempt, ended.retry_at) == (1, NOW + SECOND)


def test_a_success_completes_a_task_that_restarts_on_failure_only() -> None:
    template = a_task(restart=RestartPolicy(condition=RestartCondition.ON_FAILURE)).template
    dead = an_instance(InstanceState.EXITED, exit_code=0)

    ended = law.after(template, progress(TaskState.RUNNING), law.Ended(instance=dead), NOW)

    assert ended.status == TaskStatus(
        state=TaskState.COMPLETE, since=NOW, message="exit code 0", exit_code=0, failures=1
    )


def test_a_task_fails_for_good_when_its_restarts_are_used_up() -> None:
    template = a_task(restart=RestartPolicy(max_attempts=1)).template
    history = restart.History(failures=1, restarts=(START,))
    before = replace(progress(TaskState.RUNNING, failures=1), history=history)
    dead = an_instance(InstanceState.EXITED, exit_code=2)

    ended = law.after(template, before, law.Ended(instance=dead, last_log="no disk"), NOW)

    assert ended.status == TaskStatus(
        state=TaskState.FAILED,
        since=NOW,
        message="exit code 2; gave up after 1 restart within 10m",
        exit_code=2,
        failures=2,
        last_log="no disk",
    )


def test_an_unanswered_start_gets_a_new_attempt_number_and_counts_as_nothing() -> None:
    interrupted = law.Interrupted(reason="the container runtime does not answer")

    after = law.after(a_task().template, progress(TaskState.STARTING), interrupted, NOW)

    assert after == Progress(
        status=TaskStatus(
            state=TaskState.STARTING, since=START, message="the container runtime does not answer"
        ),
        attempt=1,
    )


@pytest.mark.parametrize("state", [InstanceState.CREATED, InstanceState.BROKEN])
def test_a_half_made_instance_is_removed_and_counts_as_nothing(state: InstanceState) -> None:
    half = an_instance(state)

    taken = step(progress(TaskState.ASSIGNED), half)

    assert taken == Step(
        progress=progress(TaskState.ASSIGNED, attempt=1), action=law.Remove(instance=half)
    )


@pytest.mark.parametrize("instances", [(), (an_instance(InstanceState.BROKEN),)])
def test_a_container_that_vanished_while_running_is_a_failure(
    instances: tuple[Instance, ...],
) -> None:
    running = progress(TaskState.RUNNING)

    taken = step(running, *instances)
    gone = next(iter(instances), None)
    ended = law.after(a_task().template, running, law.Ended(instance=gone), NOW)

    assert taken == Step(progress=running, action=law.Examine(attempt=0, instance=gone))
    assert ended.status.message == "its container is gone; next start in 1s"
    assert ended.status.failures == 1


def test_a_run_beyond_the_window_clears_the_failures() -> None:
    policy = RestartPolicy(window=30 * SECOND)

    taken = step(
        progress(TaskState.RUNNING, failures=4), an_instance(), task=a_task(restart=policy)
    )

    assert taken.progress.status.failures == 0
    assert taken.progress.history == restart.History()
    assert taken.action == law.Wait()


def test_a_run_within_the_window_wakes_up_at_its_end() -> None:
    policy = RestartPolicy(window=timedelta(minutes=2))

    taken = step(
        progress(TaskState.RUNNING, failures=4), an_instance(), task=a_task(restart=policy)
    )

    assert taken.progress.status.failures == 4
    assert taken.action == law.Wait(until=START + policy.window + timedelta(milliseconds=1))


# ------------------------------------------------------------------ the end


def test_a_task_that_is_not_wanted_is_stopped_with_its_signal_and_grace() -> None:
    running = an_instance()

    taken = step(progress(TaskState.RUNNING), running, task=a_task(desired=DesiredState.STOPPED))

    assert taken == Step(
        progress=Progress(status=TaskStatus(state=TaskState.STOPPING, since=NOW)),
        action=law.Stop(instance=running, signal="SIGQUIT", grace=3 * SECOND),
    )


def test_a_stopped_process_is_removed_and_its_exit_code_noted() -> None:
    dead = an_instance(InstanceState.EXITED, exit_code=143)

    taken = step(progress(TaskState.STOPPING), dead, task=a_task(desired=DesiredState.STOPPED))

    status = TaskStatus(state=TaskState.STOPPING, since=START, exit_code=143)
    assert taken == Step(progress=Progress(status=status), action=law.Remove(instance=dead))


def test_a_task_without_instance_that_is_not_wanted_is_stopped() -> None:
    taken = step(progress(TaskState.STOPPING), task=a_task(desired=DesiredState.STOPPED))

    status = TaskStatus(state=TaskState.STOPPED, since=NOW)
    assert taken == Step(progress=Progress(status=status), action=law.Wait())


def test_a_waiting_restart_is_given_up_when_the_task_is_not_wanted() -> None:
    waiting = progress(TaskState.RESTARTING, retry_at=NOW + SECOND)

    taken = step(waiting, task=a_task(desired=DesiredState.STOPPED))

    assert taken.progress.status.state is TaskState.STOPPED


def test_a_task_that_was_given_up_for_lost_is_stopped_and_stays_lost() -> None:
    lost = a_task(state=TaskState.LOST)

    stopping = step(progress(TaskState.RUNNING), an_instance(), task=lost)
    done = step(stopping.progress, task=lost)

    assert isinstance(stopping.action, law.Stop)
    assert done == Step(progress=Progress(status=lost.status), action=law.Wait())


def test_a_finished_task_is_not_run_again() -> None:
    finished = progress(TaskState.COMPLETE, attempt=1)

    taken = step(finished)

    assert taken == Step(progress=finished, action=law.Wait())


def test_an_unassigned_task_is_stopped_removed_and_forgotten() -> None:
    unknown = law.begin(None, NOW)
    running, dead = an_instance(), an_instance(InstanceState.EXITED, exit_code=0)

    actions = [
        step(unknown, running, assigned=False).action,
        step(unknown, dead, assigned=False).action,
        step(unknown, assigned=False).action,
    ]

    assert actions == [law.Stop(instance=running), law.Remove(instance=dead), law.Forget()]


def test_of_two_instances_of_an_attempt_the_running_one_is_kept() -> None:
    broken = replace(an_instance(InstanceState.BROKEN), sandbox_id="other")

    taken = step(progress(TaskState.RUNNING), broken, an_instance())

    assert taken.action == law.Remove(instance=broken)


@pytest.mark.parametrize(
    ("exit_code", "message", "memory", "expected"),
    [
        (1, "Error", 0, "exit code 1"),
        (137, "Error", 0, "killed by signal 9"),
        (143, "Error", 0, "killed by signal 15"),
        (255, "Unknown", 0, "exit code 255"),
        (137, "OOMKilled", 0, "out of memory"),
        (137, "OOMKilled", 2**28, "out of memory (limit 256MiB)"),
        (None, "", 0, "its container is gone"),
    ],
)
def test_an_end_is_explained(
    exit_code: int | None, message: str, memory: int, expected: str
) -> None:
    limits = ResourceLimits(memory=Bytes(memory))
    template = replace(a_task().template, resources=Resources(limits=limits))
    dead = replace(an_instance(InstanceState.EXITED, exit_code=exit_code), message=message)

    assert law.explain_end(dead, template) == expected
