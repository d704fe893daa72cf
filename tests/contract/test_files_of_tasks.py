"""Secrets and configs in a real runtime: read by who may, by nobody else, written by no one."""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from warren.drivers.containerd import Containerd
from warren.drivers.ports import Instance, PlacedFile
from warren.drivers.task_files import HostTaskFiles

from tests.contract.orders import an_order

FILES = (
    PlacedFile(path="/run/secrets/db/password", data=b"marker-1c", uid=1234, mode=0o400),
    PlacedFile(path="/run/secrets/root", data=b"marker-2d", mode=0o400),
    PlacedFile(path="/etc/settings.ini", data=b"settings", mode=0o444),
)


@pytest.fixture
def files(tmp_path: Path) -> Iterator[HostTaskFiles]:
    directory = Path(tempfile.mkdtemp(dir="/dev/shm", prefix="warren-"))
    yield HostTaskFiles(directory, tmp_path)
    shutil.rmtree(directory)


async def said(runtime: Containerd, instance: Instance, command: str) -> tuple[int, str]:
    """Exit code and output of a shell command in the task."""
    answer = await runtime.execute(instance, ["sh", "-c", command], timedelta(seconds=10))
    return answer.exit_code, answer.stdout.decode()


async def test_a_task_reads_what_is_its_own(
    real_runtime: Containerd, files: HostTaskFiles, log_dir: Path
) -> None:
    order = an_order(log_dir, user="1234")
    order = replace(order, mounts=files.place(order.task.id, FILES))

    started = await real_runtime.start(order)

    own = await said(real_runtime, started, "cat /run/secrets/db/password /etc/settings.ini")
    assert own == (0, "marker-1csettings")
    assert (await said(real_runtime, started, "cat /run/secrets/root 2>&1"))[0] == 1
    for path in ("/run/secrets/new", "/run/secrets/db/password", "/etc/settings.ini"):
        assert (await said(real_runtime, started, f"echo x 2>&1 > {path}"))[0] != 0
    assert "marker" not in (await said(real_runtime, started, "env"))[1]


async def test_root_of_a_task_cannot_write_either(
    real_runtime: Containerd, files: HostTaskFiles, log_dir: Path
) -> None:
    order = an_order(log_dir)
    order = replace(order, mounts=files.place(order.task.id, FILES))

    started = await real_runtime.start(order)

    assert await said(real_runtime, started, "cat /run/secrets/root") == (0, "marker-2d")
    assert (await said(real_runtime, started, "echo x 2>&1 > /run/secrets/root"))[0] != 0


async def test_another_task_sees_nothing_of_them(
    real_runtime: Containerd, files: HostTaskFiles, log_dir: Path
) -> None:
    order = an_order(log_dir)
    await real_runtime.start(replace(order, mounts=files.place(order.task.id, FILES)))

    other = await real_runtime.start(an_order(log_dir, task="web-2-bbbbb"))

    assert (await said(real_runtime, other, "cat /run/secrets/root 2>&1"))[0] == 1


async def test_the_next_attempt_has_them_and_then_they_are_gone(
    real_runtime: Containerd, files: HostTaskFiles, log_dir: Path
) -> None:
    order = an_order(log_dir)
    first = await real_runtime.start(replace(order, mounts=files.place(order.task.id, FILES)))
    await real_runtime.stop(first, signal="", grace=timedelta(seconds=5))

    again = replace(
        an_order(log_dir, attempt=1, sandbox_id=first.sandbox_id),
        mounts=files.place(order.task.id, FILES),
    )
    second = await real_runtime.start(again)

    assert await said(real_runtime, second, "cat /run/secrets/root") == (0, "marker-2d")
    for instance in (first, second):
        await real_runtime.stop(instance, signal="", grace=timedelta())
        await real_runtime.remove(instance)
    files.remove(order.task.id)
    assert files.task_ids() == frozenset()
