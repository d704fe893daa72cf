"""backup-volume.yml and restore-volume.yml: real directories and archives, tasks in memory."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from warren.api import warren_pb2
from warren.bootstrap.volume_spool import Spool
from warren.client import connect
from warren.model.services import MountSpec, ServiceMode, ServiceSpec
from warren.model.volumes import VolumeSpec

from tests.modules.conftest import Play, Played, task
from tests.modules.fake_manager import FakeManager

SECRET = "correct horse battery"
Run = Callable[..., Played]


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    """Where the only host, that plays all nodes, keeps local volumes."""
    directory = tmp_path / "volumes"
    directory.mkdir()
    return directory


@pytest.fixture
def run(playbook: Play, volumes: Path, tmp_path: Path) -> Run:
    """`run("backup", volume_quiesce="none")`: a playbook on nodes that are this machine."""
    inventory = tmp_path / "hosts.json"
    local = {"ansible_connection": "local"}
    hosts: dict[str, Any] = {
        "m1": local,
        "m2": local,
        "host-3": {**local, "warren_node_name": "m3"},
    }
    inventory.write_text(json.dumps({"warren_managers": {"hosts": hosts}}))
    config = tmp_path / "warren.toml"
    config.write_text(f'state_dir = "{tmp_path}/lib"\nvolumes_dir = "{volumes}"\n')
    dest = tmp_path / "backups"
    dest.mkdir()

    def play(which: str, *flags: str, **variables: Any) -> Played:
        given = {
            "volume_name": "pg-data",
            "volume_dest": str(dest),
            "warren_backup_passphrase": SECRET,
            "volume_host_python": sys.executable,
            "volume_host_config": str(config),
            **variables,
        }
        file = tmp_path / "variables.json"
        file.write_text(json.dumps(given))
        return playbook(f"{which}-volume.yml", "-i", str(inventory), "-e", f"@{file}", *flags)

    return play


@pytest.fixture
def pg(manager: FakeManager, environment: dict[str, str], volumes: Path) -> Path:
    """Service pg with volume pg-data on a node; the volume's directory."""
    with connect(endpoints=[environment["WARREN_ENDPOINTS"]]) as client:
        client.apply_volume(VolumeSpec(name="pg-data", labels={"mine": "1"}), ("labels",))
    manager.put(a_service("pg"))
    directory = volumes / manager.state.volumes["pg-data"].directory
    directory.mkdir(mode=0o700)
    os.chown(directory, 70, 70)
    (directory / "rows").write_text("committed")
    return directory


def a_service(name: str, **spec: Any) -> ServiceSpec:
    mounts = (MountSpec(source="pg-data", target="/data"),)
    return ServiceSpec(name=name, image="pg:1", mounts=mounts, **spec)


def replicas(manager: FakeManager, name: str = "pg") -> int:
    return manager.state.services[name].spec.replicas


def labels(manager: FakeManager) -> dict[str, str]:
    return dict(manager.state.volumes["pg-data"].spec.labels)


def backups_in(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "backups").iterdir())


def content(directory: Path) -> dict[str, tuple[str, int]]:
    return {path.name: (path.read_text(), path.stat().st_uid) for path in directory.iterdir()}


def stops(manager: FakeManager) -> int:
    """How often the service was scaled, or a volume changed, at all."""
    return manager.calls.count("ApplyService") + manager.calls.count("ApplyVolume") - 1


def test_a_volume_is_backed_up_and_restored_while_its_service_is_stopped(
    run: Run, manager: FakeManager, pg: Path, volumes: Path, tmp_path: Path
) -> None:
    checked = run("backup", "--check")
    assert (checked.code, backups_in(tmp_path), stops(manager)) == (0, [], 0), checked.output

    saved = run("backup")

    assert saved.code == 0, saved.output
    (archive,) = backups_in(tmp_path)
    assert b"committed" not in archive.read_bytes()
    assert (replicas(manager), labels(manager)) == (1, {"mine": "1"})
    assert stops(manager) == 4  # marked, stopped, started, mark taken away
    assert SECRET not in saved.output

    (pg / "rows").write_text("spoiled")
    (pg / "later").write_text("x")
    refused = run("restore", volume_archive=str(archive))
    assert refused.code != 0
    assert "pg.1 has volume pg-data now: take quiesce stop, or stop them" in refused.output
    assert content(pg)["rows"] == ("spoiled", 0)

    restored = run("restore", volume_archive=str(archive), volume_quiesce="stop")

    assert restored.code == 0, restored.output
    assert content(pg) == {"rows": ("committed", 0)}
    assert (pg.stat().st_uid, pg.stat().st_mode & 0o777) == (70, 0o700)
    assert (replicas(manager), labels(manager)) == (1, {"mine": "1"})
    assert sorted(path.name for path in volumes.iterdir()) == [pg.name]
    assert not list((tmp_path / "lib" / "volume-transfers").iterdir())


def test_a_backup_that_fails_gives_the_service_back(
    run: Run, manager: FakeManager, pg: Path, tmp_path: Path
) -> None:
    """A second run has the volume at that moment."""
    lock = Spool(tmp_path / "lib" / "volume-transfers" / "pg-data").begin()
    failed = run("backup")
    os.close(lock)

    assert failed.code != 0
    assert "volume pg-data is being backed up or restored already" in failed.output
    assert backups_in(tmp_path) == []
    assert (replicas(manager), labels(manager)) == (1, {"mine": "1"})


