"""`warren volume backup-verify`: a file says what it is, without a cluster."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from warren.bootstrap import backups
from warren.cli.main import main
from warren.model.services import Secret
from warren.store import archives, volume_backup

SECRET = "correct horse battery"
HEAD = volume_backup.VolumeHead(
    cluster="demo",
    cluster_id="c1",
    volume="pg-data",
    node="w1",
    services=("pg",),
    created_at=datetime(2026, 6, 1, 12, tzinfo=UTC),
    quiesce="stop",
    warren="0.1.0",
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "pg-data.volume"
    seal = volume_backup.new_seal(HEAD, Secret(SECRET), chance=bytes(23))
    path.write_bytes(b"".join(archives.write(seal, [b"content"])))
    return path


def test_a_volumes_backup_is_verified_with_its_passphrase(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(backups.PASSPHRASE_VARIABLE, SECRET)

    code = main(("volume", "backup-verify", str(file)))

    assert (code, capsys.readouterr().out) == (
        0,
        f"{file}: volume pg-data on w1 of cluster demo as of 2026-06-01 12:00:00 UTC, quiesce stop,"
        " 0 KiB\nwhole, and can be restored\n",
    )


def test_a_volumes_backup_is_verified_without_it(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(backups.PASSPHRASE_VARIABLE, raising=False)

    main(("volume", "backup-verify", "-o", "json", str(file)))

    shown = json.loads(capsys.readouterr().out)
    assert shown == {
        "file": str(file),
        "volume": "pg-data",
        "node": "w1",
        "services": ["pg"],
        "quiesce": "stop",
        "cluster": "demo",
        "cluster_id": "c1",
        "created_at": "2026-06-01T12:00:00Z",
        "warren": "0.1.0",
        "size_bytes": file.stat().st_size,
        "sha256": shown["sha256"],
        "opened": False,
    }


def test_a_backup_of_the_cluster_is_none_of_a_volume(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_bytes(b"warren-backup\n" + bytes(50))

    code = main(("volume", "backup-verify", str(file)))

    assert code == 1
    assert capsys.readouterr().err == f"warren: {file}: is not a volume's backup of Warren\n"
