"""The local fleet itself, on real hosts: two small fleets of its own, gone afterwards.

Nothing here sends a packet to an address outside these fleets: where a host must not get out,
the way out that is tried leads to the other fleet.
"""

import http.server
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet import cgroups, fleets, network, ssh
from tests.fleet.fleets import Fleet

pytestmark = pytest.mark.fleet

ROOT = Path(__file__).resolve().parents[2]
FIRST, SECOND = "selftest-a", "selftest-b"


def fleet_command(*arguments: str) -> str:
    argv = [sys.executable, "-m", "tests.fleet", *arguments]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def on(fleet: Fleet, host: str, command: str) -> str:
    argv = ssh.argv(fleet, fleet.host(host), command)
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


def connects(fleet: Fleet, host: str, address: str, port: int) -> bool:
    script = f"import socket; socket.create_connection(('{address}', {port}), 2)"
    argv = ssh.argv(fleet, fleet.host(host), f'python3 -c "{script}"')
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def first() -> Iterator[Fleet]:
    yield from a_running_fleet(FIRST, "10.91.0.0/24")


@pytest.fixture(scope="module")
def second() -> Iterator[Fleet]:
    yield from a_running_fleet(SECOND, "10.92.0.0/24")


def a_running_fleet(name: str, subnet: str) -> Iterator[Fleet]:
    fleet_command("down", "--name", name)
    at = ("--name", name, "--subnet", subnet)
    try:
        fleet_command("up", *at, "--names", "m1", "--release", "trixie")
        fleet_command("up", *at, "--names", "m2", "--release", "bookworm")
        yield fleets.existing(name)
    finally:
        fleet_command("down", "--name", name)


@pytest.mark.parametrize("host", ["m1", "m2"])
def test_a_host_looks_like_an_ordinary_server(first: Fleet, host: str) -> None:
    assert on(first, host, "systemctl is-system-running") == "running"
    assert on(first, host, "hostname") == host
    assert on(first, host, "sysctl -n -w net.ipv4.ip_forward=1") == "1"
    assert on(first, host, "ip tuntap add t0 mode tun && ip link delete t0 && echo made") == "made"


@pytest.mark.parametrize("host", ["m1", "m2"])
def test_a_host_has_control_groups_of_its_own_and_may_write_them(first: Fleet, host: str) -> None:
    script = "for d in /sys/fs/cgroup/*/; do mkdir $d/probe && rmdir $d/probe || exit 1; done"

    on(first, host, script)

    assert FIRST not in on(first, host, "cat /proc/self/cgroup /proc/1/cgroup")


@pytest.mark.parametrize("host", ["m1", "m2"])
def test_a_host_knows_no_way_out(first: Fleet, host: str) -> None:
    assert on(first, host, "ip route").splitlines() == [
        f"10.91.0.0/24 dev host0 proto kernel scope link src {first.host(host).address}"
    ]
    assert on(first, host, "ip -6 route show default") == ""
    assert on(first, host, "cat /etc/resolv.conf") == ""
    assert on(first, host, "env | grep -i proxy; apt-config dump | grep -i ::proxy; true") == ""
    assert on(first, host, "cat /etc/apt/sources.list; ls /etc/apt/sources.list.d") == ""


def test_a_host_gets_no_further_even_if_it_adds_a_route(first: Fleet, second: Fleet) -> None:
    bridges = [Path(f"/proc/sys/net/ipv4/conf/{f.bridge}/forwarding") for f in (first, second)]
    for forwarding in bridges:
        forwarding.write_text("1", encoding="ascii")
    on(first, "m1", f"ip route replace default via {first.gateway}")
    on(second, "m1", f"ip route replace default via {second.gateway}")

    try:
        assert connects(first, "m1", first.host("m2").address, 22)
        assert not connects(first, "m1", second.host("m1").address, 22)
        assert not connects(first, "m1", second.gateway, 5000)
        subprocess.run(["nft", "flush", "table", "inet", "warren_fleet_selftest_a"], check=True)
        subprocess.run(["nft", "flush", "table", "inet", "warren_fleet_selftest_b"], check=True)
        assert connects(first, "m1", second.host("m1").address, 22), "the test proves nothing"
    finally:
        for fleet in (first, second):
            network.create(fleet)
            on(fleet, "m1", "ip route delete default")


def test_a_host_reaches_served_ports_of_this_machine_and_no_others(first: Fleet) -> None:
    with served(5999), served(8999):
        assert connects(first, "m1", first.gateway, 5999)
        assert not connects(first, "m1", first.gateway, 8999)


def served(port: int) -> http.server.HTTPServer:
    server = http.server.HTTPServer(("0.0.0.0", port), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.handle_request, daemon=True).start()
    return server


def test_a_second_up_changes_nothing(first: Fleet) -> None:
    before = on(first, "m1", "cat /proc/sys/kernel/random/boot_id")

    said = fleet_command("up", "--name", FIRST)

    assert "nothing to do" in said
    assert on(first, "m1", "cat /proc/sys/kernel/random/boot_id") == before


@pytest.mark.parametrize("verb", ["stop", "kill"])
def test_what_a_host_wrote_survives_its_power(first: Fleet, verb: str) -> None:
    on(first, "m1", f"echo {verb} > /root/mark && sync")

    fleet_command(verb, "--name", FIRST, "m1")
    off = cgroups.processes(first.host("m1").cgroup)
    fleet_command("start", "--name", FIRST, "m1")

    assert off == frozenset()
    assert on(first, "m1", "cat /root/mark") == verb


def test_a_host_that_was_talking_when_it_was_killed_boots_again(first: Fleet) -> None:
    """What it could not say any more lingers in the kernel, and held on to its cable."""
    unheard = (
        "import socket, subprocess, time; s = socket.socket(); s.connect(('{peer}', 22));"
        "subprocess.run(['ip', 'route', 'add', 'blackhole', '{peer}/32']);"
        "s.sendall(b'x' * 1000); time.sleep(60)"
    ).format(peer=first.host("m2").address)
    on(first, "m1", f'systemd-run --quiet python3 -c "{unheard}"')
    deadline = time.monotonic() + 10
    while not on(first, "m1", "ip route show type blackhole") and time.monotonic() < deadline:
        time.sleep(0.05)

    fleet_command("kill", "--name", FIRST, "m1")
    fleet_command("start", "--name", FIRST, "m1")

    assert ssh.answers(first.host("m1"))


def test_a_host_can_reboot_itself(first: Fleet) -> None:
    before = on(first, "m2", "cat /proc/sys/kernel/random/boot_id")

    on(first, "m2", "systemd-run --quiet --no-block sh -c 'sleep 0.2; systemctl reboot'")

    deadline = time.monotonic() + 60
    while ssh.answers(first.host("m2")) and time.monotonic() < deadline:
        time.sleep(0.05)
    fleet_command("up", "--name", FIRST)
    assert on(first, "m2", "cat /proc/sys/kernel/random/boot_id") != before


def test_down_leaves_nothing_even_when_the_files_are_gone() -> None:
    name = "selftest-c"
    fleet_command("up", "--name", name, "--subnet", "10.93.0.0/24", "--hosts", "1")
    fleet_command("registry", "up", "--name", name)
    shutil.rmtree(fleets.STATE / name)

    fleet_command("down", "--name", name)

    assert cgroups.groups(name) == frozenset()
    assert not network.exists(f"wf-{name}")
    assert not (fleets.STATE / name).exists()
    assert name not in Path("/proc/self/mounts").read_text(encoding="utf-8")
