"""What only a real runtime can show: limits that hold, identity, and recovery from half a start."""

import asyncio
import os
import signal
from datetime import timedelta
from pathlib import Path

import pytest
from warren.drivers.containerd import Containerd
from warren.drivers.ports import ExecOutput, Instance, InstanceState
from warren.model.errors import DriverError, RuntimeUnavailable
from warren.model.services import Bytes, ResourceLimits, ResourceReservations, Resources

from tests.contract.conftest import CLUSTER
from tests.contract.orders import an_order
from tests.contract.private_containerd import PrivateContainerd

_CGROUPS = Path("/sys/fs/cgroup")
_V2 = (_CGROUPS / "cgroup.controllers").exists()
_SOON = timedelta(seconds=10)


async def output_of(runtime: Containerd, instance: Instance, command: str) -> str:
    """What a shell command in the task prints."""
    answer = await runtime.execute(instance, ["sh", "-c", command], _SOON)
    assert answer == ExecOutput(stdout=answer.stdout, stderr=b"", exit_code=0)
    return answer.stdout.decode().strip()


def limit(containerd: PrivateContainerd, instance: Instance, v1: str, v2: str) -> str:
    """The value of a limit of the container, by its file in the host's cgroups."""
    parent = f"{containerd.cgroup_parent.lstrip('/')}/{instance.task_id}/{instance.container_id}"
    controller, _, name = v1.partition("/")
    path = _CGROUPS / parent / v2 if _V2 else _CGROUPS / controller / parent / name
    return path.read_text().strip()


def cgroups_of(containerd: PrivateContainerd, task_id: str) -> list[Path]:
    """What is left of a task, in any hierarchy."""
    return list(_CGROUPS.glob(f"*{containerd.cgroup_parent}/{task_id}"))


async def wait_broken(runtime: Containerd) -> None:
    """Until the only instance is. A runtime tells nobody: one has to ask."""
    async with asyncio.timeout(10):
        while [i.state for i in await runtime.instances()] != [InstanceState.BROKEN]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_the_template_reaches_the_process(real_runtime: Containerd, log_dir: Path) -> None:
    order = an_order(
        log_dir,
        env={"GREETING": "a b=c"},
        working_dir="/work",
        user="1234:99",
        command=("sleep",),
        args=("60",),
    )

    started = await real_runtime.start(order)

    seen = await output_of(
        real_runtime,
        started,
        'pwd; id -u; id -g; hostname; echo "$GREETING $FROM_IMAGE"; cat /proc/1/cmdline',
    )
    assert seen.split("\n") == ["/work", "1234", "99", "web.1", "a b=c 1", "sleep\x0060\x00"]


async def test_a_user_may_be_given_by_name(real_runtime: Containerd, log_dir: Path) -> None:
    started = await real_runtime.start(an_order(log_dir, user="app"))

    assert await output_of(real_runtime, started, "id -u; id -g") == "1234\n1234"


async def test_refuses_a_group_name(real_runtime: Containerd, log_dir: Path) -> None:
    with pytest.raises(DriverError) as refused:
        await real_runtime.start(an_order(log_dir, user="app:app"))

    assert str(refused.value) == "user 'app:app': write a name, uid or uid:gid with numbers"
    assert await real_runtime.instances() == ()


async def test_limits_reach_the_container(
    real_runtime: Containerd, containerd: PrivateContainerd, log_dir: Path
) -> None:
    resources = Resources(
        limits=ResourceLimits(memory=Bytes(64 * 2**20), cpus=0.5, pids=20),
        reservations=ResourceReservations(cpus=0.25),
    )

    started = await real_runtime.start(an_order(log_dir, resources=resources))

    memory = limit(containerd, started, "memory/memory.limit_in_bytes", "memory.max")
    shares = limit(containerd, started, "cpu/cpu.shares", "cpu.weight")
    quota = limit(containerd, started, "cpu/cpu.cfs_quota_us", "cpu.max")
    assert memory == str(64 * 2**20)
    assert shares == ("10" if _V2 else "256")
    assert quota == ("50000 100000" if _V2 else "50000")


