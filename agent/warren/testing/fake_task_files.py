"""Secrets and configs of a host, in this process. Passes the contract of `ports.TaskFiles`."""

from collections.abc import Sequence
from pathlib import Path

from warren.drivers.ports import Mount, PlacedFile
from warren.model.secrets import SECRETS_ROOT, FileKey, FileKind, TaskFile


class FakeTaskFiles:
    """A host's memory and disk."""

    def __init__(self) -> None:
        self.files: dict[FileKey, TaskFile] = {}
        self.placed: dict[str, tuple[PlacedFile, ...]] = {}

    def reboot(self) -> None:
        """What was in memory is gone."""
        self.placed.clear()
        for key in [key for key in self.files if key.kind is FileKind.SECRET]:
            del self.files[key]

    def kept(self) -> tuple[TaskFile, ...]:
        return tuple(self.files.values())

    def keep(self, file: TaskFile) -> None:
        self.files[file.key] = file

    def drop(self, key: FileKey) -> None:
        self.files.pop(key, None)

    def place(self, task_id: str, files: Sequence[PlacedFile]) -> tuple[Mount, ...]:
        self.remove(task_id)
        if not files:
            return ()
        self.placed[task_id] = tuple(files)
        root = Path("/fake") / task_id
        secrets = [file for file in files if file.path.startswith(f"{SECRETS_ROOT}/")]
        whole = [Mount(source=root / "secrets", target=SECRETS_ROOT)] if secrets else []
        others = (file for file in files if file not in secrets)
        single = (
            Mount(source=root / "configs" / str(place), target=file.path)
            for place, file in enumerate(others)
        )
        return (*whole, *single)

    def remove(self, task_id: str) -> None:
        self.placed.pop(task_id, None)

    def task_ids(self) -> frozenset[str]:
        return frozenset(self.placed)
