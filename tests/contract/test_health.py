"""The example of docs/health.md on a real runtime: from healthy to sick, and back by a restart."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from warren.core import health_specs
from warren.core.placeholders import NodeFacts
from warren.drivers.containerd import Containerd
from warren.drivers.ports import InstanceState
from warren.drivers.probes import Probes
from warren.model.assignments import ServiceTraffic
from warren.model.manifest import parse_service
from warren.model.services import template_of
from warren.model.tasks import Health, Task, TaskState, TaskStatus
from warren.testing.fake_task_files import FakeTaskFiles
from warren.testing.fake_volumes import fake_mount_drivers
from warren.worker.executor import Executor, Surroundings
from warren.worker.local_store import ProgressFile
from warren.worker.reporter import Reporter
from warren.worker.task_files import TaskFiles
from warren.worker.volumes import Volumes

from tests.contract.images import BUSYBOX
from tests.documented import services_in

_SERVER = "mkdir /tmp/www; echo ok > /tmp/www/healthz; busybox httpd -f -p 8080 -h /tmp/www"
_BREAK = ("busybox", "rm", "/tmp/www/healthz")
_SOON = timedelta(seconds=10)


def the_example() -> tuple[Task, ServiceTraffic]:
    """The service of the page, with a server that is there."""
    (manifest,) = services_in("health.md")
    spec, _ = parse_service({**manifest, "image": BUSYBOX, "command": ["sh", "-c", _SERVER]})
    health_specs.check(spec)
    now = datetime.now(UTC)
    task = Task(
        id="web-1-aaaaa",
        service=spec.name,
        slot=1,
        revision=1,
        template=replace(template_of(spec), drain_delay=timedelta(milliseconds=200)),
        created_at=now,
        status=TaskStatus(state=TaskState.ASSIGNED, since=now),
    )
    return task, ServiceTraffic(name=spec.name, ports=spec.ports)


class Agent:
    """An executor that runs the example, and what it reports."""

    def __init__(self, directory: Path, runtime: Containerd) -> None:
        self.reporter = Reporter()
        self.task, traffic = the_example()
        ready = asyncio.Event()
        ready.set()
        self.executor = Executor(
            Surroundings(
                node_name="w1",
                log_dir=directory / "logs",
                runtime=runtime,
                prober=Probes(runtime),
                reporter=self.reporter,
                progress_file=ProgressFile(directory / "tasks.json"),
                files=TaskFiles(FakeTaskFiles(), lambda: NodeFacts(id="n1", name="w1")),
                volumes=Volumes(fake_mount_drivers(directory), "w1", directory / "volumes.json"),
                network_ready=ready,
                now=lambda: datetime.now(UTC),
            )
        )
        self.executor.assign([self.task], {traffic.name: traffic})

    async def wait(self, condition: Callable[[TaskStatus], bool]) -> TaskStatus:
        """The first status of which it is true."""
        async with asyncio.timeout(60):
            while True:
                status = self.reporter.latest.get(self.task.id)
                if status is not None and condition(status):
                    return status
                await asyncio.sleep(0.01)


@asynccontextmanager
async def an_agent(directory: Path, runtime: Containerd) -> AsyncIterator[Agent]:
    """Runs an agent; leaving is as sudden as a SIGKILL."""
    agent = Agent(directory, runtime)
    running = asyncio.create_task(agent.executor.run())
    try:
        yield agent
    finally:
        running.cancel()
        await asyncio.wait([running])


async def test_a_task_is_healthy_then_sick_then_restarted_with_its_address(
    real_runtime: Containerd, tmp_path: Path
) -> None:
    async with an_agent(tmp_path, real_runtime) as agent:
        healthy = await agent.wait(lambda status: status.health is Health.HEALTHY)
    async with an_agent(tmp_path, real_runtime) as agent:
        adopted = await agent.wait(lambda status: status.state is TaskState.RUNNING)
        await agent.executor.execute(agent.task.id, _BREAK, _SOON)
        sick = await agent.wait(lambda status: status.health is Health.UNHEALTHY)
        restarting = await agent.wait(lambda status: status.state is TaskState.RESTARTING)
        again = await agent.wait(lambda status: status.health is Health.HEALTHY)

    said = f"GET /healthz on {healthy.address}:8080: 404"
    assert (adopted.health, adopted.since) == (Health.HEALTHY, healthy.since)
    assert (sick.state, sick.message) == (TaskState.RUNNING, f"unhealthy: {said} (3 times)")
    assert sick.health_output == said
    assert restarting.message == f"unhealthy: {said} (3 times); next start in 1s"
    assert (again.address, again.failures, again.health_output) == (healthy.address, 1, "")
    instances = await real_runtime.instances()
    assert [(i.attempt, i.state) for i in instances] == [(1, InstanceState.RUNNING)]