async def test_no_limits_mean_none(
    real_runtime: Containerd, containerd: PrivateContainerd, log_dir: Path
) -> None:
    started = await real_runtime.start(an_order(log_dir))

    quota = limit(containerd, started, "cpu/cpu.cfs_quota_us", "cpu.max")
    assert quota == ("max 100000" if _V2 else "-1")


async def test_a_task_cannot_have_more_processes_than_its_limit(
    real_runtime: Containerd, log_dir: Path
) -> None:
    limits = ResourceLimits(pids=10)
    order = an_order(log_dir, resources=Resources(limits=limits))
    started = await real_runtime.start(order)

    answer = await real_runtime.execute(
        started, ["sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 5 & done"], _SOON
    )

    assert answer.exit_code != 0
    assert b"fork" in answer.stderr


async def test_hides_what_a_container_must_not_see(real_runtime: Containerd, log_dir: Path) -> None:
    started = await real_runtime.start(an_order(log_dir))

    status = await output_of(real_runtime, started, "cat /proc/1/status")
    write = ["sh", "-c", "echo 1 >/proc/sys/vm/swappiness"]
    answer = await real_runtime.execute(started, write, _SOON)

    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status
    answer = await real_runtime.execute(
        started, ["sh", "-c", "echo 1 >/proc/sys/vm/swappiness"], _SOON
    )
    assert b"Read-only" in answer.stderr


async def test_a_command_that_does_not_exist_is_named(
    real_runtime: Containerd, containerd: PrivateContainerd, log_dir: Path
) -> None:
    with pytest.raises(DriverError) as refused:
        await real_runtime.start(an_order(log_dir, command=("serve",)))

    assert str(refused.value) == (
        'cannot start web.1: exec: "serve": executable file not found in $PATH'
    )
    assert await real_runtime.instances() == ()
    assert cgroups_of(containerd, "web-1-aaaaa") == []


async def test_leaves_no_cgroup_behind(
    real_runtime: Containerd, containerd: PrivateContainerd, log_dir: Path
) -> None:
    limits = ResourceLimits(pids=10)
    started = await real_runtime.start(an_order(log_dir, resources=Resources(limits=limits)))

    await real_runtime.remove(started)

    assert cgroups_of(containerd, "web-1-aaaaa") == []


async def test_a_dead_sandbox_is_not_used_again(real_runtime: Containerd, log_dir: Path) -> None:
    first = await real_runtime.start(an_order(log_dir))
    os.kill(_parent_pause(await real_runtime._pid(first)), signal.SIGKILL)
    await wait_broken(real_runtime)

    second = await real_runtime.start(an_order(log_dir, attempt=1, sandbox_id=first.sandbox_id))

    assert second.state is InstanceState.RUNNING
    assert second.sandbox_id != first.sandbox_id


async def test_another_process_finds_an_attempt_in_the_sandbox_of_the_one_before(
    real_runtime: Containerd, containerd: PrivateContainerd, log_dir: Path
) -> None:
    first = await real_runtime.start(an_order(log_dir))
    await real_runtime.stop(first, signal="", grace=timedelta())
    second = await real_runtime.start(an_order(log_dir, attempt=1, sandbox_id=first.sandbox_id))
    await real_runtime.remove(first)

    other = Containerd(
        containerd.endpoint, cluster_id=CLUSTER, cgroup_parent=containerd.cgroup_parent
    )
    found = await other.instances()
    await other.remove(found[0])
    left = await other.instances()
    await other.close()

    assert found == (second,)
    assert left == ()
    assert cgroups_of(containerd, "web-1-aaaaa") == []


