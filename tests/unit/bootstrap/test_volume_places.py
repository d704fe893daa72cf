"""A restore that is broken off at any step leaves the old volume or the new, and nothing beside it
once the agent has started."""

import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from warren import files
from warren.bootstrap import volume_places, volume_transfers
from warren.bootstrap.volume_places import remove_leftovers
from warren.bootstrap.volume_spool import Spool
from warren.config import Config
from warren.model.errors import FailedPrecondition
from warren.model.services import Secret
from warren.store import archives, volume_backup
from warren.store.volume_backup import VolumeHead

from tests.unit.bootstrap.test_volume_transfers import holder, wait_ended

OLD = {f"row{number}": "old" for number in range(20)}
NEW = {f"row{number}": "new" for number in range(20)}
HEAD = VolumeHead(
    cluster="demo",
    cluster_id="c1",
    volume="pgdata",
    node="w1",
    services=(),
    created_at=datetime(2026, 6, 1, 12, tzinfo=UTC),
    quiesce="stop",
    warren="0.1.0",
)
SEAL = volume_backup.new_seal(HEAD, Secret("correct horse battery"), chance=bytes(23))


class Killed(BaseException):
    """The module was killed: nothing of it is done any more, not what comes after an error."""


def archive(content: dict[str, str]) -> bytes:
    """A backup of a volume with these files."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, text in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return b"".join(archives.write(SEAL, [packed.getvalue()]))


ARCHIVE = archive(NEW)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(state_dir=tmp_path / "lib", volumes_dir=tmp_path / "volumes")


@pytest.fixture
def volume(config: Config) -> Path:
    directory = config.volumes_dir / "pgdata.v1"
    directory.mkdir(parents=True)
    for name, text in OLD.items():
        (directory / name).write_text(text)
    return directory


@pytest.fixture
def spool(config: Config) -> Iterator[Spool]:
    found = volume_places.spool_of(config, "pgdata")
    yield found
    found.remove()


def content(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in directory.iterdir()}


def everything(config: Config) -> list[str]:
    """Names of all that lies around."""
    roots = (config.volumes_dir, config.state_dir / "volume-transfers")
    return sorted(path.name for root in roots if root.exists() for path in root.iterdir())


def restore(spool: Spool, directory: Path, step: Callable[[str], None]) -> None:
    """As the modules do it; `step` hears what is next."""
    step("begin")
    volume_transfers.begin_unpacking(spool, directory, SEAL.key)
    step("first piece")
    spool.place_for(0).write_bytes(ARCHIVE[:1000])
    step("put")
    spool.put(0)
    step("second piece")
    spool.place_for(1).write_bytes(ARCHIVE[1000:])
    spool.put(1)
    step("end")
    spool.place_for(2)
    spool.put_end(2)
    step("wait for the end")
    spool.wait_end()
    step("finish")
    volume_transfers.finish_unpacking(spool, directory)
    step("forget")


STEPS = ("begin", "first piece", "put", "second piece", "end", "wait for the end", "finish")
WITHIN = ("_refuse_used", "beside", "_exchange", "files.sync_directory", "shutil.rmtree")
"""What finishing calls, in order."""


def die(spool: Spool) -> None:
    """All processes of the host do."""
    if spool.exists():
        process = holder(spool)
        os.kill(process, signal.SIGKILL)
        wait_ended(process)


@pytest.mark.parametrize("last", [*STEPS, "forget"])
def test_a_host_that_dies_between_two_steps_has_the_old_or_the_new(
    config: Config, volume: Path, spool: Spool, last: str
) -> None:
    def step(name: str) -> None:
        if name == last:
            raise Killed

    with pytest.raises(Killed):
        restore(spool, volume, step)
    die(spool)

    expected = NEW if last == "forget" else OLD
    assert content(volume) == expected
    remove_leftovers(config)
    assert content(volume) == expected
    assert everything(config) == ["pgdata.v1"]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("call", WITHIN)
def test_a_host_that_dies_in_the_last_step_has_the_old_or_the_new(
    config: Config,
    volume: Path,
    spool: Spool,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    after: bool,
) -> None:
    def step(name: str) -> None:
        if name == "finish":
            monkeypatch.setattr(f"warren.bootstrap.volume_transfers.{call}", broken)

    calls: dict[str, Callable[..., object]] = {
        "_refuse_used": volume_transfers._refuse_used,
        "beside": volume_places.beside,
        "_exchange": volume_transfers._exchange,
        "files.sync_directory": files.sync_directory,
        "shutil.rmtree": shutil.rmtree,
    }
    real = calls[call]

    def broken(*values: object, **named: object) -> None:
        if after:
            real(*values, **named)
        raise Killed

    with pytest.raises(Killed):
        restore(spool, volume, step)
    monkeypatch.undo()
    die(spool)

    place = WITHIN.index(call)
    exchanged = place > WITHIN.index("_exchange") or (call == "_exchange" and after)
    expected = NEW if exchanged else OLD
    assert content(volume) == expected
    remove_leftovers(config)
    assert content(volume) == expected
    assert everything(config) == ["pgdata.v1"]


@pytest.mark.parametrize("call", ["rename", "rmtree", "in rmtree"])
def test_what_the_clean_up_of_a_dying_host_left_goes_with_the_next(
    config: Config, volume: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    part = volume_places.beside(volume)
    part.mkdir()
    (part / "row").write_text("x")
    (part / "other").write_text("x")

    remove = shutil.rmtree

    def broken_rename(*_: object) -> None:
        raise Killed

    def broken_rmtree(path: Path, ignore_errors: bool = False) -> None:
        if path.exists() and path.suffix == ".leaving":
            if call == "in rmtree":
                (path / "row").unlink()
            raise Killed
        remove(path, ignore_errors=ignore_errors)

    with monkeypatch.context() as patch:
        if call == "rename":
            patch.setattr(Path, "rename", broken_rename)
        else:
            patch.setattr(shutil, "rmtree", broken_rmtree)
        with pytest.raises(Killed):
            remove_leftovers(config)

    assert content(volume) == OLD
    remove_leftovers(config)
    assert content(volume) == OLD
    assert everything(config) == ["pgdata.v1"]


def test_a_new_volume_is_there_whole_or_not_at_all(config: Config, spool: Spool) -> None:
    directory = config.volumes_dir / "pgdata.v1"

    def step(name: str) -> None:
        if name == "finish":
            raise Killed

    with pytest.raises(Killed):
        restore(spool, directory, step)
    die(spool)
    remove_leftovers(config)

    assert everything(config) == []


def test_a_restore_that_goes_on_is_left_alone(config: Config, volume: Path, spool: Spool) -> None:
    def step(name: str) -> None:
        assert remove_leftovers(config) == (), name

    restore(spool, volume, step)

    assert content(volume) == NEW


def test_who_finishes_a_restore_that_was_cleaned_away_gets_an_error(
    config: Config, volume: Path, spool: Spool
) -> None:
    """Its process was killed when all was unpacked."""

    def step(name: str) -> None:
        if name == "finish":
            die(spool)
            remove_leftovers(config)

    with pytest.raises(FailedPrecondition, match="volume pgdata: what packs and unpacks it was"):
        restore(spool, volume, step)

    assert content(volume) == OLD


def test_a_restore_that_is_cleaned_away_in_its_last_step_gives_no_part(
    config: Config, volume: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cleaned(directory: Path) -> None:
        assert directory == volume
        if not remove_leftovers(config):
            die(spool)
            assert remove_leftovers(config)

    def step(name: str) -> None:
        if name == "finish":
            monkeypatch.setattr(volume_transfers, "_refuse_used", cleaned)

    with pytest.raises(FailedPrecondition, match="cannot be exchanged"):
        restore(spool, volume, step)

    assert content(volume) == OLD


def test_only_what_restores_made_is_removed(config: Config, volume: Path) -> None:
    others = [".pgdata.v1.new", ".pgdata.v1.deleted", "pgdata.v1.restored", "lost+found"]
    for name in others:
        (config.volumes_dir / name).mkdir()
    part = config.volumes_dir / ".pgdata.v0.restored"
    part.mkdir()

    removed = remove_leftovers(config)

    assert removed == (part,)
    assert everything(config) == sorted(["pgdata.v1", *others])


def test_nobody_begins_before_a_run_that_was_given_up_has_ended(
    config: Config, volume: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in a long write, so it has not noticed; it would go on with what is brought next."""
    monkeypatch.setattr("warren.bootstrap.volume_spool._ENDING_SECONDS", 0.0)
    lock = spool.begin()
    with subprocess.Popen(
        (sys.executable, "-c", "input()"), stdin=subprocess.PIPE, pass_fds=(lock,)
    ) as slow:
        os.close(lock)
        spool.remove()

        with pytest.raises(FailedPrecondition, match="is being backed up or restored already"):
            volume_transfers.begin_unpacking(spool, volume, SEAL.key)

        assert remove_leftovers(config) == ()
        slow.kill()
