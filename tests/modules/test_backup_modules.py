"""warren_backup, warren_restore and warren_recovery."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from warren.bootstrap import backups, node_files, recover
from warren.config import Config
from warren.drivers import mesh_key
from warren.model.services import Secret
from warren.testing.builders import a_service

from tests.modules.conftest import Play, task
from tests.modules.fake_manager import FakeManager, three_nodes

SECRET = "correct horse battery"


@pytest.fixture
def host(tmp_path: Path) -> str:
    """Configuration of a bare host whose state lives in the test's directory."""
    path = tmp_path / "warren.toml"
    path.write_text(
        f'state_dir = "{tmp_path}/lib"\nrun_dir = "{tmp_path}/run"\n'
        'advertise_address = "127.0.0.1"\n'
    )
    (tmp_path / "lib").mkdir()
    return str(path)


def with_authority(manager: FakeManager) -> None:
    """Give the cluster in memory a CA that can sign."""
    state = three_nodes()
    assert state.cluster is not None
    authority = manager.authority
    cluster = replace(state.cluster, ca_certificate=authority.certificate, ca_key=authority.key)
    manager.state = replace(state, cluster=cluster, services={"web": a_service("web")})


def test_backups_are_made_and_old_ones_go(play: Play, tmp_path: Path, manager: FakeManager) -> None:
    (tmp_path / "old.backup").write_bytes(b"of something else")
    wanted = {"dest": str(tmp_path), "passphrase": SECRET, "keep": 1}

    checked, first, later = play(
        task("warren_backup", wanted, check=True),
        task("warren_backup", {**wanted, "keep": 0}),
        task("warren_backup", wanted),
    ).results

    assert (checked["changed"], checked["backup"]) == (True, {})
    assert first["backup"]["cluster"] == "demo"
    assert first["backup"]["nodes"] == 3
    left = sorted(path.name for path in tmp_path.glob("*.backup"))
    assert left == sorted([Path(later["file"]).name, "old.backup"])
    assert later["pruned"] == ([] if first["file"] == later["file"] else [first["file"]])
    assert backups.read(Path(later["file"]), Secret(SECRET))[1] == manager.state


def test_the_passphrase_is_not_shown(play: Play, tmp_path: Path) -> None:
    wanted = {"dest": str(tmp_path), "passphrase": SECRET}

    played = play(task("warren_backup", wanted), flags=("-vvv",))

    assert played.result["changed"]
    assert SECRET not in played.output


def test_refusals_are_one_line(play: Play, tmp_path: Path) -> None:
    dest = {"dest": str(tmp_path)}

    short, missing, nowhere, negative = play(
        task("warren_backup", {**dest, "passphrase": "horse"}),
        task("warren_backup", dest),
        task("warren_backup", {"dest": f"{tmp_path}/no", "passphrase": SECRET}),
        task("warren_backup", {**dest, "passphrase": SECRET, "keep": -1}),
    ).results

    assert short["msg"] == "backup passphrase: must have at least 8 characters"
    assert missing["msg"] == (
        "backup passphrase: is missing: give a file of it, or set WARREN_BACKUP_PASSPHRASE"
    )
    assert nowhere["msg"] == f"there is no directory {tmp_path}/no"
    assert negative["msg"] == "keep: must not be negative"


def test_a_cluster_is_restored_on_a_host_once(
    play: Play, tmp_path: Path, manager: FakeManager, host: str
) -> None:
    with_authority(manager)
    made = play(task("warren_backup", {"dest": str(tmp_path), "passphrase": SECRET})).result
    copy = str(tmp_path / "copy")
    src = {"src": made["file"], "passphrase": SECRET}
    journey = "{{ result_1.once }}"
    restored = {
        "state": "restored",
        "src": copy,
        "passphrase": journey,
        "name": "m1",
        "hosts": ["{{ result_2.host }}"],
        "config": host,
    }
    identity = {"name": "m1", "roles": ["manager", "worker"], "config": host}

    verified, _, identified, checked, first, second = play(
        task("warren_restore", {"state": "verified", **src}),
        task("warren_restore", {"state": "prepared", "copy": copy, **src}),
        task("warren_restore", {"state": "identified", **identity}),
        task("warren_restore", restored, check=True),
        task("warren_restore", restored),
        task("warren_restore", restored),
    ).results

    config = Config(state_dir=tmp_path / "lib")
    assert verified["lost_nodes"] == ["m1", "m2", "m3"]
    assert (verified["resumed"], verified["living"]) == (False, [])
    assert identified["host"] == {
        "name": "m1",
        "roles": ["manager", "worker"],
        "public_key": mesh_key.public_key(config.mesh_key_path),
        "address": "127.0.0.1",
    }
    assert [each["changed"] for each in (checked, first, second)] == [True, True, False]
    membership = node_files.read_membership(config)
    assert membership is not None
    assert (membership.cluster_id, membership.name) == ("c1", "m1")
    assert first["membership"] == second["membership"]
    mark = (tmp_path / "lib/restored").read_text()
    assert mark == f"{verified['mark']}\n"


def test_a_run_that_was_cut_off_is_recognised(
    play: Play, tmp_path: Path, manager: FakeManager
) -> None:
    with_authority(manager)
    made = play(task("warren_backup", {"dest": str(tmp_path), "passphrase": SECRET})).result
    verified: dict[str, Any] = {"state": "verified", "src": made["file"], "passphrase": SECRET}

    first, again = play(
        task("warren_restore", verified),
        task("warren_restore", {**verified, "marks": ["other", "{{ result_0.mark }}\n"]}),
    ).results

    assert (first["resumed"], again["resumed"]) == (False, True)


def test_a_log_is_inspected_replaced_and_set_aside(
    play: Play, tmp_path: Path, manager: FakeManager, host: str
) -> None:
    with_authority(manager)
    made = play(task("warren_backup", {"dest": str(tmp_path), "passphrase": SECRET})).result
    source = {"src": made["file"], "passphrase": SECRET, "config": host, "name": "m1"}
    play(
        task("warren_restore", {**source, "state": "identified", "roles": ["manager"]}),
        task("warren_restore", {**source, "state": "restored", "hosts": ["{{ result_0.host }}"]}),
    )

    seen, alone, checked, aside, again = play(
        task("warren_recovery", {"config": host}),
        task("warren_recovery", {"config": host, "state": "alone", "removed": ["id9"]}),
        task("warren_recovery", {"config": host, "state": "set_aside"}, check=True),
        task("warren_recovery", {"config": host, "state": "set_aside"}),
        task("warren_recovery", {"config": host, "state": "set_aside"}),
    ).results

    assert (seen["changed"], seen["log"]["alone"], seen["log"]["last_index"]) == (False, True, 1)
    assert [each["changed"] for each in (alone, checked, aside, again)] == [True, True, True, False]
    found = recover.inspect(Config(state_dir=tmp_path / "lib"))
    assert (found.log, len(found.kept)) == (None, 2)


def test_a_bare_host_has_no_log(play: Play, host: str) -> None:
    refused = play(task("warren_recovery", {"config": host})).result

    assert refused["msg"] == "this host is not a member of a cluster"
