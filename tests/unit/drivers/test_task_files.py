"""The contract of `ports.TaskFiles`, and what only a real host can get wrong."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from warren.drivers.ports import Mount, PlacedFile, TaskFiles
from warren.drivers.task_files import HostTaskFiles
from warren.model.errors import DriverError
from warren.model.secrets import FileKey, FileKind, TaskFile
from warren.testing.fake_task_files import FakeTaskFiles

SECRET = TaskFile(key=FileKey(kind=FileKind.SECRET, name="db", number=2), data=b"marker-51")
CONFIG = TaskFile(key=FileKey(kind=FileKind.CONFIG, name="nginx", number=1), data=b"\0\xff")


@pytest.fixture
def memory() -> Iterator[Path]:
    """A directory in memory."""
    directory = Path(tempfile.mkdtemp(dir="/dev/shm", prefix="warren-"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(params=["host", "fake"])
def open_files(
    request: pytest.FixtureRequest, memory: Path, tmp_path: Path
) -> Callable[[], TaskFiles]:
    """Opens the files of one host, as each of its workers does."""
    fake = FakeTaskFiles()
    if request.param == "fake":
        return lambda: fake
    return lambda: HostTaskFiles(memory / "run", tmp_path / "state")


def test_the_next_worker_has_what_was_kept(open_files: Callable[[], TaskFiles]) -> None:
    assert open_files().kept() == ()
    for file in (SECRET, CONFIG):
        open_files().keep(file)

    assert set(open_files().kept()) == {SECRET, CONFIG}

    for _ in range(2):
        open_files().drop(SECRET.key)
    assert open_files().kept() == (CONFIG,)


def test_placed_files_are_mounted_until_they_are_removed(
    open_files: Callable[[], TaskFiles],
) -> None:
    files = open_files()
    placed = (
        PlacedFile(path="/run/secrets/db", data=b"one"),
        PlacedFile(path="/etc/nginx.conf", data=b"two"),
        PlacedFile(path="/run/secrets/tls/key", data=b"three"),
        PlacedFile(path="/run/configs/x", data=b"four"),
    )

    mounts = files.place("web-1-a", placed)

    targets = [mount.target for mount in mounts]
    assert targets == ["/run/secrets", "/etc/nginx.conf", "/run/configs/x"]
    assert files.place("web-1-a", placed) == mounts
    assert open_files().task_ids() == {"web-1-a"}
    for _ in range(2):
        files.remove("web-1-a")
    assert files.task_ids() == frozenset()
    assert files.place("web-2-a", ()) == ()


def test_files_are_as_they_shall_be_and_closed_to_everybody_else(
    memory: Path, tmp_path: Path
) -> None:
    files = HostTaskFiles(memory, tmp_path)
    placed = (
        PlacedFile(path="/run/secrets/tls/key", data=b"one", uid=70, gid=71, mode=0o440),
        PlacedFile(path="/etc/nginx.conf", data=b"two", mode=0o444),
    )

    mounts = files.place("web-1-a", placed)

    root = memory / "tasks/web-1-a"
    assert mounts == (
        Mount(source=root / "secrets", target="/run/secrets"),
        Mount(source=root / "configs/0", target="/etc/nginx.conf"),
    )
    key = root / "secrets/tls/key"
    status = key.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (70, 71, 0o440)
    assert (key.read_bytes(), (root / "configs/0").read_bytes()) == (b"one", b"two")
    assert (memory / "tasks").stat().st_mode & 0o7777 == 0o700
    assert (root / "secrets/tls").stat().st_mode & 0o7777 == 0o755


def test_a_container_that_has_the_files_keeps_them_when_they_are_placed_again(
    memory: Path, tmp_path: Path
) -> None:
    files = HostTaskFiles(memory, tmp_path)
    placed = (PlacedFile(path="/run/secrets/db", data=b"one"),)
    directory = files.place("web-1-a", placed)[0].source
    before = directory.stat().st_ino

    files.place("web-1-a", placed)

    assert directory.stat().st_ino == before
    assert [path.name for path in directory.iterdir()] == ["db"]


def test_a_secret_goes_to_no_disk(memory: Path, tmp_path: Path) -> None:
    files = HostTaskFiles(memory, tmp_path)

    files.keep(SECRET)
    files.place("web-1-a", (PlacedFile(path="/run/secrets/db", data=SECRET.data),))

    assert list(tmp_path.rglob("*")) == []
    kept = memory / "files/db.2"
    assert kept.stat().st_mode & 0o7777 == 0o400


def test_a_directory_that_is_on_a_disk_is_refused(memory: Path) -> None:
    files = HostTaskFiles(Path("/proc/warren"), memory)

    with pytest.raises(DriverError, match=r"^/proc/warren is on proc \(/proc\), and secrets may"):
        files.keep(SECRET)
    with pytest.raises(DriverError, match="secrets may only be in memory"):
        files.place("web-1-a", (PlacedFile(path="/run/secrets/db", data=b"one"),))
