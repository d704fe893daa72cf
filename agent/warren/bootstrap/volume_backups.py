"""Backups of volumes as files on the control node: put together, checked, and thrown away.

Used by the action plugins of warren_volume_backup and warren_volume_restore, and by the command
line. What arrives here is encrypted already, and the passphrase never leaves this process.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from warren.bootstrap import backups
from warren.model.errors import WarrenError
from warren.model.services import Secret
from warren.store.archives import Seal
from warren.store.volume_backup import Archive, VolumeHead

SUFFIX = ".volume"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A volume's backup that is whole."""

    head: VolumeHead
    path: Path
    size_bytes: int
    sha256: str
    seal: Seal | None = None
    """With its key: the passphrase was given, and is right."""


def save(path: Path, pieces: Iterable[bytes]) -> Checked:
    """Write the pieces of an archive, whole or not at all, readable by their owner only."""
    backups.write(path, iter(pieces))
    try:
        return check(path)
    except WarrenError:
        path.unlink(missing_ok=True)
        raise


def check(path: Path, passphrase: Secret | None = None) -> Checked:
    """Read a backup to its end; with the passphrase, all that is in it. InvalidInput: why not."""
    with backups.opened(path) as file:
        archive = Archive(file, str(path))
        sha256 = archive.check()
        seal = None
        if passphrase is not None:
            seal = archive.seal(passphrase)
            for _ in archive.content(seal):
                pass
        return Checked(
            head=archive.volume_head,
            path=path,
            size_bytes=path.stat().st_size,
            sha256=sha256,
            seal=seal,
        )


def described(found: Checked) -> dict[str, object]:
    """As plain data, for people and programs."""
    head = found.head
    return {
        "file": str(found.path),
        "volume": head.volume,
        "node": head.node,
        "services": list(head.services),
        "quiesce": head.quiesce,
        "cluster": head.cluster,
        "cluster_id": head.cluster_id,
        "created_at": head.created_at.isoformat().replace("+00:00", "Z"),
        "warren": head.warren,
        "size_bytes": found.size_bytes,
        "sha256": found.sha256,
    }


def name_for(volume: str, now: datetime) -> str:
    """`pg-data-20260601T120000Z.volume`."""
    return f"{volume}-{now:%Y%m%dT%H%M%SZ}{SUFFIX}"


def superfluous(directory: Path, cluster_id: str, volume: str, keep: int) -> tuple[Path, ...]:
    """All but the newest `keep` backups of a volume in a directory, oldest first."""

    def made_at(file: BinaryIO, name: str) -> datetime | None:
        head = Archive(file, name).volume_head
        return head.created_at if (head.cluster_id, head.volume) == (cluster_id, volume) else None

    return backups.outdated(directory, SUFFIX, made_at, keep)
