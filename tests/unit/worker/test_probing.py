"""Health checks of tasks that run, on the fakes and in virtual time: verdicts and restarts."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from warren.drivers.ports import ProbeResult
from warren.model.assignments import ServiceTraffic
from warren.model.services import (
    ExecCheck,
    HealthCheck,
    HttpCheck,
    Port,
    Protocol,
    RestartCondition,
    RestartPolicy,
)
from warren.model.tasks import DesiredState, Health, Task, TaskState, TaskStatus
from warren.testing.fake_prober import FakeProber
from warren.testing.fake_runtime import FakeRuntime

from tests.unit.worker.test_executor import SERVICES, Agent, an_agent, settle
from tests.unit.worker.virtual_time import START, in_virtual_time, now
from tests.unit.worker.worker_kit import a_task

SECOND = timedelta(seconds=1)
REFUSED = "GET /healthz on 10.88.1.2:8080: connection refused"
BAD = ProbeResult(healthy=False, output=REFUSED)
RESTART = RestartPolicy(delay=4 * SECOND)


def a_checked_task(
    slot: int = 1, *, restart: RestartPolicy = RESTART, interval: float = 5, **values: Any
) -> Task:
    """A task that is checked by HTTP on its service's first port."""
    values.setdefault("http", HttpCheck(path="/healthz"))
    check = HealthCheck(interval=interval * SECOND, **values)
    task = a_task(slot, restart=restart)
    return replace(task, template=replace(task.template, health=check))


async def statuses(agent: Agent, task: Task, seconds: float) -> list[tuple[float, TaskStatus]]:
    """What was reported of the task, with the time at which it was."""
    seen: list[tuple[float, TaskStatus]] = []
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while loop.time() < end:
        status = agent.reporter.latest.get(task.id)
        if status is not None and (not seen or seen[-1][1] != status):
            seen.append((round(loop.time(), 1), status))
        await asyncio.sleep(0.05)
    return seen


@in_virtual_time
async def test_a_task_is_healthy_as_soon_as_its_check_is_good(tmp_path: Path) -> None:
    prober = FakeProber()
    task = a_checked_task()

    async with an_agent(tmp_path, FakeRuntime(now=now), [task], prober=prober) as agent:
        before = agent.status(task)
        await asyncio.sleep(0.2)
        after = agent.status(task)

    assert (before.state, before.health) == (TaskState.RUNNING, Health.STARTING)
    assert (after.state, after.health) == (TaskState.RUNNING, Health.HEALTHY)
    assert prober.probes == [(task.id, 8080)]


@in_virtual_time
async def test_an_unhealthy_task_leaves_traffic_at_once_and_is_restarted_with_its_address(
    tmp_path: Path,
) -> None:
    runtime, prober = FakeRuntime(now=now), FakeProber()
    task = a_checked_task()
    async with an_agent(tmp_path, runtime, [task], prober=prober) as agent:
        await asyncio.sleep(10)
        prober.results[task.id] = BAD

        seen = await statuses(agent, task, 30)

    story = [(s.state, s.health, s.message) for _, s in seen if s.health_output or not s.message]
    verdict = f"unhealthy: {REFUSED} (3 times)"
    assert story[:4] == [
        (TaskState.RUNNING, Health.HEALTHY, ""),
        (TaskState.RUNNING, Health.HEALTHY, ""),  # with the output of the first bad check
        (TaskState.RUNNING, Health.UNHEALTHY, verdict),
        (TaskState.RESTARTING, Health.NONE, f"{verdict}; next start in 4s"),
    ]
    times = {s.state: at for at, s in seen}
    unhealthy_at = next(at for at, s in seen if s.health is Health.UNHEALTHY)
    stopped_at = next(at for at, s in seen if s.state is TaskState.RESTARTING)
    assert round(stopped_at - unhealthy_at, 1) == 2.0  # its drain delay
    assert times[TaskState.RUNNING] > stopped_at
    assert len(runtime.stops) >= 1
    assert {order.sandbox_id for order in runtime.orders[1:]} == {"sandbox-1"}
    assert {s.address for _, s in seen if s.state is TaskState.RUNNING} == {"10.88.1.2"}
    assert seen[-1][1].failures >= 1


@in_virtual_time
async def test_an_unhealthy_task_that_is_not_restarted_has_failed(tmp_path: Path) -> None:
    prober = FakeProber()
    task = a_checked_task(restart=RestartPolicy(condition=RestartCondition.NONE), retries=2)
    prober.results[task.id] = BAD

    async with an_agent(tmp_path, FakeRuntime(now=now), [task], prober=prober) as agent:
        await asyncio.sleep(60)
        status = agent.status(task)

    assert (status.state, status.failures) == (TaskState.FAILED, 1)
    assert status.message == f"unhealthy: {REFUSED} (2 times)"


@in_virtual_time
async def test_health_survives_a_restart_of_the_agent(tmp_path: Path) -> None:
    runtime, prober = FakeRuntime(now=now), FakeProber()
    task = a_checked_task()
    async with an_agent(tmp_path, runtime, [task], prober=prober):
        await asyncio.sleep(10)

    await asyncio.sleep(60)
    async with an_agent(tmp_path, runtime, [task], prober=prober) as agent:
        seen = await statuses(agent, task, 30)

    assert [(s.state, s.health) for _, s in seen] == [(TaskState.RUNNING, Health.HEALTHY)]
    assert len(runtime.orders) == 1