def test_a_run_after_one_that_was_killed_gives_back_what_that_took(
    run: Run, manager: FakeManager, pg: Path, environment: dict[str, str]
) -> None:
    with connect(endpoints=[environment["WARREN_ENDPOINTS"]]) as client:
        client.apply_service(a_service("pg", replicas=0), ("replicas",))
        marked = {"warren.replicas-of/pg": "1", "mine": "1"}
        client.apply_volume(VolumeSpec(name="pg-data", labels=marked), ("labels",))

    saved = run("backup")

    assert saved.code == 0, saved.output
    assert (replicas(manager), labels(manager)) == (1, {"mine": "1"})


def test_commands_run_before_and_after_also_when_one_fails(
    run: Run, manager: FakeManager, pg: Path, tmp_path: Path
) -> None:
    hooks = {
        "volume_quiesce": "exec",
        "volume_before": ["psql", "-c", "CHECKPOINT"],
        "volume_after": ["true"],
    }

    saved = run("backup", **hooks)
    assert saved.code == 0, saved.output
    manager.exec_response = warren_pb2.ExecResponse(stderr=b"no such database", exit_code=2)
    failed = run("backup", **hooks)

    assert failed.code != 0
    assert "psql -c CHECKPOINT: pg.1: exit code 2: no such database" in failed.output
    assert manager.commands == [("psql", "-c", "CHECKPOINT"), ("true",)] * 2
    assert len(backups_in(tmp_path)) == 1
    assert stops(manager) == 0


def test_old_backups_go_when_the_new_one_is_whole(
    run: Run, manager: FakeManager, pg: Path, tmp_path: Path
) -> None:
    run("backup", volume_quiesce="none")
    (first,) = backups_in(tmp_path)
    older = first.with_name("renamed.volume")
    first.rename(older)

    checked = run("backup", "--check", volume_quiesce="none", volume_keep=1)
    saved = run("backup", volume_quiesce="none", volume_keep=1)

    assert str(older) in checked.output
    assert saved.code == 0, saved.output
    (left,) = backups_in(tmp_path)
    assert left != older


def test_a_volume_that_is_new_gets_the_content_of_a_backup(
    run: Run, manager: FakeManager, pg: Path, volumes: Path, tmp_path: Path
) -> None:
    run("backup", volume_quiesce="none")
    (archive,) = backups_in(tmp_path)
    wanted = {"volume_name": "copy", "volume_archive": str(archive)}

    nowhere = run("restore", **wanted)
    checked = run("restore", "--check", **wanted, volume_node="m3")
    assert "copy" not in manager.state.volumes
    restored = run("restore", **wanted, volume_node="m3")

    assert "volume copy is on no node: add -e volume_node=…" in json.loads(
        json.dumps(nowhere.output)
    )
    assert checked.code == 0, checked.output
    assert restored.code == 0, restored.output
    copy = manager.state.volumes["copy"]
    assert copy.node_name == "m3"
    assert content(volumes / copy.directory) == {"rows": ("committed", 0)}


def test_a_volume_moves_only_when_it_is_told_to(
    run: Run, manager: FakeManager, pg: Path, tmp_path: Path
) -> None:
    run("backup", volume_quiesce="none")
    (archive,) = backups_in(tmp_path)
    here = manager.state.volumes["pg-data"].node_name
    there = "m2" if here != "m2" else "m1"
    wanted = {"volume_archive": str(archive), "volume_node": there, "volume_quiesce": "stop"}

    refused = run("restore", **wanted)
    assert f"volume pg-data is on {here}: to have it on {there} from now on" in refused.output
    moved = run("restore", **wanted, volume_move=True)

    assert moved.code == 0, moved.output
    assert manager.state.volumes["pg-data"].node_name == there
    assert replicas(manager) == 1


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda data: data[:-9], "is cut off: it was not written to its end"),
        (lambda data: data[:-40] + b"x" + data[-39:], "is damaged: its checksum does not match"),
        (lambda data: b"warren-backup\n" + data[14:], "is not a volume's backup of Warren"),
    ],
)
def test_a_harmed_backup_stops_nothing(
    run: Run,
    manager: FakeManager,
    pg: Path,
    tmp_path: Path,
    harm: Callable[[bytes], bytes],
    said: str,
) -> None:
    run("backup", volume_quiesce="none")
    (archive,) = backups_in(tmp_path)
    archive.write_bytes(harm(archive.read_bytes()))

    refused = run("restore", volume_archive=str(archive), volume_quiesce="stop")

    assert refused.code != 0
    assert said in refused.output
    assert stops(manager) == 0
    assert content(pg) == {"rows": ("committed", 0)}


def test_what_cannot_be_held_is_refused(play: Play, manager: FakeManager, pg: Path) -> None:
    manager.put(a_service("everywhere", mode=ServiceMode.GLOBAL))
    volume = manager.state.volumes["pg-data"]
    nfs = replace(volume, spec=replace(volume.spec, name="uploads", driver="nfs"))
    manager.state = replace(manager.state, volumes={**manager.state.volumes, "uploads": nfs})

    glob, no_command, no_exec, driver, nothing = play(
        task("warren_volume_hold", {"name": "pg-data"}),
        task("warren_volume_hold", {"name": "pg-data", "quiesce": "exec"}),
        task("warren_volume_hold", {"name": "pg-data", "before": ["true"]}),
        task("warren_volume_hold", {"name": "uploads", "quiesce": "none"}),
        task("warren_volume_hold", {"name": "nothing"}),
    ).results

    assert glob["msg"] == (
        "volume pg-data is used by the global service everywhere, which cannot be stopped and "
        "stay: take quiesce exec, or remove the service"
    )
    assert no_command["msg"] == "before: is required by quiesce exec, or after is"
    assert no_exec["msg"] == "before: is for quiesce exec"
    assert driver["msg"].startswith("volume uploads has driver nfs: only those on a node's disk")
    assert nothing["msg"] == "there is no volume nothing"
