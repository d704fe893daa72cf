"""Local volumes on the disk; which drivers a host has."""

import os
from pathlib import Path

import pytest
from warren.drivers.host_mounts import SystemMounts
from warren.drivers.volumes import LocalVolumes, of_host
from warren.model.errors import DriverError
from warren.testing.builders import a_volume


async def test_a_new_directory_has_the_owner_and_mode_that_the_user_says(tmp_path: Path) -> None:
    path = await LocalVolumes(tmp_path).mount(a_volume(uid=os.getuid(), mode="1750"))

    found = path.stat()
    assert (found.st_uid, found.st_mode & 0o7777) == (os.getuid(), 0o1750)
    assert path == tmp_path / "data.v1"


async def test_one_that_was_half_made_is_made_whole(tmp_path: Path) -> None:
    (tmp_path / ".data.v1.new").mkdir()

    path = await LocalVolumes(tmp_path).mount(a_volume(mode="0700"))

    assert os.listdir(tmp_path) == ["data.v1"]  # noqa: PTH208
    assert path.stat().st_mode & 0o7777 == 0o700


async def test_a_deletion_that_was_broken_off_goes_on(tmp_path: Path) -> None:
    (tmp_path / ".data.v1.deleted").mkdir()
    (tmp_path / ".data.v1.deleted" / "row").write_text("1")

    await LocalVolumes(tmp_path).delete(a_volume())

    assert os.listdir(tmp_path) == []  # noqa: PTH208


async def test_deleting_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "row").write_text("1")
    driver = LocalVolumes(tmp_path / "volumes")
    path = await driver.mount(a_volume())
    (path / "link").symlink_to(tmp_path / "outside")

    await driver.delete(a_volume())

    assert (tmp_path / "outside" / "row").read_text() == "1"


async def test_a_file_with_two_names_counts_once(tmp_path: Path) -> None:
    driver = LocalVolumes(tmp_path)
    path = await driver.mount(a_volume())
    (path / "one").write_bytes(b"1" * 100_000)
    (path / "other").hardlink_to(path / "one")

    usage = await driver.measure(a_volume())

    assert usage is not None
    assert usage.size < 150_000


async def test_what_cannot_be_made_names_volume_and_path(tmp_path: Path) -> None:
    (tmp_path / "volumes").write_text("a file")

    with pytest.raises(DriverError) as caught:
        await LocalVolumes(tmp_path / "volumes").mount(a_volume())

    where = tmp_path / "volumes" / "data.v1"
    assert str(caught.value) == f"cannot make volume data in {where}: File exists"


def test_every_host_has_local_volumes(tmp_path: Path) -> None:
    drivers = of_host(tmp_path / "volumes", tmp_path / "mounts", SystemMounts(systemd=False))

    assert isinstance(drivers["local"], LocalVolumes)
