"""A host, an inventory or a bundle that will not do: named before anything is touched."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import FLEET, INVENTORY, ROOT, changed_hosts, run, wait_until
from warren.client.client import Client
from warren.model.nodes import NodeState

Playbook = Callable[..., subprocess.CompletedProcess[str]]
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
MANAGERS = "m1,m2,m3"


@pytest.fixture(scope="module")
def bare_host() -> Iterator[str]:
    """A host more, of Debian 12, that is in the inventory but in no cluster."""
    fleet = ("python3", "-m", "tests.fleet")
    workers = "m1,m2,m3,w1,w2,w3"
    run(*fleet, "up", "--name", FLEET, "--names", "w3", "--release", "bookworm")
    options = ("--managers", MANAGERS, "--workers", workers, "--out", str(INVENTORY))
    run(*fleet, "inventory", "--name", FLEET, *options)
    yield "w3"
    run(*fleet, "kill", "w3", "--name", FLEET)


def test_an_even_number_of_managers_is_refused(tmp_path: Path) -> None:
    hosts = (
        "warren_managers: {hosts: {a: {ansible_host: 10.78.0.91}, b: {ansible_host: 10.78.0.92}}}"
    )
    (tmp_path / "hosts.yml").write_text(hosts)

    command = ["ansible-playbook", "-i", str(tmp_path), "site.yml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert done.returncode != 0
    assert "2 managers" in done.stdout
    assert "UNREACHABLE" not in done.stdout


def test_a_host_whose_clock_is_five_minutes_off_is_named(
    playbook: Playbook, bare_host: str, fleet: Callable[..., str]
) -> None:
    put(bare_host, Path(FAKETIME), "/root/libfaketime.so.1")
    wrapper = (
        "printf '#!/bin/sh\\nLD_PRELOAD=/root/libfaketime.so.1 FAKETIME=+5m"
        ' exec /usr/bin/python3 "$@"\\n\' > /root/python-ahead && chmod 755 /root/python-ahead'
    )
    fleet("ssh", bare_host, wrapper)
    interpreter = "ansible_python_interpreter=/root/python-ahead"

    done = playbook("site.yml", "--limit", bare_host, "-e", interpreter)

    assert done.returncode != 0
    assert "clock" in done.stdout
    assert bare_host in done.stdout
    assert changed_hosts(done.stdout).get(bare_host, 0) == 0


def test_a_port_that_is_taken_is_named_with_its_holder(
    playbook: Playbook, bare_host: str, fleet: Callable[..., str]
) -> None:
    hold = (
        "systemd-run --unit=squatter python3 -c 'import socket, time;"
        's = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("", 51820));'
        "time.sleep(600)'"
    )
    fleet("ssh", bare_host, hold)

    done = playbook("site.yml", "--limit", bare_host)

    fleet("ssh", bare_host, "systemctl stop squatter")
    assert done.returncode != 0
    assert "51820" in done.stdout
    assert "python3" in done.stdout
    assert changed_hosts(done.stdout).get(bare_host, 0) == 0


def test_a_bundle_with_one_flipped_byte_is_named(
    playbook: Playbook, bare_host: str, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(ROOT / "bundle", bundle, symlinks=True)
    victim = max(bundle.rglob("*.whl"), key=lambda path: path.stat().st_size)
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.unlink()
    victim.write_bytes(content)

    done = playbook("site.yml", "--limit", bare_host, "-e", f"warren_bundle={bundle}")

    assert done.returncode != 0
    assert victim.name in done.stdout
    assert "corrupted" in done.stdout
    assert changed_hosts(done.stdout).get(bare_host, 0) == 0


def test_a_bootstrap_that_was_cut_off_is_finished_by_running_it_again(
    playbook: Playbook, bare_host: str, client: Client, fleet: Callable[..., str]
) -> None:
    interrupted = subprocess.Popen(
        ["ansible-playbook", "-i", str(INVENTORY), "site.yml", "--limit", bare_host],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )
    wait_until(lambda: "warren" in fleet("ssh", bare_host, "ls /opt /etc"), seconds=120)
    interrupted.kill()
    interrupted.wait()

    done = playbook("site.yml", "--limit", bare_host)
    again = playbook("site.yml", "--limit", bare_host)

    assert done.returncode == 0, done.stdout[-3000:]
    touched = {name for name, changed in changed_hosts(done.stdout).items() if changed}
    assert touched <= {bare_host, "localhost"}
    assert set(changed_hosts(again.stdout).values()) == {0}
    nodes = {view.node.spec.name: view.node.status.state for view in client.list_nodes()}
    assert nodes[bare_host] is NodeState.READY


def test_a_host_that_is_reset_leaves_and_keeps_nothing(
    playbook: Playbook, bare_host: str, client: Client, fleet: Callable[..., str]
) -> None:
    refused = playbook("reset.yml", "--limit", bare_host)
    done = playbook("reset.yml", "--limit", bare_host, "-e", "warren_reset_confirm=yes")

    assert refused.returncode != 0
    assert "warren_reset_confirm" in refused.stdout
    assert done.returncode == 0, done.stdout[-3000:]
    files = "ls -d /var/lib/warren /etc/warren /opt/warren 2> /dev/null"
    interface = "ip -br link show warren0 2> /dev/null"
    assert fleet("ssh", bare_host, f"{files}; {interface}; true").strip() == ""
    assert bare_host not in {view.node.spec.name for view in client.list_nodes()}


def put(name: str, source: Path, target: str) -> None:
    """Copy a file onto a host of the fleet."""
    config = f"/var/lib/warren-fleet/{FLEET}/ssh_config"
    run("scp", "-q", "-F", config, str(source), f"{name}:{target}")
