"""A disk that forgets: what a crash leaves of files and names, with a failpoint at every step.

A killed process leaves everything that it wrote. A power loss leaves of each file what was synced
and a chance part of the rest, some of it as zeros, and of the names a chance prefix of the changes
since they were synced. `before` and `after` each operation the simulation may kill the process.
"""

import random
from collections.abc import Callable

from warren.store.raft.disks import DiskUnwritable, File

BLOCK = 512


class SimulatedFile:
    """Bytes and how many of them would survive."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.synced = 0


class SimulatedDisk:
    """Implements `Disk`."""

    def __init__(self) -> None:
        self.failpoint: Callable[[str], None] = lambda _where: None
        """Called with the name of each step; may raise to kill the process there."""
        self.is_full = False
        self.syncs = 0
        self._names: dict[str, SimulatedFile] = {}
        self._durable_names: dict[str, SimulatedFile] = {}
        self._name_changes: list[tuple[str, SimulatedFile | None]] = []

    def lose_power(self, chance: random.Random) -> None:
        """Keep what a disk might keep."""
        for name, file in self._name_changes[: chance.randint(0, len(self._name_changes))]:
            self._set_durable(name, file)
        self._names = dict(self._durable_names)
        self._name_changes = []
        for file in self._names.values():
            del file.data[chance.randint(file.synced, len(file.data)) :]
            for start in range(file.synced, len(file.data), BLOCK):
                if chance.random() < 0.3:
                    end = min(start + BLOCK, len(file.data))
                    file.data[start:end] = bytes(end - start)
            file.synced = len(file.data)

    def wipe(self) -> None:
        """The disk is replaced by an empty one."""
        self._names, self._durable_names, self._name_changes = {}, {}, []

    def copy_from(self, other: "SimulatedDisk") -> None:
        """Hold what `other` holds: an old image of a disk that is brought back."""
        self.wipe()
        for name, file in other._names.items():
            copy = self._names[name] = SimulatedFile()
            copy.data[:] = file.data
            copy.synced = len(file.data)
        self._durable_names = dict(self._names)

    def damage(self, name: str, offset: int, data: bytes = b"\xff\xff\xff\xff") -> None:
        """Overwrite a place in a file."""
        self._names[name].data[offset : offset + len(data)] = data

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._names))

    def read(self, name: str) -> bytes:
        return bytes(self._names[name].data)

    def read_at(self, name: str, offset: int, size: int) -> bytes:
        return bytes(self._names[name].data[offset : offset + size])

    def size(self, name: str) -> int:
        return len(self._names[name].data)

    def create(self, name: str) -> File:
        self._step("create", name)
        self._change_name(name, SimulatedFile())
        return _Open(self, name, self._names[name])

    def extend(self, name: str) -> File:
        return _Open(self, name, self._names[name])

    def truncate(self, name: str, size: int) -> None:
        self._step("truncate", name)
        file = self._names[name]
        del file.data[size:]
        file.synced = len(file.data)
        self._step("truncated", name)

    def rename(self, old: str, new: str) -> None:
        self._step("rename", new)
        file = self._names[old]
        self._change_name(new, file)
        self._change_name(old, None)
        self._step("renamed", new)

    def remove(self, name: str) -> None:
        if name in self._names:
            self._step("remove", name)
            self._change_name(name, None)
            self._step("removed", name)

    def sync_names(self) -> None:
        self._step("sync", "names")
        self._durable_names = dict(self._names)
        self._name_changes = []
        self._step("synced", "names")

    def _change_name(self, name: str, file: SimulatedFile | None) -> None:
        self._name_changes.append((name, file))
        if file is None:
            del self._names[name]
        else:
            self._names[name] = file

    def _set_durable(self, name: str, file: SimulatedFile | None) -> None:
        if file is None:
            self._durable_names.pop(name, None)
        else:
            self._durable_names[name] = file

    def _step(self, operation: str, name: str) -> None:
        if self.is_full and operation in ("create", "rename", "write"):
            raise DiskUnwritable("the log cannot be written: no space left")
        kind = "incoming" if name.startswith("incoming") else name.partition("-")[0]
        self.failpoint(f"{operation} {kind.removesuffix('.tmp')}")


class _Open:
    def __init__(self, disk: SimulatedDisk, name: str, file: SimulatedFile) -> None:
        self._disk, self._name, self._file = disk, name, file

    def write(self, data: bytes) -> None:
        self._disk._step("write", self._name)
        self._file.data += data
        self._disk._step("written", self._name)

    def sync(self) -> None:
        self._disk._step("sync", self._name)
        self._file.synced = len(self._file.data)
        self._disk.syncs += 1
        self._disk._step("synced", self._name)

    def close(self) -> None:
        pass
