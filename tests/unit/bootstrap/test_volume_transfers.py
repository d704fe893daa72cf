"""A directory goes through an archive and comes back as it was, or nothing is touched."""

import contextlib
import io
import os
import select
import shutil
import socket
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from warren.bootstrap import volume_spool, volume_transfers
from warren.bootstrap.volume_spool import Spool
from warren.model.errors import FailedPrecondition, InvalidInput, NotFound
from warren.model.services import Secret
from warren.store import archives, volume_backup
from warren.store.volume_backup import VolumeHead

PASSPHRASE = Secret("correct horse battery")
HEAD = VolumeHead(
    cluster="demo",
    cluster_id="c1",
    volume="pgdata",
    node="w1",
    services=("db",),
    created_at=datetime(2026, 6, 1, 12, tzinfo=UTC),
    quiesce="stop",
    warren="0.1.0",
)
SEAL = volume_backup.new_seal(HEAD, PASSPHRASE, chance=bytes(range(23)))
"""Made once, as its key costs a third of a second."""


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(tmp_path / "transfers" / "pgdata", piece_bytes=1 << 20)
    yield spool
    spool.remove()


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A directory with all that is easily lost."""
    directory = tmp_path / "volumes" / "pgdata"
    directory.mkdir(parents=True)
    (directory / "base").mkdir(mode=0o750)
    (directory / "base" / "rows").write_bytes(os.urandom(200_000))
    (directory / "link").symlink_to("base/rows")
    os.link(directory / "base" / "rows", directory / "again")
    with (directory / "sparse").open("wb") as file:
        file.truncate(8 << 20)
        file.seek(4 << 20)
        file.write(b"middle")
    os.setxattr(directory / "base", "user.made-by", b"test")
    os.chown(directory / "base" / "rows", 4321, 4322)
    (directory / "base" / "rows").chmod(0o4640)
    os.chown(directory, 70, 71)
    directory.chmod(0o700)
    return directory


def description(directory: Path) -> dict[str, tuple[object, ...]]:
    """Of each name: kind, mode, owner, time, links, extended attributes and content."""
    found: dict[str, tuple[object, ...]] = {}
    for path in (directory, *sorted(directory.rglob("*"))):
        facts = path.lstat()
        content: object = None
        if path.is_symlink():
            content = path.readlink()
        elif path.is_file():
            content = path.read_bytes()
        found[str(path.relative_to(directory))] = (
            facts.st_mode,
            facts.st_uid,
            facts.st_gid,
            facts.st_mtime_ns // 10**9,
            facts.st_nlink if path.is_file() else 0,
            None if path.is_symlink() else os.listxattr(path),
            content,
        )
    return found


def fetched(spool: Spool) -> bytes:
    """What the control node gets."""
    data, number = b"", 0
    while piece := spool.piece(number):
        data += piece.read_bytes()
        number += 1
    return data


def packed(spool: Spool, directory: Path, *, may_change: bool = False) -> bytes:
    volume_transfers.begin_packing(spool, directory, SEAL, may_change=may_change)
    data = fetched(spool)
    spool.wait_end()
    spool.remove()
    return data


def bring(spool: Spool, data: bytes, size: int = 100_000) -> None:
    number = 0
    for number, place in enumerate(range(0, len(data), size), start=1):
        spool.place_for(number - 1).write_bytes(data[place : place + size])
        spool.put(number - 1)
    spool.place_for(number)
    spool.put_end(number)


def restore(spool: Spool, directory: Path, data: bytes, key: bytes = SEAL.key) -> None:
    volume_transfers.begin_unpacking(spool, directory, key)
    try:
        bring(spool, data)
        volume_transfers.finish_unpacking(spool, directory)
    finally:
        spool.remove()


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_directory_comes_back_as_it_was(spool: Spool, volume: Path, tmp_path: Path) -> None:
    before = description(volume)
    new = tmp_path / "elsewhere" / "copy"

    data = packed(spool, volume)
    restore(spool, new, data)

    archive = volume_backup.Archive(io.BytesIO(data), "pgdata.volume")
    archive.check()
    assert archive.volume_head == HEAD
    assert description(new) == before
    assert (new / "sparse").stat().st_blocks * 512 < 1 << 20
    assert names(new.parent) == ["copy"]


def test_what_the_volume_held_gives_way_as_a_whole(spool: Spool, volume: Path) -> None:
    before = description(volume)
    data = packed(spool, volume)
    (volume / "base" / "rows").write_bytes(b"spoiled")
    (volume / "later").write_bytes(b"x")

    restore(spool, volume, data)

    assert description(volume) == before


def test_pieces_wait_until_they_are_fetched(spool: Spool, tmp_path: Path) -> None:
    """At no time is more of the archive on the node than the pieces that may lie there."""
    directory = tmp_path / "large"
    directory.mkdir()
    (directory / "noise").write_bytes(os.urandom((volume_spool.AHEAD + 4) * spool.piece_bytes))

    volume_transfers.begin_packing(spool, directory, SEAL, may_change=False)
    most, number = 0, 0
    while spool.piece(number):
        number += 1
        lying = [path for path in spool.directory.iterdir() if path.name.isdigit()]
        most = max(most, len(lying))

    assert number > volume_spool.AHEAD + 2
    assert most <= volume_spool.AHEAD


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda data: data[:-40], "cut off"),
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "its checksum does not match"),
        (lambda data: data[:5000] + bytes([data[5000] ^ 1]) + data[5001:], "was altered"),
        (lambda data: data + b"x", "its checksum does not match"),
    ],
)
def test_a_harmed_archive_touches_nothing(
    spool: Spool, volume: Path, harm: object, said: str
) -> None:
    data = packed(spool, volume)
    before = description(volume)

    with pytest.raises(FailedPrecondition, match=said):
        restore(spool, volume, harm(data))  # type: ignore[operator]

    assert description(volume) == before


def test_a_wrong_key_touches_nothing(spool: Spool, volume: Path) -> None:
    data = packed(spool, volume)
    before = description(volume)

    with pytest.raises(FailedPrecondition, match="was altered"):
        restore(spool, volume, data, key=bytes(32))

    assert description(volume) == before


def test_who_gives_up_leaves_nothing(spool: Spool, volume: Path) -> None:
    data = packed(spool, volume)
    volume_transfers.begin_unpacking(spool, volume, SEAL.key)
    spool.place_for(0).write_bytes(data[:9000])
    spool.put(0)
    process = holder(spool)

    spool.remove()

    wait_ended(process)
    assert names(volume.parent) == ["pgdata"]
    assert names(spool.directory.parent) == []


def test_a_volume_is_carried_once_at_a_time(spool: Spool, volume: Path) -> None:
    volume_transfers.begin_packing(spool, volume, SEAL, may_change=False)

    with pytest.raises(FailedPrecondition, match="pgdata is being backed up or restored already"):
        volume_transfers.begin_unpacking(spool, volume, SEAL.key)

    assert fetched(spool)


def test_a_killed_packer_is_told(spool: Spool, tmp_path: Path) -> None:
    directory = tmp_path / "large"
    directory.mkdir()
    (directory / "noise").write_bytes(os.urandom(8 << 20))
    volume_transfers.begin_packing(spool, directory, SEAL, may_change=False)
    assert spool.piece(0)
    os.kill(holder(spool), 9)

    with pytest.raises(FailedPrecondition, match="volume pgdata: what packs and unpacks it was"):
        fetched(spool)


def test_a_volume_that_changes_is_refused_unless_it_may(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tar tells of a file that changes by its exit code; here, always."""
    directory = tmp_path / "changing"
    directory.mkdir()
    programs = tmp_path / "programs"
    programs.mkdir()
    tar = programs / "tar"
    tar.write_text(
        f'#!/bin/sh\n{shutil.which("tar")} "$@"\necho "tar: ./x: file changed" >&2\nexit 1\n'
    )
    tar.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")

    volume_transfers.begin_packing(spool, directory, SEAL, may_change=True)
    assert fetched(spool)
    tolerated = spool.wait_end()
    spool.remove()

    volume_transfers.begin_packing(spool, directory, SEAL, may_change=False)
    with pytest.raises(
        FailedPrecondition, match=r"changed while it was read: tar: \./x: file changed"
    ):
        fetched(spool)
    assert tolerated == volume_spool.End(changed=True)


