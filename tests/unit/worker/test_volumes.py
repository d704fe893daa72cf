"""Directories of tasks on a node: who holds which, what the node's owner allows, what is left."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from warren.drivers.ports import Mount, MountDrivers
from warren.model.errors import FailedPrecondition
from warren.model.services import MountSpec
from warren.model.tasks import Task, TaskState
from warren.model.units import Bytes
from warren.model.volumes import MountKind, Volume
from warren.testing.builders import a_mount, a_volume
from warren.testing.fake_runtime import FakeRuntime
from warren.testing.fake_volumes import FakeMounts, FakeVolumes, fake_mount_drivers
from warren.worker.volumes import Volumes

from tests.unit.worker.test_executor import an_agent
from tests.unit.worker.virtual_time import in_virtual_time, now
from tests.unit.worker.worker_kit import a_task, stopped

DATA = a_volume(node="node-1")


def a_task_with(*mounts: MountSpec, slot: int = 1) -> Task:
    task = a_task(slot)
    return replace(task, template=replace(task.template, mounts=mounts))


def volumes_of(directory: Path, drivers: MountDrivers, *known: Volume) -> Volumes:
    """As another agent of the host makes them."""
    volumes = Volumes(drivers, "w1", directory / "volumes.json")
    volumes.learn(known or (DATA,))
    return volumes


async def refusal(volumes: Volumes, mount: MountSpec) -> str:
    with pytest.raises(FailedPrecondition) as caught:
        await volumes.place(a_task_with(mount), 0)
    return str(caught.value)


async def test_gives_a_task_its_volume(tmp_path: Path) -> None:
    volumes = volumes_of(tmp_path, fake_mount_drivers(tmp_path))
    task = a_task_with(a_mount(), a_mount(target="/ro", read_only=True))

    await volumes.wait(task)
    placed = await volumes.place(task, 0)

    path = tmp_path / "volumes" / "data.v1"
    assert placed == (
        Mount(source=path, target="/data", read_only=False),
        Mount(source=path, target="/ro", read_only=True),
    )


async def test_the_next_writer_waits_until_nothing_of_the_last_runs(tmp_path: Path) -> None:
    drivers = fake_mount_drivers(tmp_path)
    old, new = a_task_with(a_mount(), slot=1), a_task_with(a_mount(), slot=2)
    await volumes_of(tmp_path, drivers).wait(old)
    volumes = volumes_of(tmp_path, drivers)  # the agent was restarted since

    waiting = asyncio.create_task(volumes.wait(new))
    await asyncio.sleep(0)
    missing, done = volumes.missing(new), waiting.done()
    await volumes.remove(old.id)
    await waiting

    assert not done
    assert missing == f"waits for the end of {old.id}, which writes to volume data"
    assert volumes.task_ids() == {new.id}


async def test_tasks_that_share_a_volume_or_only_read_it_wait_for_nobody(tmp_path: Path) -> None:
    volumes = volumes_of(
        tmp_path, fake_mount_drivers(tmp_path), DATA, a_volume("logs", shared=True)
    )
    await volumes.wait(a_task_with(a_mount(), a_mount("logs", "/logs"), slot=1))

    await volumes.wait(a_task_with(a_mount("logs", "/logs"), slot=2))
    await volumes.wait(a_task_with(a_mount(read_only=True), slot=3))

    assert len(volumes.task_ids()) == 3


async def test_a_volume_is_unmounted_with_the_last_task_that_has_it(tmp_path: Path) -> None:
    drivers = fake_mount_drivers(tmp_path)
    local = drivers.volumes["local"]
    assert isinstance(local, FakeVolumes)
    volumes = volumes_of(tmp_path, drivers, replace(DATA, spec=replace(DATA.spec, shared=True)))
    one, other = a_task_with(a_mount(), slot=1), a_task_with(a_mount(), slot=2)
    for task in (one, other):
        await volumes.wait(task)
        await volumes.place(task, 0)

    await volumes.remove(one.id)
    kept = set(local.mounted)
    await volumes.remove(other.id)

    assert (kept, local.mounted) == ({"data.v1"}, set())
    assert (tmp_path / "volumes" / "data.v1").exists()


async def test_memory_is_new_for_each_attempt_and_gone_with_the_task(tmp_path: Path) -> None:
    drivers = fake_mount_drivers(tmp_path)
    assert isinstance(drivers.mounts, FakeMounts)
    volumes = volumes_of(tmp_path, drivers)
    memory = MountSpec(type=MountKind.TMPFS, target="/tmp", size=Bytes(65536), mode="0700")
    task = a_task_with(memory)
    await volumes.wait(task)

    await volumes.place(task, 0)
    await volumes.place(task, 1)
    mounted = dict(drivers.mounts.mounted)
    await volumes.remove(task.id)

    path = tmp_path / "mounts" / "tasks" / task.id / "1.0"
    options = ("size=65536", "mode=0700", "nosuid", "nodev")
    assert mounted == {path: ("tmpfs", "tmpfs", options)}
    assert (drivers.mounts.mounted, path.parent.exists()) == ({}, False)


async def test_a_path_that_the_owner_allows_is_mounted_with_all_below(tmp_path: Path) -> None:
    (tmp_path / "srv" / "web").mkdir(parents=True)
    volumes = volumes_of(tmp_path, fake_mount_drivers(tmp_path, bind_paths=(f"{tmp_path}/srv",)))
    mount = MountSpec(type=MountKind.BIND, source=f"{tmp_path}/srv/web", target="/web")

    (placed,) = await volumes.place(a_task_with(mount), 0)

    assert placed == Mount(source=tmp_path / "srv" / "web", target="/web", read_only=False)


async def test_a_path_that_the_owner_does_not_allow_is_refused_by_name(tmp_path: Path) -> None:
    volumes = volumes_of(tmp_path, fake_mount_drivers(tmp_path, bind_paths=("/srv",)))
    mount = MountSpec(type=MountKind.BIND, source="/etc", target="/etc-of-host")

    assert await refusal(volumes, mount) == "w1 does not let tasks mount /etc: see bind_paths"


async def test_a_link_out_of_what_is_allowed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "srv").mkdir()
    (tmp_path / "srv" / "link").symlink_to("/etc")
    volumes = volumes_of(tmp_path, fake_mount_drivers(tmp_path, bind_paths=(f"{tmp_path}/srv",)))
    mount = MountSpec(type=MountKind.BIND, source=f"{tmp_path}/srv/link", target="/web")

    assert await refusal(volumes, mount) == (
        f"w1 does not let tasks mount {tmp_path}/srv/link (it leads to /etc): see bind_paths"
    )


async def test_a_path_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    volumes = volumes_of(tmp_path, fake_mount_drivers(tmp_path, bind_paths=(str(tmp_path),)))
    mount = MountSpec(type=MountKind.BIND, source=f"{tmp_path}/none", target="/web")

    assert await refusal(volumes, mount) == (
        f"{tmp_path}/none is not there on w1, or hidden from its agent, as /home, /root and /tmp "
        "are"
    )


async def test_data_that_a_task_still_has_is_not_deleted(tmp_path: Path) -> None:
    volumes = volumes_of(tmp_path, fake_mount_drivers(tmp_path))
    task = a_task_with(a_mount())
    await volumes.wait(task)
    await volumes.place(task, 0)

    with pytest.raises(FailedPrecondition, match=f"{task.id} still has it"):
        await volumes.delete(DATA)
    await volumes.remove(task.id)
    await volumes.delete(DATA)

    assert not (tmp_path / "volumes" / "data.v1").exists()


async def test_measures_what_is_there(tmp_path: Path) -> None:
    volumes = volumes_of(tmp_path, fake_mount_drivers(tmp_path))
    task = a_task_with(a_mount())
    nothing = await volumes.measure([DATA])
    (placed,) = await volumes.place(task, 0)
    (placed.source / "row").write_bytes(b"12345")

    (usage,) = await volumes.measure([DATA])

    assert nothing == ()
    assert (usage.name, usage.path, usage.size) == ("data", str(placed.source), 5)


@in_virtual_time
async def test_a_task_that_was_given_up_ends_before_the_next_writer_starts(tmp_path: Path) -> None:
    """Its node was silent, and is back with another agent: the container still runs."""
    runtime = FakeRuntime(now=now)
    old, new = a_task_with(a_mount(), slot=1), a_task_with(a_mount(), slot=2)
    async with an_agent(tmp_path, runtime, [old], volumes=[DATA]):
        pass
    lost = replace(old, status=replace(old.status, state=TaskState.LOST))
    runtime.hold["stop"] = asyncio.Event()

    async with an_agent(tmp_path, runtime, [lost, new], volumes=[DATA]) as agent:
        await asyncio.sleep(5)
        waiting, orders = agent.status(new), len(runtime.orders)
        runtime.hold["stop"].set()
        await asyncio.sleep(5)
        running = agent.status(new)

    assert waiting.message == f"waits for the end of {old.id}, which writes to volume data"
    assert (orders, [stop[0] for stop in runtime.stops]) == (1, [old.id])
    assert (running.state, len(runtime.orders)) == (TaskState.RUNNING, 2)


@in_virtual_time
async def test_the_container_gets_what_its_task_mounts_outer_directories_first(
    tmp_path: Path,
) -> None:
    runtime = FakeRuntime(now=now)
    task = a_task_with(a_mount("logs", "/data/deep/logs"), a_mount("data", "/data"))
    known = [DATA, a_volume("logs", shared=True)]

    async with an_agent(tmp_path, runtime, [task], volumes=known):
        pass

    (order,) = runtime.orders
    assert [mount.target for mount in order.mounts] == ["/data", "/data/deep/logs"]


@in_virtual_time
async def test_a_path_that_is_refused_is_the_reason_of_the_failure(tmp_path: Path) -> None:
    runtime = FakeRuntime(now=now)
    task = a_task_with(MountSpec(type=MountKind.BIND, source="/etc", target="/of-host"))

    async with an_agent(tmp_path, runtime, [task]) as agent:
        status = agent.status(task)

    assert status.state is TaskState.RESTARTING
    assert status.message.startswith("w1 does not let tasks mount /etc: see bind_paths; next start")
    assert runtime.orders == []


@in_virtual_time
async def test_a_volume_is_let_go_of_once_its_task_has_stopped(tmp_path: Path) -> None:
    runtime, task = FakeRuntime(now=now), a_task_with(a_mount())

    async with an_agent(tmp_path, runtime, [task], volumes=[DATA]) as agent:
        held = agent.volumes.task_ids()
        agent.executor.assign([stopped(task)])
        await asyncio.sleep(5)
        after = agent.volumes.task_ids()

    assert held == {task.id}
    assert not after