async def test_frees_the_address(
    real_runtime: Containerd, containerd: PrivateContainerd, log_dir: Path
) -> None:
    started = await real_runtime.start(an_order(log_dir))
    lease = containerd.leases_dir / "warren" / started.address
    assert lease.exists()

    await real_runtime.remove(started)

    assert not lease.exists()


async def test_another_process_finds_the_same_instances(
    real_runtime: Containerd, containerd: PrivateContainerd, log_dir: Path
) -> None:
    started = await real_runtime.start(an_order(log_dir))
    other = Containerd(containerd.endpoint, cluster_id=CLUSTER)

    found = await other.instances()

    await other.close()
    assert found == (started,)


async def test_another_cluster_sees_nothing(
    real_runtime: Containerd, containerd: PrivateContainerd, log_dir: Path
) -> None:
    await real_runtime.start(an_order(log_dir))
    other = Containerd(containerd.endpoint, cluster_id="another")

    found = await other.instances()

    await other.close()
    assert found == ()


async def test_a_start_under_way_is_no_broken_instance(
    real_runtime: Containerd, log_dir: Path
) -> None:
    start = asyncio.create_task(real_runtime.start(an_order(log_dir)))
    states = set()

    while not start.done():
        states |= {instance.state for instance in await real_runtime.instances()}

    assert states <= {InstanceState.CREATED}
    assert (await start).state is InstanceState.RUNNING


@pytest.mark.parametrize("after_ms", [0, 20, 40, 60, 80, 100, 120])
async def test_a_start_that_was_cancelled_can_be_repeated(
    real_runtime: Containerd, log_dir: Path, after_ms: int
) -> None:
    first = asyncio.create_task(real_runtime.start(an_order(log_dir)))
    await asyncio.wait([first], timeout=after_ms / 1000)
    first.cancel()
    await asyncio.wait([first])

    started = await real_runtime.start(an_order(log_dir))

    assert await real_runtime.instances() == (started,)


async def test_what_another_start_left_half_done_is_replaced(
    real_runtime: Containerd, log_dir: Path
) -> None:
    started = await real_runtime.start(an_order(log_dir))
    pid = await real_runtime._pid(started)
    os.kill(_parent_pause(pid), signal.SIGKILL)
    await wait_broken(real_runtime)

    again = await real_runtime.start(an_order(log_dir))

    assert again.sandbox_id != started.sandbox_id
    assert await real_runtime.instances() == (again,)


async def test_ten_at_once_all_run(real_runtime: Containerd, log_dir: Path) -> None:
    orders = [an_order(log_dir, task=f"web-{slot}-aaaaa") for slot in range(1, 11)]

    started = await asyncio.gather(*(real_runtime.start(order) for order in orders))

    listed = await real_runtime.instances()
    assert sorted(started, key=lambda i: i.task_id) == list(listed)
    assert len({instance.address for instance in listed}) == 10


async def test_tasks_reach_each_other(real_runtime: Containerd, log_dir: Path) -> None:
    server = await real_runtime.start(
        an_order(log_dir, command=("sh", "-c", "echo hello | nc -l -p 8080"))
    )
    client = await real_runtime.start(an_order(log_dir, task="web-2-aaaaa"))

    heard = await output_of(
        real_runtime,
        client,
        f"until nc -w 2 {server.address} 8080 2>/dev/null; do :; done </dev/null",
    )

    assert heard == "hello"


async def test_a_runtime_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    runtime = Containerd(f"unix://{tmp_path}/none.sock", cluster_id=CLUSTER)

    with pytest.raises(RuntimeUnavailable) as refused:
        await runtime.instances()

    await runtime.close()
    assert str(refused.value) == "cannot list containers: the container runtime does not answer"


def _parent_pause(pid: int) -> int:
    """The sandbox's own process: the other child of the shim that started `pid`."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    shim = int(stat.rpartition(")")[2].split()[1])
    children = Path(f"/proc/{shim}/task/{shim}/children").read_text().split()
    (pause,) = {int(child) for child in children} - {pid}
    return pause