def test_a_mounted_volume_is_not_restored(spool: Spool, volume: Path) -> None:
    """A process in a mount namespace of its own, as a container's, has it."""
    script = f"mount --bind {volume} /mnt && echo ready && exec cat"
    with subprocess.Popen(
        ("unshare", "--mount", "sh", "-c", script), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"

        with pytest.raises(FailedPrecondition, match=f"is used by process {process.pid}"):
            volume_transfers.begin_unpacking(spool, volume, SEAL.key)

        process.kill()


def test_a_socket_in_the_volume_is_passed_over(spool: Spool, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    directory.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / "s"))
    (directory / "file").write_bytes(b"x")

    restore(spool, tmp_path / "new", packed(spool, directory))

    assert names(tmp_path / "new") == ["file"]


def test_a_directory_that_is_not_there_is_no_volume(spool: Spool, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no directory"):
        volume_transfers.begin_packing(spool, tmp_path / "no", SEAL, may_change=False)


def test_a_backup_of_a_cluster_is_no_backup_of_a_volume() -> None:
    data = b"warren-backup\n" + bytes(100)

    with pytest.raises(InvalidInput, match="x: is not a volume's backup of Warren"):
        volume_backup.Archive(io.BytesIO(data), "x")


def holder(spool: Spool) -> int:
    """The process that has the lock."""
    wanted = str(spool.directory.with_name(f"{spool.directory.name}.lock"))
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if str(link.readlink()) == wanted:
                return int(link.parent.parent.name)
    pytest.fail("nobody has the lock")


def wait_ended(process: int) -> None:
    """It is no child of the test."""
    descriptor = os.pidfd_open(process)
    try:
        assert select.select([descriptor], [], [], 60)[0], "it has not ended"
    finally:
        os.close(descriptor)


def test_the_key_is_that_of_the_archive_alone() -> None:
    other = volume_backup.new_seal(HEAD, PASSPHRASE, chance=bytes(range(1, 24)))

    assert other.key != SEAL.key
    assert "key" not in repr(other)
    assert (
        archives.Archive(
            io.BytesIO(b"".join(archives.write(other, [b"x"]))), "x", volume_backup.KIND
        ).seal(PASSPHRASE)
        == other
    )
