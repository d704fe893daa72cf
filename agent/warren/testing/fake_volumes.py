"""Volumes and mounts of a host, in this process. Pass the contracts of `ports.VolumeDriver` and
`ports.HostMounts`."""

from collections.abc import Sequence
from pathlib import Path

from warren.drivers.ports import MountDrivers, VolumeDriver
from warren.model.volumes import LOCAL, Volume, VolumeUsage


class FakeVolumes:
    """Directories under one of the test's, so that it can write to them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.mounted: set[str] = set()
        """Directories of volumes that tasks have."""

    async def mount(self, volume: Volume) -> Path:
        path = self._directory / volume.directory
        path.mkdir(parents=True, exist_ok=True)
        self.mounted.add(volume.directory)
        return path

    async def unmount(self, volume: Volume) -> None:
        self.mounted.discard(volume.directory)

    async def delete(self, volume: Volume) -> None:
        path = self._directory / volume.directory
        for each in sorted(path.rglob("*"), reverse=True):
            each.rmdir() if each.is_dir() else each.unlink()
        if path.exists():
            path.rmdir()

    async def measure(self, volume: Volume) -> VolumeUsage | None:
        path = self._directory / volume.directory
        if not path.exists():
            return None
        size = sum(each.stat().st_size for each in path.rglob("*"))
        return VolumeUsage(name=volume.spec.name, id=volume.id, path=str(path), size=size)


class FakeMounts:
    """What is mounted where, with its options."""

    def __init__(self) -> None:
        self.mounted: dict[Path, tuple[str, str, tuple[str, ...]]] = {}

    async def mount(self, kind: str, source: str, target: Path, options: Sequence[str]) -> None:
        _make(target)
        self.mounted.setdefault(target, (kind, source, tuple(options)))

    async def unmount(self, target: Path) -> None:
        self.mounted.pop(target, None)
        _remove(target)


def _make(target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)


def _remove(target: Path) -> None:
    if target.exists():
        target.rmdir()


def fake_mount_drivers(directory: Path, *, bind_paths: tuple[str, ...] = ()) -> MountDrivers:
    """All that a worker needs for mounts."""
    drivers: dict[str, VolumeDriver] = {LOCAL: FakeVolumes(directory / "volumes")}
    return MountDrivers(
        volumes=drivers,
        mounts=FakeMounts(),
        mounts_dir=directory / "mounts",
        bind_paths=bind_paths,
    )
