"""The worker's law of a task: whole lives in a small world, with agents that die."""

from dataclasses import dataclass, field, replace
from datetime import datetime

from hypothesis import given, settings
from hypothesis import strategies as st
from warren.core import health
from warren.core import task as law
from warren.core.task import Progress, Situation
from warren.model.instances import Instance, InstanceState
from warren.model.services import (
    RestartCondition,
    RestartPolicy,
)
from warren.model.tasks import DesiredState, Task, TaskState, TaskStatus

from tests.unit.core.task_kit import (
    SECOND,
    START,
    a_checked_task,
    a_task,
    an_instance,
)

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
