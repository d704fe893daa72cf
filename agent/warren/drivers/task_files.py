"""Secrets and configs as files of this host. Implements `ports.TaskFiles`.

    <run_dir>/files/<name>.<number>              secrets that tasks of the host may need (tmpfs)
    <state_dir>/worker/configs/<name>.<number>   configs, on the disk
    <run_dir>/tasks/<task id>/secrets/…          mounted as a whole at /run/secrets
    <run_dir>/tasks/<task id>/configs/<place>    mounted one by one

A secret is in memory alone: a directory that is not is refused. Nobody but root may pass through
`tasks/`, so what a task sees is what was mounted for it.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from warren.drivers.ports import Mount, PlacedFile
from warren.model.errors import DriverError
from warren.model.secrets import SECRETS_ROOT, FileKey, FileKind, TaskFile

_IN_MEMORY = ("tmpfs", "ramfs")
_MOUNTS = Path("/proc/self/mounts")


class HostTaskFiles:
    """One per worker."""

    def __init__(self, run_dir: Path, state_dir: Path) -> None:
        self._kept = {
            FileKind.SECRET: run_dir / "files",
            FileKind.CONFIG: state_dir / "worker" / "configs",
        }
        self._tasks = run_dir / "tasks"
        self._run_dir = run_dir

    def kept(self) -> tuple[TaskFile, ...]:
        found = []
        for kind, directory in self._kept.items():
            for path in sorted(directory.glob("[!.]*")):
                name, _, number = path.name.rpartition(".")
                if name and number.isdecimal():
                    key = FileKey(kind=kind, name=name, number=int(number))
                    found.append(TaskFile(key=key, data=path.read_bytes()))
        return tuple(found)

    def keep(self, file: TaskFile) -> None:
        directory = self._kept[file.key.kind]
        if file.key.kind is FileKind.SECRET:
            self._require_memory()
        with _translated(f"keep {file.key}"):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(directory / _name(file.key), PlacedFile(path="", data=file.data))

    def drop(self, key: FileKey) -> None:
        with _translated(f"drop {key}"):
            (self._kept[key.kind] / _name(key)).unlink(missing_ok=True)

    def place(self, task_id: str, files: Sequence[PlacedFile]) -> tuple[Mount, ...]:
        if not files:
            self.remove(task_id)
            return ()
        self._require_memory()
        with _translated(f"place the files of {task_id}"):
            self._tasks.mkdir(mode=0o700, parents=True, exist_ok=True)
            return self._placed(self._tasks / task_id, files)

    def remove(self, task_id: str) -> None:
        with _translated(f"remove the files of {task_id}"):
            if (self._tasks / task_id).exists():
                shutil.rmtree(self._tasks / task_id)

    def task_ids(self) -> frozenset[str]:
        return frozenset(path.name for path in self._tasks.glob("*"))

    @staticmethod
    def _placed(directory: Path, files: Sequence[PlacedFile]) -> tuple[Mount, ...]:
        mounts = []
        _make(directory / "configs")
        secrets = [file for file in files if file.path.startswith(f"{SECRETS_ROOT}/")]
        if secrets:
            _make(directory / "secrets")
            mounts.append(Mount(source=directory / "secrets", target=SECRETS_ROOT))
        for file in secrets:
            path = directory / "secrets" / file.path.removeprefix(f"{SECRETS_ROOT}/")
            for parent in reversed(path.relative_to(directory).parents[:-2]):
                _make(directory / parent)
            _write(path, file)
        for place, file in enumerate(file for file in files if file not in secrets):
            path = directory / "configs" / str(place)
            _write(path, file)
            mounts.append(Mount(source=path, target=file.path))
        return tuple(mounts)

    def _require_memory(self) -> None:
        """DriverError unless the directory is in memory. Looked at each time: it may be mounted
        over, and a secret on a disk cannot be taken back."""
        place, kind = _file_system(self._run_dir)
        if kind not in _IN_MEMORY:
            message = f"{self._run_dir} is on {kind} ({place}), and secrets may only be in memory"
            raise DriverError(f"{message}: mount a tmpfs there")


def _file_system(path: Path) -> tuple[str, str]:
    """Mount point and type of the file system that holds the path, whether it exists or not."""
    resolved = str(path.resolve())
    best, kind = "", "nothing"
    for line in _MOUNTS.read_text().splitlines():
        _, point, found, *_ = line.split(" ")
        inside = f"{resolved}/".startswith(f"{point.rstrip('/')}/")
        if inside and len(point) >= len(best):
            best, kind = point, found
    return best, kind


def _make(directory: Path) -> None:
    """Whoever runs in the container may go through; nobody else gets here."""
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o755)


def _write(path: Path, file: PlacedFile) -> None:
    """Never readable for more than it shall be, and never half."""
    temporary = path.with_name(f".{path.name}.warren-new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(file.data)
        opened.flush()
        owner = os.fstat(descriptor)
        if (owner.st_uid, owner.st_gid) != (file.uid, file.gid):
            os.fchown(descriptor, file.uid, file.gid)
        os.fchmod(descriptor, file.mode)
    temporary.replace(path)


def _name(key: FileKey) -> str:
    return f"{key.name}.{key.number}"


class _translated:  # noqa: N801 - reads as a word
    """What the host refuses is a DriverError that says what for."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if isinstance(error, OSError):
            raise DriverError(f"cannot {self._what}: {error.strerror or error}") from error
