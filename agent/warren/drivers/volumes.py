"""The volume drivers that come with Warren, and how others are found. Implement
`ports.VolumeDriver`.

    local    <volumes_dir>/<name>.<id>            a directory, made with the first task that has it
    nfs      <mounts_dir>/volumes/<name>.<id>     an export of a server, mounted while a task has it

The data is the users': nothing here deletes any but `delete`, and a directory that is there is used
as it is.
"""

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path

from warren.drivers.ports import HostMounts, VolumeDriver
from warren.model.errors import DriverError
from warren.model.volumes import LOCAL, NFS, Volume, VolumeUsage

GROUP = "warren.volume_drivers"
_BLOCK = 512
_MOUNT_NFS = (Path("/sbin/mount.nfs"), Path("/usr/sbin/mount.nfs"))


class LocalVolumes:
    """Directories on the disk of this host."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def mount(self, volume: Volume) -> Path:
        path = self._path(volume)
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not path.is_dir():
                self._make(volume, path)
        except OSError as error:
            raise _refused("make", volume, path, error) from error
        return path

    def _make(self, volume: Volume, path: Path) -> None:
        """Whole or not at all: who dies in between makes it anew, with its owner and mode."""
        new = path.with_name(f".{path.name}.new")
        new.mkdir(mode=0o700, exist_ok=True)
        os.chown(new, volume.spec.uid, volume.spec.gid)
        new.chmod(int(volume.spec.mode, 8))
        new.rename(path)

    async def unmount(self, volume: Volume) -> None:  # noqa: ARG002 - the Protocol's parameter
        return

    async def delete(self, volume: Volume) -> None:
        path = self._path(volume)
        leaving = path.with_name(f".{path.name}.deleted")
        try:
            if path.exists() and not leaving.exists():
                path.rename(leaving)  # from here on nobody takes what is left for the volume
            if leaving.exists():
                await asyncio.to_thread(shutil.rmtree, leaving)
            if path.exists():
                await asyncio.to_thread(shutil.rmtree, path)
        except OSError as error:
            raise _refused("delete", volume, path, error) from error

    async def measure(self, volume: Volume) -> VolumeUsage | None:
        return await measured(volume, self._path(volume))

    def _path(self, volume: Volume) -> Path:
        return self._directory / volume.directory


class NfsVolumes:
    """Exports of NFS servers. What is in them is the server's: removing the volume deletes none."""

    def __init__(self, directory: Path, mounts: HostMounts) -> None:
        self._directory = directory
        self._mounts = mounts

    async def mount(self, volume: Volume) -> Path:
        options = volume.spec.options
        given = [each for each in options.get("options", "").split(",") if each]
        source = f"{options['server']}:{options['path']}"
        path = self._path(volume)
        # A server that is away is tried again with the next start of the task.
        await self._mounts.mount(NFS, source, path, (*given, "retry=0"))
        return path

    async def unmount(self, volume: Volume) -> None:
        await self._mounts.unmount(self._path(volume))

    async def delete(self, volume: Volume) -> None:
        await self.unmount(volume)

    async def measure(self, volume: Volume) -> VolumeUsage | None:  # noqa: ARG002
        """Of an export there is nothing to say that its server would not know better."""
        return None

    def _path(self, volume: Volume) -> Path:
        return self._directory / volume.directory


def of_host(volumes_dir: Path, mounts_dir: Path, mounts: HostMounts) -> Mapping[str, VolumeDriver]:
    """The drivers that this host has, by name: nfs where it can mount that."""
    drivers: dict[str, VolumeDriver] = {LOCAL: LocalVolumes(volumes_dir)}
    if any(path.exists() for path in _MOUNT_NFS):
        drivers[NFS] = NfsVolumes(mounts_dir / "volumes", mounts)
    for point in entry_points(group=GROUP):
        if point.name not in (LOCAL, NFS):
            make: Callable[[Path], VolumeDriver] = point.load()
            drivers[point.name] = make(mounts_dir / point.name)
    return drivers


async def measured(volume: Volume, path: Path) -> VolumeUsage | None:
    """How large a directory is, beside the loop; None if there is none. For drivers to use."""
    size = await asyncio.to_thread(_size, path)
    if size is None:
        return None
    return VolumeUsage(name=volume.spec.name, id=volume.id, path=str(path), size=size)


def _size(path: Path) -> int | None:
    return sum(_sizes(path)) if path.is_dir() else None


def _sizes(directory: Path) -> Iterator[int]:
    """As the disk has them, each file once, on this file system only. What goes meanwhile is not
    counted."""
    device, seen = directory.stat().st_dev, set[int]()
    waiting = [str(directory)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    found = entry.stat(follow_symlinks=False)
                    if found.st_dev != device or found.st_ino in seen:
                        continue
                    if found.st_nlink > 1:
                        seen.add(found.st_ino)
                    yield found.st_blocks * _BLOCK
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except OSError:
            continue


def _refused(verb: str, volume: Volume, path: Path, error: OSError) -> DriverError:
    return DriverError(f"cannot {verb} volume {volume.spec.name} in {path}: {error.strerror}")
