"""Backups as files on the machine that asks for them: made, checked, and thrown away.

Used by the command line and by the Ansible modules on the control node. The state comes from a
manager in the clear, over mutual TLS, and is encrypted here, in memory: no disk sees it, and the
passphrase never leaves this process.
"""

import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from warren import files
from warren.client import Client
from warren.model.errors import InvalidInput, NotFound
from warren.model.services import Secret
from warren.model.views import BackupHead
from warren.state.cluster import ClusterState
from warren.store import archives, backup, passphrases, sealing
from warren.store.backup import Archive

PASSPHRASE_VARIABLE = "WARREN_BACKUP_PASSPHRASE"
SUFFIX = ".backup"
_STREAM_TIMEOUT = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A backup that is whole."""

    head: BackupHead
    path: Path
    size_bytes: int
    sha256: str
    opened: bool = False
    """The passphrase was given, and is right."""
    locked: bool = False
    """Its secrets are under autolock, so that none could be opened here."""
    damaged: tuple[str, ...] = ()
    """Why secrets in it do not open. The rest can be restored."""


def passphrase_from(file: str = "") -> Secret:
    """The passphrase in a file, or else in the environment. InvalidInput: there is none."""
    if file:
        try:
            text = Path(file).read_text().rstrip("\r\n")
        except OSError as error:
            raise InvalidInput(f"cannot be read: {error.strerror}", path=file) from error
    else:
        text = os.environ.get(PASSPHRASE_VARIABLE, "")
        if not text:
            message = f"is missing: give a file of it, or set {PASSPHRASE_VARIABLE}"
            raise InvalidInput(message, path="backup passphrase")
    archives.check_passphrase(Secret(text))
    return Secret(text)


def save(client: Client, path: Path, passphrase: Secret) -> Checked:
    """Take a backup and write it, whole or not at all, readable by its owner only."""
    archives.check_passphrase(passphrase)
    require_directory(path.parent)
    client.get_cluster()  # whether anybody answers is known within the client's own timeout
    head, pieces = client.backup(timeout=_STREAM_TIMEOUT)
    chance = secrets.token_bytes(archives.CHANCE_BYTES)
    write(path, backup.write(head, pieces, passphrase, chance=chance))
    return check(path)


def check(path: Path, passphrase: Secret | None = None) -> Checked:
    """Read a backup to its end, with the passphrase also what is in it. InvalidInput: why not."""
    return _read(path, passphrase)[0]


def read(path: Path, passphrase: Secret) -> tuple[Checked, ClusterState]:
    """The state in a backup."""
    return _read(path, passphrase)


def _read(path: Path, passphrase: Secret | None) -> tuple[Checked, ClusterState]:
    """What is known of it; without a passphrase, an empty state."""
    with opened(path) as file:
        archive = Archive(file, str(path))
        sha256 = archive.check()
        state = archive.state(passphrase) if passphrase is not None else ClusterState()
        checked = Checked(
            head=archive.head,
            path=path,
            size_bytes=path.stat().st_size,
            sha256=sha256,
            opened=passphrase is not None,
            locked=state.secret_keys is not None and state.secret_keys.lock is not None,
            damaged=sealing.damaged(state),
        )
    return checked, state


def rewrap(path: Path, passphrase: Secret, copy: Path) -> Secret:
    """Write a copy under a passphrase of its own, which is answered; for one journey of it.

    The passphrase is random, so making it hard to try buys nothing.
    """
    once = Secret(secrets.token_urlsafe(32))
    with opened(path) as file:
        archive = Archive(file, str(path))
        archive.check()
        pieces = archive.pieces(passphrase)
        chance = secrets.token_bytes(archives.CHANCE_BYTES)
        parts = backup.write(archive.head, pieces, once, chance=chance, cost=passphrases.CHEAP)
        write(copy, parts)
    return once


def described(found: Checked) -> dict[str, object]:
    """As plain data, for people and programs."""
    head = found.head
    return {
        "file": str(found.path),
        "cluster": head.cluster,
        "cluster_id": head.cluster_id,
        "created_at": head.created_at.isoformat().replace("+00:00", "Z"),
        "index": head.index,
        "nodes": head.nodes,
        "services": head.services,
        "warren": head.warren,
        "size_bytes": found.size_bytes,
        "sha256": found.sha256,
    }


def name_for(cluster: str, now: datetime) -> str:
    """`demo-20260601T120000Z.backup`."""
    return f"{cluster}-{now:%Y%m%dT%H%M%SZ}{SUFFIX}"


def superfluous(directory: Path, cluster_id: str, keep: int) -> tuple[Path, ...]:
    """All but the newest `keep` backups of a cluster in a directory, oldest first."""

    def made_at(file: BinaryIO, name: str) -> datetime | None:
        head = Archive(file, name).head
        return head.created_at if head.cluster_id == cluster_id else None

    return outdated(directory, SUFFIX, made_at, keep)


def outdated(
    directory: Path, suffix: str, made_at: Callable[[BinaryIO, str], datetime | None], keep: int
) -> tuple[Path, ...]:
    """All but the newest `keep` backups of one thing in a directory, oldest first.

    By the time in their heads, whatever their names; None: of another thing. Files that are no
    backups are left alone.
    """
    found = []
    for path in directory.glob(f"*{suffix}"):
        try:
            with path.open("rb") as file:
                made = made_at(file, str(path))
        except (OSError, InvalidInput):
            continue
        if made is not None:
            found.append((made, path))
    found.sort()
    return tuple(path for _, path in found[: max(0, len(found) - keep)])


def opened(path: Path) -> BinaryIO:
    """The file. NotFound, InvalidInput: it cannot be read."""
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}") from None
    except OSError as error:
        raise InvalidInput(f"cannot be read: {error.strerror}", path=str(path)) from error


def require_directory(directory: Path) -> None:
    """NotFound: there is none."""
    if not directory.is_dir():
        raise NotFound(f"there is no directory {directory}")


def write(path: Path, parts: Iterator[bytes]) -> None:
    """Durably. A part that cannot be had, or written, leaves nothing behind."""
    try:
        files.write_whole(path, parts)
    except OSError as error:
        raise InvalidInput(f"cannot be written: {error.strerror}", path=str(path)) from error
