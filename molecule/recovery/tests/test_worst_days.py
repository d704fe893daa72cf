"""Managers are killed for good, then all hosts are destroyed: what is left, and what comes back.

In this order, on one cluster: a recovery from one manager of three, a backup under load, new hosts,
a restore from that backup. The fleet is made here and removed at the end, whatever happens.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT, changed_hosts, get, wait_until
from recovery_hosts import (
    ADDRESSES,
    FLEET,
    HOSTS,
    INVENTORY,
    PASSPHRASE,
    SUBNET,
    Visitor,
    boot,
    environment,
    new_hosts,
    on_host,
    play,
    playbook,
    three_managers,
    write_during,
    write_inventory,
)
from warren.bootstrap import backups
from warren.client.client import Client, connect
from warren.model.services import Secret
from warren.model.volumes import VolumeSpec


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with three_managers():
        yield


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the backup is that is restored."""
    return tmp_path_factory.mktemp("backups") / "the.backup"


@pytest.fixture
def client(cluster: None) -> Iterator[Client]:
    with connect(context=FLEET) as connected:
        yield connected


def test_a_cluster_that_lost_two_of_three_managers_goes_on(client: Client) -> None:
    tasks = {task.id for task in client.get_service("hello").tasks}
    visitor = Visitor()
    visitor.start()
    for host in ("m2", "m3"):
        on_host(host, "systemctl kill -s KILL warren-manager; systemctl stop warren-manager")
        on_host(host, "rm -rf /var/lib/warren/raft")

    asked = playbook("recover.yml")
    begin = time.monotonic()
    play("recover.yml", "-e", "warren_recover_confirm=yes")
    took = time.monotonic() - begin

    visitor.leave()
    assert asked.returncode != 0
    assert "To go on from m1, add -e warren_recover_confirm=yes" in asked.stdout
    assert (visitor.refused, visitor.answered > 100) == ([], True)
    assert {task.id for task in client.get_service("hello").tasks} == tasks
    assert [view.reachable for view in client.get_cluster().managers] == [True] * 3
    print(f"recovered in {took:.0f} s; {visitor.answered} requests answered, none refused")


def test_a_recovered_cluster_is_left_alone(client: Client) -> None:
    output = play("recover.yml", "-e", "warren_recover_confirm=yes")

    assert changed_hosts(output) == dict.fromkeys(HOSTS, 0)


def test_a_cluster_is_restored_on_new_hosts_by_runs_of_which_two_were_cut_off(
    client: Client, tmp_path: Path, archive: Path
) -> None:
    client.apply_volume(VolumeSpec(name="data", uid=7), ["uid"])
    acknowledged = write_during(lambda: play("backup.yml", "-e", f"warren_backup_dest={tmp_path}"))
    next(tmp_path.glob("*.backup")).rename(archive)
    checked, state = backups.read(archive, Secret(PASSPHRASE))
    made = checked.head.created_at.timestamp()
    before = max(number for number, when in acknowledged if when < made)
    restore = ("restore.yml", "-e", f"warren_restore_archive={archive}")
    refused = playbook(*restore)
    new_hosts()

    begin = time.monotonic()
    cut_off(*restore, at="First manager is made from it")
    cut_off(*restore, at="Host joins")
    play(*restore)
    took = time.monotonic() - begin

    assert "are in a cluster already, and not by this backup" in refused.stdout
    assert before <= int(state.services["load"].spec.env["N"]) <= acknowledged[-1][0]
    with connect(context=FLEET) as restored:
        wait_until(lambda: restored.get_service("hello").status.converged, seconds=60)
        assert restored.get_service("load").service.spec == state.services["load"].spec
        assert [view.volume for view in restored.list_volumes()] == [state.volumes["data"]]
        nodes = {view.node.spec.name: view.node for view in restored.list_nodes()}
    for address in ADDRESSES:
        assert get(address).startswith("hello from hello")
    old = {node.spec.name: node for node in state.nodes.values()}
    assert {n.mesh.address for n in nodes.values()} == {n.mesh.address for n in old.values()}
    assert not {node.id for node in nodes.values()} & set(state.nodes)
    for host in HOSTS:
        assert on_host(host, "ls /var/lib/warren | grep restore.copy || true") == ""
    print(f"restored in {took:.0f} s and three runs, {len(acknowledged)} writes during the backup")

    again = play(*restore)

    assert changed_hosts(again) == dict.fromkeys(HOSTS, 0)


def cut_off(name: str, *words: str, at: str) -> None:
    """Run a playbook until it is at a task, and kill it there, as a lost terminal or host would."""
    command = ["ansible-playbook", "-i", str(INVENTORY), name, *words]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**environment(), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    seen = any(line.startswith("TASK [") and at in line for line in process.stdout)
    time.sleep(0.3)  # it is under way on the host
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert seen


def test_a_restore_beside_a_living_cluster_must_be_meant_and_leaves_that_one_alone(
    client: Client, tmp_path: Path, archive: Path
) -> None:
    boot("m4")
    write_inventory(tmp_path, "m4")
    restore = ("restore.yml", "-e", f"warren_restore_archive={archive}")
    living = client.get_cluster()

    refused = playbook(*restore, inventory=tmp_path)
    play(*restore, "-e", "warren_restore_force=yes", inventory=tmp_path)

    assert f"cluster {FLEET} lives: a manager answers at {SUBNET}.11" in refused.stdout
    with connect(context=FLEET) as beside:
        assert beside.connection.endpoints == (f"{SUBNET}.14:7443",)
        assert [m.node.spec.name for m in beside.get_cluster().managers] == ["m4"]
        assert beside.get_cluster().id == living.id
    after = client.get_cluster()
    assert (after.leader, after.term) == (living.leader, living.term)
    assert [m.reachable for m in after.managers] == [True] * 3
    assert len(client.list_nodes()) == 3
