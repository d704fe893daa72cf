"""For a cluster that lost its majority for good: look at a log, go on from it alone, set it aside.

All of it works on the files of a manager whose daemon is stopped, and asks nobody: there is nobody
to ask. Nothing is ever deleted; what is replaced is kept beside it as `raft.before-<time>`. Only
the log changes: identity, certificates and containers stay as they are.
"""

import shutil
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from warren import files
from warren.bootstrap import node_files
from warren.bootstrap.node_files import Membership
from warren.config import Config
from warren.model.errors import FailedPrecondition, WarrenError
from warren.model.nodes import NodeRole
from warren.store.raft import inspection, renewal
from warren.store.raft.disks import RealDisk
from warren.store.raft.inspection import LogFiles
from warren.store.raft.journal import Identity

_NEW, _UNFINISHED = "raft.new", "raft.unfinished"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a manager's disk holds."""

    membership: Membership
    log: LogFiles | None
    """None: there is no log, or none that it learnt anything in yet, or it cannot be used."""
    trouble: str = ""
    """Why it cannot."""
    written_at: datetime | None = None
    """When its journal was last written to."""
    kept: tuple[str, ...] = ()
    """Directories of logs that were replaced."""

    @property
    def is_alone(self) -> bool:
        """It is the only member of its own log."""
        return self.log is not None and self.log.configuration.ids == {self.membership.node_id}


def inspect(config: Config) -> Finding:
    """Look, and change nothing. FailedPrecondition: this is no manager, or its daemon runs."""
    membership = _manager(config)
    directory = node_files.raft_path(config)
    kept = tuple(sorted(p.name for p in config.state_dir.glob(f"{directory.name}.before-*")))
    if not directory.is_dir():
        return Finding(membership=membership, log=None, kept=kept)
    disk = RealDisk(directory)
    try:
        log, trouble = inspection.read(disk, _identity(membership)), ""
    except WarrenError as error:
        log, trouble = None, str(error)
    finally:
        disk.close()
    return Finding(
        membership=membership,
        log=log if log is not None and log.last_index else None,
        trouble=trouble,
        written_at=_written_at(directory),
        kept=kept,
    )


def report(found: Finding) -> dict[str, object]:
    """A finding as plain data, for `warren-manager --inspect` and the playbook."""
    membership, log = found.membership, found.log
    known: dict[str, object] = {
        "cluster": membership.cluster,
        "cluster_id": membership.cluster_id,
        "name": membership.name,
        "node_id": membership.node_id,
        "has_log": log is not None,
        "alone": found.is_alone,
        "trouble": found.trouble,
        "written_at": found.written_at.isoformat() if found.written_at else "",
        "kept": list(found.kept),
        "names": {manager.node_id: manager.name for manager in membership.managers},
    }
    if log is None:
        return known
    return {
        **known,
        "term": log.term,
        "last_index": log.last_index,
        "last_term": log.last_term,
        "committed_index": log.committed_index,
        "snapshot_index": log.snapshot.index,
        "members": [asdict(member) for member in log.configuration.members],
        "removed": list(log.configuration.removed),
    }


def stand_alone(config: Config, removed: Sequence[str], now: datetime) -> bool:
    """Make this manager the only member of its log; `removed` are ids that may never come back.

    Answers whether anything was to be done. After a crash, call it again.
    """
    membership, directory = _manager(config), node_files.raft_path(config)
    new = config.state_dir / _NEW
    if new.exists() and not directory.exists():
        _rename(new, directory)
        return True
    shutil.rmtree(new, ignore_errors=True)
    found = inspect(config)
    if found.log is None:
        raise FailedPrecondition(found.trouble or f"{membership.name} has no log to go on from")
    if found.is_alone and set(removed) <= set(found.log.configuration.removed):
        return False
    unfinished = config.state_dir / _UNFINISHED
    shutil.rmtree(unfinished, ignore_errors=True)
    source = RealDisk(directory)
    try:
        _write(source, found.log, unfinished, membership, removed)
        _rename(unfinished, new)
        _rename(directory, _kept_as(directory, now))
    finally:
        source.close()
    _rename(new, directory)
    return True


def set_aside(config: Config, now: datetime) -> bool:
    """Keep this manager's log under another name, so that it learns all anew when it starts."""
    _manager(config)
    directory = node_files.raft_path(config)
    if not directory.is_dir():
        return False
    disk = RealDisk(directory)
    try:
        if not inspection.has_log(disk):
            return False
        _rename(directory, _kept_as(directory, now))
    finally:
        disk.close()
    return True


def _write(
    source: RealDisk,
    log: LogFiles,
    directory: Path,
    membership: Membership,
    removed: Sequence[str],
) -> None:
    target = RealDisk(directory)
    try:
        renewal.continue_alone(
            source,
            log,
            target,
            _identity(membership),
            membership.raft_address,
            removed=removed,
            new_disk_id=uuid.uuid4().hex,
        )
    finally:
        target.close()


def _manager(config: Config) -> Membership:
    membership = node_files.read_membership(config)
    if membership is None:
        raise FailedPrecondition("this host is not a member of a cluster")
    if NodeRole.MANAGER not in membership.roles:
        raise FailedPrecondition(f"{membership.name} is a worker: it has no log")
    return membership


def _identity(membership: Membership) -> Identity:
    return Identity(cluster_id=membership.cluster_id, node_id=membership.node_id)


def _kept_as(directory: Path, now: datetime) -> Path:
    return directory.with_name(f"{directory.name}.before-{now:%Y%m%dT%H%M%S.%fZ}")


def _rename(old: Path, new: Path) -> None:
    old.rename(new)
    files.sync_directory(new.parent)


def _written_at(directory: Path) -> datetime | None:
    times = [path.stat().st_mtime for path in directory.glob("journal-*")]
    return datetime.fromtimestamp(max(times), UTC) if times else None
