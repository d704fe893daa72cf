"""Begins a log anew with a single member: of a state that was kept, or of one survivor's log.

Both write into an empty directory, which takes its place only when it is complete; what was there
before is never changed. The first member of the new log counts alone, so it leads at its first
start, and others are added to it as to any cluster. Whoever was a member and is not needed any more
is noted as removed: it can never come back with what it has.
"""

from collections.abc import Iterable, Sequence

from warren.store.raft import members
from warren.store.raft.disks import Disk
from warren.store.raft.entries import Entry, Kind
from warren.store.raft.inspection import LogFiles
from warren.store.raft.journal import Identity, open_journal
from warren.store.raft.members import REMOVED_REMEMBERED, Configuration, Member
from warren.store.raft.snapshot_files import Meta, SnapshotFiles

BATCH = 1000
FIRST_TERM = 1


def found_from_state(
    disk: Disk,
    identity: Identity,
    address: str,
    snapshot: Iterable[bytes],
    *,
    removed: Sequence[str] = (),
    new_disk_id: str,
) -> None:
    """A log that begins with `snapshot`, in pieces as a state machine gives it."""
    meta = Meta(index=1, term=FIRST_TERM, configuration=_alone(identity, address, removed))
    files = SnapshotFiles(disk, identity.cluster_id)
    files.publish(files.write(meta, snapshot))
    journal, _ = open_journal(disk, identity, new_disk_id)
    journal.save_state(FIRST_TERM, None)
    journal.restart(meta.index, meta.term)
    journal.sync()
    journal.close()


def continue_alone(
    source: Disk,
    files: LogFiles,
    disk: Disk,
    identity: Identity,
    address: str,
    *,
    removed: Sequence[str] = (),
    new_disk_id: str,
) -> None:
    """The log that `source` holds, which `files` was read from, with a single member from its end.

    Every entry is kept, also the last ones, of which nobody can tell any more whether they were
    committed; the change of members is one more, in a term of its own.
    """
    _copy_snapshot(source, disk)
    journal, _ = open_journal(disk, identity, new_disk_id)
    term = files.term + 1
    journal.save_state(term, None)
    if files.base_index:
        journal.restart(files.base_index, files.base_term)
    for start in range(0, len(files.entries), BATCH):
        journal.append(files.entries[start : start + BATCH])
        journal.sync()
    known = (*files.configuration.removed, *removed)
    alone = members.to_bytes(_alone(identity, address, known))
    journal.append((Entry(files.last_index + 1, term, Kind.MEMBERS, alone),))
    journal.sync()
    journal.close()


def _alone(identity: Identity, address: str, removed: Sequence[str]) -> Configuration:
    me = Member(node_id=identity.node_id, address=address, voter=True)
    others = tuple(dict.fromkeys(each for each in removed if each != me.node_id))
    return Configuration(members=(me,), removed=others[-REMOVED_REMEMBERED:])


def _copy_snapshot(source: Disk, disk: Disk) -> None:
    names = [name for name in source.names() if name.startswith("snapshot-")]
    for name in names[-1:]:
        copy = disk.create("snapshot.tmp")
        copy.write(source.read(name))
        copy.sync()
        copy.close()
        disk.rename("snapshot.tmp", name)
        disk.sync_names()
