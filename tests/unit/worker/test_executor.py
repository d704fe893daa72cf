"""The executor on the fake runtime, in virtual time: adoption, restarts, trouble, interruption."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from warren.core.placeholders import NodeFacts
from warren.drivers.ports import Runtime
from warren.model.assignments import ServiceTraffic
from warren.model.errors import DriverError, FailedPrecondition, NotFound, RuntimeUnavailable
from warren.model.services import Port, RestartCondition, RestartPolicy
from warren.model.tasks import Task, TaskState, TaskStatus
from warren.model.volumes import Volume
from warren.testing.fake_prober import FakeProber
from warren.testing.fake_runtime import FakeRuntime, Program
from warren.testing.fake_task_files import FakeTaskFiles
from warren.testing.fake_volumes import fake_mount_drivers
from warren.worker import executor
from warren.worker.executor import Executor, Surroundings
from warren.worker.local_store import ProgressFile
from warren.worker.reporter import Reporter
from warren.worker.task_files import TaskFiles
from warren.worker.volumes import Volumes

from tests.unit.worker.virtual_time import START, in_virtual_time, now
from tests.unit.worker.worker_kit import a_task, stopped

SECOND = timedelta(seconds=1)
SERVICES = {"web": ServiceTraffic(name="web", ports=(Port(target=8080),))}


class Agent:
    """An executor that runs in this loop."""

    def __init__(
        self,
        directory: Path,
        runtime: Runtime,
        *,
        network_ready: bool = True,
        prober: FakeProber | None = None,
        withdrawn: Callable[[Task], Awaitable[None]] = executor.at_once,
        files: FakeTaskFiles | None = None,
        volumes: Iterable[Volume] = (),
    ) -> None:
        self.reporter = Reporter()
        self.files = TaskFiles(files or FakeTaskFiles(), lambda: NodeFacts(id="n1", name="w1"))
        self.mounts = fake_mount_drivers(directory / "host")
        self.volumes = Volumes(self.mounts, "w1", directory / "volumes.json")
        self.volumes.learn(volumes)
        self.network_ready = asyncio.Event()
        if network_ready:
            self.network_ready.set()
        self.executor = Executor(
            Surroundings(
                node_name="w1",
                log_dir=directory / "logs",
                runtime=runtime,
                prober=prober or FakeProber(),
                reporter=self.reporter,
                progress_file=ProgressFile(directory / "tasks.json"),
                network_ready=self.network_ready,
                now=now,
                withdrawn=withdrawn,
                files=self.files,
                volumes=self.volumes,
            )
        )

    def states(self) -> Mapping[str, TaskState]:
        """The state of each task, by name, as reported."""
        return {_name(task_id): s.state for task_id, s in self.reporter.latest.items()}

    def status(self, task: Task) -> TaskStatus:
        return self.reporter.latest[task.id]


@asynccontextmanager
async def an_agent(
    directory: Path, runtime: Runtime, tasks: Sequence[Task] | None = None, **options: Any
) -> AsyncIterator[Agent]:
    """Runs an agent; leaving is as sudden as a SIGKILL."""
    agent = Agent(directory, runtime, **options)
    if tasks is not None:
        agent.executor.assign(tasks, SERVICES)
    running = asyncio.create_task(agent.executor.run())
    await settle()
    try:
        yield agent
    finally:
        running.cancel()
        await asyncio.wait([running])


async def settle() -> None:
    """Let everything happen that happens at once."""
    await asyncio.sleep(0.001)


def _name(task_id: str) -> str:
    return task_id.rsplit("-", 1)[0]


@in_virtual_time
async def test_an_assigned_task_runs_at_once(tmp_path: Path) -> None:
    runtime = FakeRuntime(now=now)
    task = a_task()

    async with an_agent(tmp_path, runtime, [task]) as agent:
        status = agent.status(task)

    assert (status.state, status.address) == (TaskState.RUNNING, "10.88.1.2")
    assert [order.log_path for order in runtime.orders] == [tmp_path / "logs/web-1-abcde/0.log"]


@in_virtual_time
async def test_nothing_is_touched_before_there_is_an_assignment(tmp_path: Path) -> None:
    runtime = FakeRuntime(now=now)
    task = a_task()
    async with an_agent(tmp_path, runtime, [task]):
        before = await runtime.instances()

    async with an_agent(tmp_path, runtime):
        await asyncio.sleep(60)

    assert await runtime.instances() == before


@in_virtual_time
async def test_a_restart_of_the_agent_touches_no_container(tmp_path: Path) -> None:
    runtime = FakeRuntime(now=now)
    task = a_task()
    async with an_agent(tmp_path, runtime, [task]):
        before = await runtime.instances()

    await asyncio.sleep(60)
    async with an_agent(tmp_path, runtime, [task]) as agent:
        status = agent.status(task)

    assert await runtime.instances() == before
    assert (status.state, status.since) == (TaskState.RUNNING, before[0].started_at)
    assert (len(runtime.orders), runtime.stops) == (1, [])


@in_virtual_time
async def test_what_is_no_longer_assigned_is_removed_at_the_start(tmp_path: Path) -> None:
    runtime = FakeRuntime(now=now)
    runtime.programs[("example:1",)] = Program(output=("hello",))
    async with an_agent(tmp_path, runtime, [a_task(1), a_task(2)]):
        pass

    async with an_agent(tmp_path, runtime, [a_task(2)]) as agent:
        assert agent.states() == {"web-2": TaskState.RUNNING}

    assert [i.task_id for i in await runtime.instances()] == ["web-2-abcde"]
    assert [path.name for path in (tmp_path / "logs").iterdir()] == ["web-2-abcde"]


@in_virtual_time
async def test_a_failed_process_starts_again_after_its_delay(tmp_path: Path) -> None:
    runtime = FakeRuntime(now=now)
    runtime.programs[("example:1",)] = Program(output=("starting", "KeyError: X", ""))
    task = a_task(restart=RestartPolicy(delay=4 * SECOND))
    async with an_agent(tmp_path, runtime, [task]) as agent:
        runtime.exit(task.id, 1)
        await asyncio.sleep(1.1)
        failed = agent.status(task)
        await asyncio.sleep(2.5)
        waiting = len(runtime.orders)
        await asyncio.sleep(1)
        again = agent.status(task)

    assert (failed.state, failed.exit_code, failed.failures, failed.last_log) == (
        TaskState.RESTARTING,
        1,
        1,
        "KeyError: X",
    )
    assert failed.message == "exit code 1; next start in 4s"
    assert waiting == 1
    assert (again.state, again.failures) == (TaskState.RUNNING, 1)
    assert [order.attempt for order in runtime.orders] == [0, 1]


@in_virtual_time
async def test_a_restart_of_the_agent_resets_no_backoff(tmp_path: Path) -> None:
    runtime = FakeRuntime(now=now)
    runtime.programs[("example:1",)] = Program(exit_code=1)
    task = a_task(restart=RestartPolicy(delay=10 * SECOND))
    async with an_agent(tmp_path, runtime, [task]):
        await asyncio.sleep(1.5)

    async with an_agent(tmp_path, runtime, [task]) as agent:
        await asyncio.sleep(7)
        early = len(runtime.orders)
        await asyncio.sleep(4)
        status = agent.status(task)

    assert (early, len(runtime.orders)) == (1, 2)
    assert status.failures == 2
    assert status.message == "exit code 1; next start in 20s"


@in_virtual_time
async def test_a_finished_task_is_not_repeated_by_a_new_agent(tmp_path: Path) -> None:
    runtime = FakeRuntime(now=now)
    runtime.programs[("example:1",)] = Program(exit_code=0)
    task = a_task(restart=RestartPolicy(condition=RestartCondition.ON_FAILURE))
    async with an_agent(tmp_path, runtime, [task]) as agent:
        await asyncio.sleep(2)
        first = agent.status(task)

    async with an_agent(tmp_path, runtime, [task]) as agent:
        await asyncio.sleep(60)
        second = agent.status(task)

    assert first == second
    assert (first.state, len(runtime.orders)) == (TaskState.COMPLETE, 1)
    assert await runtime.instances() == ()


@in_virtual_time
async def test_an_image_that_does_not_exist_is_tried_again_with_backoff(tmp_path: Path) -> None:
    runtime = FakeRuntime(now=now, images=[])
    task = a_task()
    async with an_agent(tmp_path, runtime, [task]) as agent:
        missing = agent.status(task)
        assert runtime.registry is not None
        runtime.registry.add("example:1")
        await asyncio.sleep(1.1)
        found = agent.status(task)

    assert missing == TaskStatus(
        state=TaskState.RESTARTING,
        since=START,
        message="image example:1 does not exist in its registry; next start in 1s",
        failures=1,
    )
    assert (found.state, found.failures) == (TaskState.RUNNING, 1)


@in_virtual_time
async def test_a_start_that_fails_is_told_and_tried_again(tmp_path: Path) -> None:
    runtime = FakeRuntime(now=now)
    runtime.fail_next("start", DriverError("exec: no such file: /bin/serve"))
    task = a_task()
    async with an_agent(tmp_path, runtime, [task]) as agent:
        failed = agent.status(task)
        await asyncio.sleep(1.1)
        again = agent.status(task)

    assert failed.message == "exec: no such file: /bin/serve; next start in 1s"
    assert (again.state, again.message) == (TaskState.RUNNING, "")


@in_virtual_time
async def test_a_silent_runtime_costs_no_attempt(tmp_path: Path) -> None:
    runtime = FakeRuntime(now=now)
    silent = RuntimeUnavailable("containerd does not answer")
    runtime.fail_next("start", silent)
    runtime.fail_next("instances", *[silent] * 30)
    task = a_task(restart=RestartPolicy(condition=RestartCondition.NONE))
    async with an_agent(tmp_path, runtime, [task]) as agent:
        await asyncio.sleep(40)
        status = agent.status(task)

    assert (status.state, status.failures, status.message) == (TaskState.RUNNING, 0, "")


@in_virtual_time
async def test_a_bug_in_a_driver_is_one_tasks_trouble(tmp_path: Path) -> None:
    class Buggy(FakeRuntime):
        async def ensure_image(self, image: str, *args: Any) -> str:
            if image == "bad:1":
                raise KeyError("x")
            return await super().ensure_image(image, *args)

    bad, good = a_task(1, image="bad:1"), a_task(2)
    async with an_agent(tmp_path, Buggy(now=now), [bad, good]) as agent:
        states, status = agent.states(), agent.status(bad)

    assert states == {"web-1": TaskState.RESTARTING, "web-2": TaskState.RUNNING}
    assert status.message == "internal error: 'x'; next start in 1s"


@in_virtual_time
async def test_a_slow_pull_holds_up_no_other_task_and_ends_when_not_wanted(
    tmp_path: Path,
) -> None:
    class Slow(FakeRuntime):
        async def ensure_image(self, image: str, *args: Any) -> str:
            if image == "huge:1":
                await asyncio.sleep(3600)
            return await super().ensure_image(image, *args)

    slow = [a_task(slot, image="huge:1") for slot in range(1, 9)]
    quick = a_task(9)
    async with an_agent(tmp_path, Slow(now=now), [*slow, quick]) as agent:
        running = agent.status(quick).state
        agent.executor.assign([stopped(task) for task in slow])
        await settle()
        states = set(agent.states().values())

    assert running is TaskState.RUNNING
    assert states == {TaskState.STOPPED}


@in_virtual_time
async def test_tasks_with_one_image_share_one_pull(tmp_path: Path) -> None:
    class Counting(FakeRuntime):
        calls = 0

        async def ensure_image(self, image: str, *args: Any) -> str:
            self.calls += 1
            await asyncio.sleep(1)
            return await super().ensure_image(image, *args)

    runtime = Counting(now=now)
    async with an_agent(tmp_path, runtime, [a_task(slot) for slot in range(1, 6)]) as agent:
        await asyncio.sleep(2)
        states = set(agent.states().values())

    assert (runtime.calls, states) == (1, {TaskState.RUNNING})


@in_virtual_time
async def test_no_more_than_four_start_at_once(tmp_path: Path) -> None:
    class Counting(FakeRuntime):
        starting = most = 0

        async def start(self, *args: Any) -> Any:
            self.starting += 1
            self.most = max(self.most, self.starting)
            await asyncio.sleep(1)
            self.starting -= 1
            return await super().start(*args)

    runtime = Counting(now=now)
    async with an_agent(tmp_path, runtime, [a_task(slot) for slot in range(1, 11)]) as agent:
        await asyncio.sleep(3.5)
        states = set(agent.states().values())

    assert (runtime.most, states) == (4, {TaskState.RUNNING})


@in_virtual_time
async def test_nothing_starts_before_tasks_can_have_addresses(tmp_path: Path) -> None:
    runtime = FakeRuntime(now=now)
    async with an_agent(tmp_path, runtime, [a_task()], network_ready=False) as agent:
        await asyncio.sleep(5)
        early = len(runtime.orders)
        agent.network_ready.set()
        await settle()
        states = agent.states()

    assert (early, states) == (0, {"web-1": TaskState.RUNNING})


@in_virtual_time
async def test_a_look_that_began_before_a_start_ended_does_not_end_the_task(
    tmp_path: Path,
) -> None:
    class Delayed(FakeRuntime):
        async def instances(self) -> Any:
            seen = await super().instances()
            await asyncio.sleep(0.5)
            return seen

    runtime = Delayed(now=now)
    async with an_agent(tmp_path, runtime) as agent:
        await asyncio.sleep(1.6)  # a look is under way, and has seen nothing
        agent.executor.assign([a_task()])
        await asyncio.sleep(30)
        states = agent.states()

    assert (states, len(runtime.orders)) == ({"web-1": TaskState.RUNNING}, 1)


@in_virtual_time
async def test_a_container_removed_behind_our_back_is_started_again(tmp_path: Path) -> None:
    runtime = FakeRuntime(now=now)
    task = a_task()
    async with an_agent(tmp_path, runtime, [task]) as agent:
        (instance,) = await runtime.instances()
        await runtime.remove(instance)
        await asyncio.sleep(1.1)
        gone = agent.status(task)
        await asyncio.sleep(2)
        again = agent.status(task)

    assert gone.message == "its container is gone; next start in 1s"
    assert again.state is TaskState.RUNNING


@in_virtual_time
async def test_a_task_is_stopped_with_its_signal_and_grace(tmp_path: Path) -> None:
    runtime = FakeRuntime(now=now)
    task = a_task()
    template = replace(task.template, stop_signal="SIGINT", stop_grace_period=7 * SECOND)
    task = replace(task, template=template)
    async with an_agent(tmp_path, runtime, [task]) as agent:
        agent.executor.assign([stopped(task)])
        await settle()
        status = agent.status(task)

    assert runtime.stops == [(task.id, "SIGINT", 7 * SECOND)]
    assert (status.state, status.exit_code, status.address) == (TaskState.STOPPED, 143, "")
    assert await runtime.instances() == ()


@in_virtual_time
async def test_a_task_is_stopped_only_when_this_host_sends_nothing_to_it(tmp_path: Path) -> None:
    runtime, task = FakeRuntime(now=now), a_task()
    withdrawn = asyncio.Event()

    async def wait(of: Task) -> None:
        assert of.id == task.id
        await withdrawn.wait()

    async with an_agent(tmp_path, runtime, [task], withdrawn=wait) as agent:
        lost = replace(task, status=replace(task.status, state=TaskState.LOST))
        agent.executor.assign([lost], SERVICES)
        await asyncio.sleep(1)
        early = list(runtime.stops)
        withdrawn.set()
        await settle()

        assert (early, [stop[0] for stop in runtime.stops]) == ([], [task.id])


@in_virtual_time
async def test_a_stop_that_fails_is_tried_again(tmp_path: Path) -> None:
    runtime = FakeRuntime(now=now)
    runtime.fail_next("stop", DriverError("cannot signal"))
    runtime.fail_next("remove", DriverError("device busy"))
    task = a_task()
    async with an_agent(tmp_path, runtime, [task]) as agent:
        agent.executor.assign([])
        await asyncio.sleep(5)
        states = agent.states()

    assert states == {}
    assert await runtime.instances() == ()


@in_virtual_time
async def test_commands_run_in_tasks_that_run(tmp_path: Path) -> None:
    runtime = FakeRuntime(now=now, images=["example:1"])
    async with an_agent(tmp_path, runtime, [a_task(1), a_task(2, image="none:1")]) as agent:
        output = await agent.executor.execute("web-1-abcde", ["true"], SECOND)
        with pytest.raises(FailedPrecondition, match="web-2-abcde is not running"):
            await agent.executor.execute("web-2-abcde", ["true"], SECOND)
        with pytest.raises(NotFound, match="web-3-abcde is not on node w1"):
            await agent.executor.execute("web-3-abcde", ["true"], SECOND)

    assert output.exit_code == 0


# ------------------------------------------------------------------ interruption at every step


class Mortal:
    """A runtime in whose n-th moment, before or after a call takes effect, the agent dies."""

    def __init__(self, runtime: FakeRuntime, moment: int) -> None:
        self._runtime = runtime
        self._left = moment
        self.died = asyncio.Event()

    def __getattr__(self, method: str) -> Any:
        async def call(*args: Any, **options: Any) -> Any:
            if method != "instances":
                await self._moment()
            answer = await getattr(self._runtime, method)(*args, **options)
            if method != "instances":
                await self._moment()
            return answer

        return call

    async def _moment(self) -> None:
        if self._left == 0:
            self.died.set()
            await asyncio.Event().wait()
        self._left -= 1


FLAKY = RestartPolicy(condition=RestartCondition.ON_FAILURE, max_attempts=2)
SERVER = a_task(1)
JOB = a_task(2, image="job:1", restart=FLAKY)
PHASES: tuple[tuple[float, tuple[Task, ...]], ...] = (
    (20, (SERVER, JOB, a_task(3, image="bad:1", restart=FLAKY))),
    (10, (stopped(SERVER), JOB)),
    (10, ()),
)
"""What is assigned, and for how many seconds."""

Ends = list[Mapping[str, tuple[TaskState, int, int | None]]]


async def live_through(directory: Path, moment: int) -> tuple[Ends, int, bool]:
    """What tasks came to in each phase, how many instances are left, and whether the agent died."""
    runtime = FakeRuntime(now=now, images=["example:1", "job:1", "bad:1"])
    runtime.programs[("job:1",)] = Program(exit_code=0)
    runtime.programs[("bad:1",)] = Program(exit_code=3)
    mortal = Mortal(runtime, moment)
    ends: Ends = []
    for seconds, tasks in PHASES:
        deadline = asyncio.get_running_loop().time() + seconds
        if not mortal.died.is_set():
            async with an_agent(directory, mortal, tasks) as agent:
                await wait_until(deadline, mortal.died)
        async with an_agent(directory, runtime if mortal.died.is_set() else mortal, tasks) as agent:
            if mortal.died.is_set():
                await asyncio.sleep(seconds)
            ends.append(
                {
                    _name(task_id): (s.state, s.failures, s.exit_code)
                    for task_id, s in agent.reporter.latest.items()
                }
            )
    assert len({(order.task.id, order.attempt) for order in runtime.orders}) >= 5
    left = (*await runtime.instances(), *(directory / "logs").glob("*"))
    return ends, len(left), mortal.died.is_set()


async def wait_until(deadline: float, event: asyncio.Event) -> None:
    try:
        async with asyncio.timeout_at(deadline):
            await event.wait()
    except TimeoutError:
        return


@in_virtual_time
async def test_an_agent_killed_at_any_moment_comes_to_the_same_end(tmp_path: Path) -> None:
    expected: Ends = [
        {
            "web-1": (TaskState.RUNNING, 0, None),
            "web-2": (TaskState.COMPLETE, 1, 0),
            "web-3": (TaskState.FAILED, 3, 3),
        },
        {"web-1": (TaskState.STOPPED, 0, 143), "web-2": (TaskState.COMPLETE, 1, 0)},
        {},
    ]

    moments = 0
    died = True
    while died:
        ends, left, died = await live_through(tmp_path / str(moments), moments)
        without_codes = [{n: e[:2] for n, e in phase.items()} for phase in ends]
        assert without_codes == [{n: e[:2] for n, e in phase.items()} for phase in expected]
        assert left == 0
        moments += 1

    assert ends == expected
    assert moments > 20
