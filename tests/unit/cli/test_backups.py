"""`warren cluster backup` and `backup-verify`, against a manager in memory."""

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from warren.bootstrap import backups
from warren.cli.main import main
from warren.model.services import Secret

from tests.modules.fake_manager import FakeManager

Run = Callable[..., tuple[int, str, str]]
SECRET = "correct horse battery"


@pytest.fixture
def warren(
    endpoint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """The command: exit code, what it printed, what it complained."""
    monkeypatch.setenv("WARREN_ENDPOINTS", endpoint)
    monkeypatch.setenv(backups.PASSPHRASE_VARIABLE, SECRET)

    def run(*words: str) -> tuple[int, str, str]:
        code = main(words)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "demo.backup"


def test_a_backup_is_written_and_verified(warren: Run, file: Path, manager: FakeManager) -> None:
    code, out, err = warren("cluster", "backup", "-o", str(file))
    verified = warren("cluster", "backup-verify", str(file))

    assert (code, err) == (0, "")
    assert out.startswith(f"{file}: cluster demo as of 20")
    assert "index 100, 3 nodes, 0 services" in out
    assert verified[1].splitlines()[1] == "whole, and can be restored"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.glob("*.backup*")] == ["demo.backup"]
    assert backups.read(file, Secret(SECRET))[1] == manager.state


def test_a_backup_is_verified_without_its_passphrase(
    warren: Run, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warren("cluster", "backup", "-o", str(file))
    monkeypatch.delenv(backups.PASSPHRASE_VARIABLE)

    code, out, _ = warren("cluster", "backup-verify", "-o", "json", str(file))

    found = json.loads(out)
    assert (code, found["cluster"], found["opened"]) == (0, "demo", False)


def test_the_passphrase_may_be_in_a_file(warren: Run, file: Path, tmp_path: Path) -> None:
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("another long secret\n")
    warren("cluster", "backup", "-o", str(file), "--passphrase-file", str(passphrase))

    right = warren("cluster", "backup-verify", str(file), "--passphrase-file", str(passphrase))
    wrong = warren("cluster", "backup-verify", str(file))

    assert right[0] == 0
    complaint = f"warren: {file}: the passphrase is not the one it was made with\n"
    assert wrong == (1, "", complaint)


def test_without_a_passphrase_nothing_is_asked_of_the_cluster(
    warren: Run, file: Path, manager: FakeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(backups.PASSPHRASE_VARIABLE)

    code, _, err = warren("cluster", "backup", "-o", str(file))

    assert (code, manager.calls, file.exists()) == (1, [], False)
    assert err == (
        "warren: backup passphrase: is missing: give a file of it, or set "
        "WARREN_BACKUP_PASSPHRASE\n"
    )


def test_a_backup_that_fails_leaves_the_old_one(
    warren: Run, file: Path, manager: FakeManager
) -> None:
    file.write_bytes(b"old")
    manager.stop()

    code, _, err = warren("--timeout", "1", "cluster", "backup", "-o", str(file))

    assert (code, file.read_bytes()) == (1, b"old")
    assert err.count("\n") == 1
    assert [path.name for path in file.parent.glob("*.backup*")] == ["demo.backup"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"something else", "is not a backup of Warren"),
        (b"warren-backup\n\x01", "is cut off: it was not written to its end"),
    ],
)
def test_what_is_no_backup_is_refused_in_a_line(
    warren: Run, file: Path, content: bytes, complaint: str
) -> None:
    file.write_bytes(content)

    assert warren("cluster", "backup-verify", str(file)) == (
        1,
        "",
        f"warren: {file}: {complaint}\n",
    )


def test_a_copy_for_one_journey_has_a_passphrase_of_its_own(
    warren: Run, file: Path, tmp_path: Path
) -> None:
    warren("cluster", "backup", "-o", str(file))
    copy = tmp_path / "copy"

    once = backups.rewrap(file, Secret(SECRET), copy)

    assert backups.read(copy, once)[1] == backups.read(file, Secret(SECRET))[1]
    assert backups.check(copy).head == backups.check(file).head


def test_the_oldest_backups_of_a_cluster_are_superfluous(warren: Run, tmp_path: Path) -> None:
    names = ["z.backup", "b.backup", "a.backup"]
    for name in names:
        warren("cluster", "backup", "-o", str(tmp_path / name))
    (tmp_path / "other.backup").write_bytes(b"not ours")

    left = backups.superfluous(tmp_path, "c1", 1)

    assert [path.name for path in left] == ["z.backup", "b.backup"]
    assert backups.superfluous(tmp_path, "c2", 1) == ()
