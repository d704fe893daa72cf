"""mesh.yml on real hosts: a WireGuard mesh from an inventory, of Debian 13 and 12, and no cluster.

One story, in the order of the tests: two hosts, a third, wireguard-go killed, a host that leaves.
"""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fleet import fleets, ssh
from tests.fleet.fleets import Fleet

pytestmark = pytest.mark.fleet

ROOT = Path(__file__).resolve().parents[2]
NAME, SUBNET = "self-mesh", "10.93.0.0/24"
HOSTS = ("m1", "m2", "m3")


class Mesh:
    """The fleet and its inventory."""

    def __init__(self, fleet: Fleet, directory: Path) -> None:
        self.fleet = fleet
        self.inventory = directory / "hosts.yml"

    def play(self, *flags: str, **absent: bool) -> dict[str, int]:
        """Run mesh.yml; what changed, by host."""
        hosts: dict[str, Any] = {
            name: {"ansible_host": self.fleet.host(name).address} for name in HOSTS
        }
        for name in absent:
            hosts[name]["warren_mesh_state"] = "absent"
        variables = {
            "ansible_user": "root",
            "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_ssh_private_key_file": str(self.fleet.key),
            "ansible_ssh_common_args": f"-F {self.fleet.ssh_config}",
            "warren_bundle": f"{ROOT}/bundle",
        }
        group = {"warren_mesh": {"hosts": hosts, "vars": variables}}
        self.inventory.write_text(yaml.safe_dump(group))
        printed = ansible_playbook("-i", str(self.inventory), "mesh.yml", *flags)
        return {host: int(n) for host, n in re.findall(r"^(\w+)\s.*changed=(\d+)", printed, re.M)}

    def on(self, host: str, command: str) -> str:
        argv = ssh.argv(self.fleet, self.fleet.host(host), command)
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()

    def reaches(self, host: str, address: str) -> bool:
        argv = ssh.argv(self.fleet, self.fleet.host(host), f"ping -c 1 -W 1 {address}")
        return subprocess.run(argv, capture_output=True, check=False).returncode == 0

    def wait_reaches(self, host: str, address: str) -> None:
        end = time.monotonic() + 15
        while not self.reaches(host, address):
            assert time.monotonic() < end, f"{host} does not reach {address}"


def ansible_playbook(*words: str) -> str:
    argv = [str(Path(sys.executable).with_name("ansible-playbook")), *words]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def fleet_command(*arguments: str) -> None:
    argv = [sys.executable, "-m", "tests.fleet", *arguments]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    fleet_command("down", "--name", NAME)
    at = ("--name", NAME, "--subnet", SUBNET)
    try:
        ansible_playbook("bundle.yml")
        fleet_command("up", *at, "--names", "m1,m2", "--release", "trixie")
        fleet_command("up", *at, "--names", "m3", "--release", "bookworm")
        yield Mesh(fleets.existing(NAME), tmp_path_factory.mktemp("mesh"))
    finally:
        fleet_command("down", "--name", NAME)


def test_a_check_on_bare_hosts_tells_and_changes_nothing(mesh: Mesh) -> None:
    changed = mesh.play("--check", "--diff")

    assert all(changed[host] > 0 for host in HOSTS)
    assert mesh.on("m1", "ls /etc/warren /opt/warren 2>/dev/null || true") == ""


def test_two_hosts_reach_each_other(mesh: Mesh) -> None:
    changed = mesh.play("--limit", "m1,m2")

    assert set(changed) == {"m1", "m2"}
    mesh.wait_reaches("m1", "10.86.0.2")


def test_a_host_that_comes_later_changes_the_others_when_it_is_their_turn(mesh: Mesh) -> None:
    limited = mesh.play("--limit", "m3")
    everybody = mesh.play()
    again = mesh.play()
    checked = mesh.play("--check", "--diff")

    assert set(limited) == {"m3"}
    assert everybody == {"m1": 1, "m2": 1, "m3": 0}
    assert again == checked == {"m1": 0, "m2": 0, "m3": 0}
    for host, address in (("m3", "10.86.0.1"), ("m3", "10.86.0.2"), ("m2", "10.86.0.3")):
        mesh.wait_reaches(host, address)


def test_a_limited_run_forgets_nobody(mesh: Mesh) -> None:
    peers = mesh.on("m1", "wg show warren0 peers")

    changed = mesh.play("--limit", "m1")

    assert changed == {"m1": 0}
    assert mesh.on("m1", "wg show warren0 peers") == peers


def test_the_mesh_comes_back_when_wireguard_go_is_killed(mesh: Mesh) -> None:
    mesh.on("m2", "kill -9 $(systemctl show -p MainPID --value warren-wireguard)")

    mesh.wait_reaches("m1", "10.86.0.2")


def test_private_keys_are_nowhere_but_on_their_hosts(mesh: Mesh) -> None:
    keys = [mesh.on(host, "cat /var/lib/warren/mesh.key") for host in HOSTS]

    said = [mesh.on(host, "cat /etc/warren/mesh.json; journalctl -o cat") for host in HOSTS]

    assert len(set(keys)) == 3
    assert [key for key in keys for text in said if key in text] == []


def test_a_host_that_leaves_is_nobodys_peer_and_keeps_nothing(mesh: Mesh) -> None:
    changed = mesh.play(m3=True)

    assert changed["m1"] == changed["m2"] == 1
    assert len(mesh.on("m1", "wg show warren0 peers").splitlines()) == 1
    gone = "ls /sys/class/net/warren0 /etc/warren/mesh.json /var/lib/warren/mesh.key"
    assert mesh.on("m3", f"{gone} 2>/dev/null || true") == ""
