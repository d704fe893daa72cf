"""Volume drivers keep their contract; mounts are in the kernel, and a real task has them.

The kernel of the test machine may have no NFS: the driver is tried with a `mount` that binds a
directory in the place of each export, and the command that would have been run is compared.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from warren.drivers import commands
from warren.drivers.containerd import Containerd
from warren.drivers.host_mounts import SystemMounts, is_mounted, mounted
from warren.drivers.ports import Instance, Mount
from warren.drivers.volumes import LocalVolumes, NfsVolumes
from warren.model.errors import DriverError
from warren.testing import volume_contract
from warren.testing.builders import a_volume
from warren.testing.fake_volumes import FakeVolumes
from warren.testing.volume_contract import Subject

from tests.contract.orders import an_order

Law = Callable[[Subject], Awaitable[None]]
EXPORTS = {
    "options": {"server": "192.0.2.30", "path": "/export/data", "options": "nfsvers=4.2"},
    "other_options": {"server": "192.0.2.30", "path": "/export/logs"},
}


class Exports:
    """Stands for `mount` and an NFS server: exports are directories here."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.ran: list[Sequence[str]] = []

    async def __call__(self, command: Sequence[str]) -> tuple[int, str, str]:
        self.ran.append(command)
        if command[0] == "mount":
            export = self._directory / command[-2].partition(":/")[2]
            export.mkdir(parents=True, exist_ok=True)
            command = ("mount", "--bind", str(export), command[-1])
        return await commands.run(command)


@pytest.fixture
async def exports(tmp_path: Path) -> AsyncIterator[Exports]:
    yield Exports(tmp_path / "exports")
    for point in mounted():
        if point.startswith(str(tmp_path)):
            await commands.run(("umount", "--lazy", point))


def nfs(directory: Path, exports: Exports) -> NfsVolumes:
    return NfsVolumes(directory / "volumes", SystemMounts(exports, systemd=False))


@pytest.mark.parametrize("law", volume_contract.LAWS, ids=lambda law: law.__name__)
async def test_local_volumes_keep_the_contract(law: Law, tmp_path: Path) -> None:
    await law(Subject(make=lambda: LocalVolumes(tmp_path / "volumes")))


@pytest.mark.parametrize("law", volume_contract.LAWS, ids=lambda law: law.__name__)
async def test_fake_volumes_keep_the_contract(law: Law, tmp_path: Path) -> None:
    await law(Subject(make=lambda: FakeVolumes(tmp_path)))


@pytest.mark.parametrize("law", volume_contract.LAWS, ids=lambda law: law.__name__)
async def test_nfs_volumes_keep_the_contract(law: Law, tmp_path: Path, exports: Exports) -> None:
    await law(
        Subject(
            make=lambda: nfs(tmp_path, exports),
            driver="nfs",
            deletes=False,
            measures=False,
            options=EXPORTS["options"],
            other_options=EXPORTS["other_options"],
        )
    )


async def test_an_export_is_mounted_once_and_unmounted_with_the_last_task(
    tmp_path: Path, exports: Exports
) -> None:
    driver = nfs(tmp_path, exports)
    volume = a_volume(driver="nfs", options=EXPORTS["options"])
    target = tmp_path / "volumes" / "data.v1"

    assert await driver.mount(volume) == await driver.mount(volume) == target
    await driver.unmount(volume)

    source = "192.0.2.30:/export/data"
    assert exports.ran == [
        ("mount", "-t", "nfs", "-o", "nfsvers=4.2,retry=0", source, str(target)),
        ("umount", "--lazy", str(target)),
    ]
    assert not target.exists()


async def test_a_server_that_refuses_is_named_with_its_reason(tmp_path: Path) -> None:
    async def refuse(_: Sequence[str]) -> tuple[int, str, str]:
        return 32, "", "mount.nfs: access denied by server"

    driver = NfsVolumes(tmp_path, SystemMounts(refuse, systemd=False))

    with pytest.raises(DriverError) as caught:
        await driver.mount(a_volume(driver="nfs", options=EXPORTS["options"]))

    assert str(caught.value) == (
        "cannot mount 192.0.2.30:/export/data: mount.nfs: access denied by server"
    )


async def test_a_host_with_systemd_lets_it_mount(tmp_path: Path) -> None:
    ran: list[Sequence[str]] = []

    async def note(command: Sequence[str]) -> tuple[int, str, str]:
        ran.append(command)
        return 0, "", ""

    await SystemMounts(note, systemd=True).mount("tmpfs", "tmpfs", tmp_path / "m", ("mode=1777",))

    assert ran == [
        (
            *("systemd-run", "--quiet", "--wait", "--collect", "--pipe"),
            *("--property=RuntimeMaxSec=25", "--"),
            *("mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", str(tmp_path / "m")),
        )
    ]


async def test_memory_is_mounted_with_its_size_and_mode_and_is_gone_after(tmp_path: Path) -> None:
    mounts, target = SystemMounts(systemd=False), tmp_path / "memory"

    await mounts.mount("tmpfs", "tmpfs", target, ("size=65536", "mode=0750"))

    assert is_mounted(target)
    assert target.stat().st_mode & 0o7777 == 0o750
    with pytest.raises(OSError, match="No space left"):
        (target / "file").write_bytes(b"x" * 200_000)
    await mounts.unmount(target)
    assert not target.exists()


async def test_a_directory_with_something_in_it_is_never_removed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "row").write_text("1")

    await SystemMounts(systemd=False).unmount(tmp_path / "data")

    assert (tmp_path / "data" / "row").read_text() == "1"


async def said(runtime: Containerd, instance: Instance, command: str) -> tuple[int, str]:
    """Exit code and output of a shell command in the task."""
    answer = await runtime.execute(instance, ["sh", "-c", command], timedelta(seconds=10))
    return answer.exit_code, answer.stdout.decode()


async def test_what_a_task_writes_the_next_one_reads(
    real_runtime: Containerd, tmp_path: Path, log_dir: Path
) -> None:
    path = await LocalVolumes(tmp_path / "volumes").mount(a_volume(uid=1234, mode="0700"))
    writable = Mount(source=path, target="/data", read_only=False)
    order = replace(an_order(log_dir, user="1234"), mounts=(writable,))
    first = await real_runtime.start(order)

    assert await said(real_runtime, first, "echo 1 > /data/row && echo written") == (0, "written\n")
    await real_runtime.stop(first, signal="SIGKILL", grace=timedelta())
    await real_runtime.remove(first)
    reader = Mount(source=path, target="/data", read_only=True)
    other = an_order(log_dir, task="web-2-bbbbb", user="1234")
    second = await real_runtime.start(replace(other, mounts=(reader,)))

    assert await said(real_runtime, second, "cat /data/row") == (0, "1\n")
    assert (await said(real_runtime, second, "echo 2 2>&1 > /data/row"))[0] != 0
