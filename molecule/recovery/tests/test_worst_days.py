"""Managers are killed for good, then all hosts are destroyed: what is left, and what comes back.

In this order, on one cluster: a recovery from one manager of three, a backup under load, new hosts,
a restore from that backup. The fleet is made here and removed at the end, whatever happens.
"""

import json
import os
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import ROOT, changed_hosts, get, run, wait_until
from warren.bootstrap import backups
from warren.client.client import Client, connect
from warren.model.services import Secret, ServiceSpec

FLEET, SUBNET = "recovery", "10.83.0"
HOSTS = ("m1", "m2", "m3")
ADDRESSES = tuple(f"{SUBNET}.{number}" for number in (11, 12, 13))
PASSPHRASE = "correct horse battery"
INVENTORY = ROOT / "inventory" / FLEET
IMAGE = f"{SUBNET}.1:5000/hello:1"
VARIABLES = f"""---
warren_cluster_name: {FLEET}
warren_bundle: {ROOT}/bundle
warren_containerd_registries:
  - host: {SUBNET}.1:5000
    insecure: true
"""


def fleet(verb: str, *words: str) -> str:
    return run("python3", "-m", "tests.fleet", verb, "--name", FLEET, *words).stdout


def on_host(host: str, command: str) -> str:
    return run("python3", "-m", "tests.fleet", "ssh", "--name", FLEET, host, command).stdout


def new_hosts() -> None:
    """Three bare hosts and a registry, in place of any before."""
    fleet("down")
    fleet("up", "--names", ",".join(HOSTS), "--subnet", f"{SUBNET}.0/24")
    run("python3", "-m", "tests.fleet", "registry", "up", "--name", FLEET)
    run("examples/hello/build.sh", f"{SUBNET}.1:5000", "1")
    managers = ",".join(HOSTS)
    fleet("inventory", "--out", str(INVENTORY), "--managers", managers, "--workers", managers)
    (INVENTORY / "group_vars").mkdir(exist_ok=True)
    (INVENTORY / "group_vars/all.yml").write_text(VARIABLES)


def playbook(name: str, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_NOCOLOR": "1",
        "WARREN_CONTEXT": FLEET,
        "WARREN_BACKUP_PASSPHRASE": PASSPHRASE,
    }
    command = ["ansible-playbook", "-i", str(INVENTORY), name, *words]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def play(name: str, *words: str) -> str:
    """The output of a playbook that must succeed."""
    done = playbook(name, *words)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Three managers, and a service on all of them."""
    try:
        new_hosts()
        play("site.yml")
        ports = [{"name": "http", "target": 8080, "published": 8080}]
        spec = {"name": "hello", "image": IMAGE, "replicas": 3, "ports": ports}
        play("deploy-service.yml", "-e", json.dumps({"service": spec}))
        yield
    finally:
        fleet("down")


@pytest.fixture
def client(cluster: None) -> Iterator[Client]:
    with connect(context=FLEET) as connected:
        yield connected


class Visitor(threading.Thread):
    """Asks the service on every host, over and over, and counts."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.answered = 0
        self.refused: list[str] = []
        self._leaves = threading.Event()

    def run(self) -> None:
        while not self._leaves.wait(0.05):
            for address in ADDRESSES:
                try:
                    with urllib.request.urlopen(f"http://{address}:8080/", timeout=3) as page:
                        page.read()
                    self.answered += 1
                except (urllib.error.URLError, OSError) as error:
                    self.refused.append(f"{address}: {error}")

    def leave(self) -> None:
        self._leaves.set()
        self.join()


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


def test_a_cluster_is_restored_on_new_hosts(client: Client, tmp_path: Path) -> None:
    acknowledged = write_during(lambda: play("backup.yml", "-e", f"warren_backup_dest={tmp_path}"))
    (archive,) = tmp_path.glob("*.backup")
    checked, state = backups.read(archive, Secret(PASSPHRASE))
    made = checked.head.created_at.timestamp()
    before = max(number for number, when in acknowledged if when < made)
    refused = playbook("restore.yml", "-e", f"warren_restore_archive={archive}")
    new_hosts()

    begin = time.monotonic()
    play("restore.yml", "-e", f"warren_restore_archive={archive}")
    took = time.monotonic() - begin

    assert "are in a cluster already, and not by this backup" in refused.stdout
    assert before <= int(state.services["load"].spec.env["N"]) <= acknowledged[-1][0]
    with connect(context=FLEET) as restored:
        wait_until(lambda: restored.get_service("hello").status.converged, seconds=60)
        assert restored.get_service("load").service.spec == state.services["load"].spec
        nodes = {view.node.spec.name: view.node for view in restored.list_nodes()}
    for address in ADDRESSES:
        assert get(address).startswith("hello from hello")
    old = {node.spec.name: node for node in state.nodes.values()}
    assert {n.mesh.address for n in nodes.values()} == {n.mesh.address for n in old.values()}
    assert not {node.id for node in nodes.values()} & set(state.nodes)
    print(f"restored in {took:.0f} s, {len(acknowledged)} writes during the backup")

    again = play("restore.yml", "-e", f"warren_restore_archive={archive}")

    assert changed_hosts(again) == dict.fromkeys(HOSTS, 0)


def write_during(work: Callable[[], object]) -> list[tuple[int, float]]:
    """Change a service all the time while `work` runs: what was acknowledged, and when."""
    acknowledged: list[tuple[int, float]] = []
    ends = threading.Event()

    def write() -> None:
        with connect(context=FLEET) as writer:
            while not ends.is_set():
                number = len(acknowledged)
                spec = ServiceSpec(name="load", image=IMAGE, replicas=0, env={"N": str(number)})
                writer.apply_service(spec, ["image", "replicas", "env"])
                acknowledged.append((number, time.time()))

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    wait_until(lambda: len(acknowledged) > 20, seconds=20)
    try:
        work()
    finally:
        ends.set()
        thread.join()
    return acknowledged
