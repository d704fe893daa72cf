"""Files that survive anything: written whole or not at all, and on the disk when that returns."""

import os
from collections.abc import Iterable
from pathlib import Path


def write_whole(
    path: Path, data: bytes | Iterable[bytes], *, mode: int = 0o600, durable: bool = True
) -> None:
    """Replace `path` by `data`, at once or in parts. A part that cannot be had, or written, leaves
    what was there. If not `durable`, the new survives the process, and not always the host."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.writelines((data,) if isinstance(data, bytes) else data)
            file.flush()
            if durable:
                os.fsync(descriptor)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    if durable:
        sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Names that were given or taken in it are durable after this."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