@in_virtual_time
async def test_an_agent_that_dies_between_verdict_and_stop_carries_it_out(tmp_path: Path) -> None:
    runtime, prober = FakeRuntime(now=now), FakeProber()
    task = a_checked_task(retries=1)
    prober.results[task.id] = BAD
    async with an_agent(tmp_path, runtime, [task], prober=prober) as agent:
        while agent.status(task).health is not Health.UNHEALTHY:  # noqa: ASYNC110
            await asyncio.sleep(0.1)

    async with an_agent(tmp_path, runtime, [task], prober=FakeProber()) as agent:
        at_once = agent.status(task)
        await asyncio.sleep(3)
        later = agent.status(task)

    assert (at_once.state, at_once.health) == (TaskState.RUNNING, Health.UNHEALTHY)
    assert later.message == f"unhealthy: {REFUSED} (once); next start in 4s"


@in_virtual_time
async def test_a_check_that_hangs_delays_those_of_no_other_task(tmp_path: Path) -> None:
    prober = FakeProber()
    hung, fine = a_checked_task(1, timeout=60 * SECOND), a_checked_task(2)
    prober.hold[hung.id] = asyncio.Event()

    async with an_agent(tmp_path, FakeRuntime(now=now), [hung, fine], prober=prober) as agent:
        await asyncio.sleep(51)
        assert agent.status(fine).health is Health.HEALTHY
        assert agent.status(hung).health is Health.STARTING

    counts = [sum(task_id == task.id for task_id, _ in prober.probes) for task in (hung, fine)]
    assert counts[0] == 1
    assert counts[1] >= 10


@in_virtual_time
async def test_a_runtime_that_does_not_answer_makes_nobody_unhealthy(tmp_path: Path) -> None:
    prober = FakeProber()
    task = a_checked_task(http=None, exec=ExecCheck(command=("true",)))
    async with an_agent(tmp_path, FakeRuntime(now=now), [task], prober=prober) as agent:
        await asyncio.sleep(10)
        prober.results[task.id] = ProbeResult(healthy=False, output="no answer", known=False)
        await asyncio.sleep(600)

        assert agent.status(task).health is Health.HEALTHY
        assert agent.status(task).failures == 0


@in_virtual_time
async def test_a_bug_in_the_prober_is_nobodys_trouble(tmp_path: Path) -> None:
    class Broken(FakeProber):
        async def probe(self, *_: object) -> ProbeResult:
            raise ZeroDivisionError

    task = a_checked_task()
    async with an_agent(tmp_path, FakeRuntime(now=now), [task], prober=Broken()) as agent:
        await asyncio.sleep(60)

        assert (agent.status(task).state, agent.status(task).failures) == (TaskState.RUNNING, 0)


@in_virtual_time
async def test_a_check_without_a_port_waits_until_its_services_ports_are_known(
    tmp_path: Path,
) -> None:
    prober = FakeProber()
    task = a_checked_task()
    ports = (Port(target=53, protocol=Protocol.UDP), Port(target=9000), Port(target=9001))
    async with an_agent(tmp_path, FakeRuntime(now=now), prober=prober) as agent:
        agent.executor.assign([task])
        await asyncio.sleep(20)
        assert prober.probes == []

        agent.executor.assign([task], {"web": ServiceTraffic(name="web", ports=ports)})
        await asyncio.sleep(5)

    assert {port for _, port in prober.probes} == {9000}


@in_virtual_time
async def test_a_draining_task_runs_on_until_it_is_to_stop(tmp_path: Path) -> None:
    runtime, prober = FakeRuntime(now=now), FakeProber()
    task = a_checked_task()
    draining = replace(task, desired=DesiredState.DRAINING)
    async with an_agent(tmp_path, runtime, [task], prober=prober) as agent:
        await asyncio.sleep(5)
        prober.results[task.id] = BAD
        await drain_for(agent, [draining], 60)
        status = agent.status(task)
        stops = list(runtime.stops)

        agent.executor.assign([replace(task, desired=DesiredState.STOPPED)])
        await asyncio.sleep(2)

        assert agent.status(task).state is TaskState.STOPPED
    assert (status.state, status.health) == (TaskState.RUNNING, Health.UNHEALTHY)
    assert stops == []


@in_virtual_time
async def test_a_draining_task_that_ends_stays_ended(tmp_path: Path) -> None:
    runtime = FakeRuntime(now=now)
    task = a_task()
    async with an_agent(tmp_path, runtime, [task]) as agent:
        await drain_for(agent, [replace(task, desired=DesiredState.DRAINING)], 1)
        runtime.exit(task.id, 1)
        await asyncio.sleep(60)

        assert agent.status(task).state is TaskState.STOPPED
    assert len(runtime.orders) == 1


async def drain_for(agent: Agent, tasks: Sequence[Task], seconds: float) -> None:
    agent.executor.assign(tasks, SERVICES)
    await asyncio.sleep(seconds)


@in_virtual_time
async def test_five_hundred_tasks_are_checked_evenly(tmp_path: Path) -> None:
    runtime, prober = FakeRuntime(now=now, subnet="10.88.0.0/20"), FakeProber()
    tasks = [a_checked_task(slot) for slot in range(1, 501)]
    async with an_agent(tmp_path, runtime, tasks, prober=prober) as agent:
        await asyncio.sleep(30)
        assert {agent.status(task).health for task in tasks} == {Health.HEALTHY}

        counts = []
        for _ in range(10):
            prober.probes.clear()
            await asyncio.sleep(0.5)
            counts.append(len(prober.probes))

    assert sum(counts) == 500
    assert all(25 <= count <= 75 for count in counts), counts
    await settle()
    assert now() - START < timedelta(minutes=1)
