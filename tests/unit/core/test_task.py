"""The worker's law of a task: each row of its table, then runs through a small world."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from warren.core import health, restart
from warren.core import task as law
from warren.core.task import Progress, Situation, Step
from warren.model.instances import Instance, InstanceState
from warren.model.services import (
    Bytes,
    HealthCheck,
    HttpCheck,
    ResourceLimits,
    Resources,
    RestartCondition,
    RestartPolicy,
    TaskTemplate,
)
from warren.model.tasks import DesiredState, Health, Task, TaskState, TaskStatus

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


# ------------------------------------------------------------------ health


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


# ------------------------------------------------------------------ a small world


@dataclass
class World:
    """A host with one task, whose agent may lose its memory at any moment."""

    task: Task | None
    progress: Progress
    now: datetime = START
    instances: dict[int, Instance] = field(default_factory=dict)
    kept: Progress | None = None
    started: list[int] = field(default_factory=list)
    statuses: list[TaskStatus] = field(default_factory=list)
    forgotten: bool = False
    verdict: bool | None = None
    """Of every check that is made."""

    def advance(self, progress: Progress) -> None:
        """Like the runner: keep what must survive."""
        self.progress = progress
        self.statuses.append(progress.status)
        self.kept = law.kept(progress) or self.kept

    def run_step(self, known: Task, *, refuse: bool, exit_code: int | None, die: bool) -> None:
        """One step and its action; `die` loses the agent's memory right after it."""
        for attempt, instance in self.instances.items():
            if instance.state is InstanceState.RUNNING and self.verdict is not None:
                outcome = health.Outcome(healthy=self.verdict, output="no", at=self.now)
                checked = law.Checked(
                    attempt=attempt, started_at=instance.started_at or self.now, outcome=outcome
                )
                self.happen(known, checked)
        taken = law.step(
            Situation(
                task=self.task or known,
                assigned=self.task is not None,
                instances=tuple(self.instances.values()),
                progress=self.progress,
                now=self.now,
            )
        )
        self.advance(taken.progress)
        if not die or not isinstance(taken.action, law.Examine):
            self.act(known, taken.action, refuse=refuse, exit_code=exit_code)
        if die and not self.forgotten:
            self.progress = self.kept or law.begin(self.task, self.now)

    def act(self, known: Task, action: law.Action, *, refuse: bool, exit_code: int | None) -> None:
        match action:
            case law.EnsureImage() | law.Start() if refuse:
                self.happen(known, law.Refused(reason="no"))
            case law.EnsureImage():
                self.happen(known, law.ImageReady(digest="d"))
            case law.Start():
                self.started.append(action.attempt)
                sandbox = action.sandbox_id or f"sandbox-{action.attempt}"
                alive = {i.sandbox_id for i in self.instances.values()}
                assert (action.sandbox_id in alive) == bool(self.instances)
                self.instances[action.attempt] = replace(
                    an_instance(attempt=action.attempt), started_at=self.now, sandbox_id=sandbox
                )
            case law.Examine():
                self.happen(known, law.Ended(instance=action.instance, last_log="x"))
            case law.Stop():
                self.end(action.instance.attempt, 143)
            case law.Remove():
                del self.instances[action.instance.attempt]
            case law.Forget():
                self.forgotten, self.kept = True, None
            case law.Wait() if self.instances and exit_code is not None:
                self.now += SECOND
                for attempt in self.instances:
                    self.end(attempt, exit_code)
            case law.Wait():
                self.now = max(self.now, action.until or self.now + SECOND)

    def happen(self, known: Task, event: law.Event) -> None:
        self.advance(law.after(known.template, self.progress, event, self.now))

    def end(self, attempt: int, exit_code: int) -> None:
        instance = self.instances[attempt]
        if instance.state is InstanceState.RUNNING:
            self.instances[attempt] = replace(
                instance,
                state=InstanceState.EXITED,
                exit_code=exit_code,
                finished_at=self.now,
            )


MOMENTS = st.lists(
    st.tuples(
        st.sampled_from([None, None, None, 0, 1, 137]),  # the process ends with
        st.booleans(),  # a start is refused
        st.sampled_from([False, False, True]),  # the agent dies
        st.sampled_from([None] * 12 + ["drain", "stop", "unassign"]),  # the manager says
        st.sampled_from([None, True, True, False]),  # the health check says
    ),
    max_size=60,
)


@given(st.sampled_from(RestartCondition), st.integers(0, 3), MOMENTS)
@settings(max_examples=300)
def test_whatever_happens_no_attempt_runs_twice_and_nothing_is_left_behind(
    condition: RestartCondition,
    max_attempts: int,
    moments: list[tuple[int | None, bool, bool, str | None, bool | None]],
) -> None:
    task = a_checked_task(restart=RestartPolicy(condition=condition, max_attempts=max_attempts))
    world = World(task=task, progress=law.begin(task, START))

    for exit_code, refuse, die, said, verdict in moments:
        world.verdict = verdict
        if said == "drain" and world.task is not None and world.task.wanted:
            world.task = replace(world.task, desired=DesiredState.DRAINING)
        if said == "stop" and world.task is not None:
            world.task = replace(world.task, desired=DesiredState.STOPPED)
        if said == "unassign":
            world.task = None
        if not world.forgotten:
            world.run_step(task, refuse=refuse, exit_code=exit_code, die=die)
        running = [i for i in world.instances.values() if i.state is InstanceState.RUNNING]
        assert len(running) <= 1
        assert len(world.instances) <= 2

    world.task = None
    for _ in range(6):
        if not world.forgotten:
            world.run_step(task, refuse=False, exit_code=None, die=False)
    assert world.forgotten
    assert world.instances == {}
    assert sorted(set(world.started)) == world.started


@given(st.integers(0, 3), st.lists(st.booleans(), max_size=40))
def test_a_dying_agent_changes_neither_the_end_of_a_task_nor_its_count_of_failures(
    max_attempts: int, deaths: list[bool]
) -> None:
    policy = RestartPolicy(condition=RestartCondition.ON_FAILURE, max_attempts=max_attempts or 3)
    task = a_task(restart=policy)
    world = World(task=task, progress=law.begin(task, START))

    for die in (*deaths, *[False] * 60):
        world.run_step(task, refuse=False, exit_code=1, die=die)

    final = world.progress.status
    assert final.state is TaskState.FAILED
    assert final.failures == policy.max_attempts + 1
    assert world.instances == {}
