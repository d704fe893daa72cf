"""The life of one host: made from a base image, booted, stopped, cut off, destroyed.

A running host is a small shell that runs systemd-nspawn, and runs it again when the host reboots.
All of its processes are in control groups of its own. There is no PID file: these groups are the
one truth about what runs, so every command works whatever state a crash left behind.
"""

import contextlib
import signal
import time
import uuid
from pathlib import Path

from tests.fleet import base, cgroups, commands, mounts, network, ssh
from tests.fleet.errors import FleetError
from tests.fleet.fleets import Fleet, Host

BOOT_TIMEOUT_S = 60
STOP_TIMEOUT_S = 60

POWER_OFF = signal.SIGRTMIN + 4  # what systemd takes from its container manager

NETWORK = """\
[Match]
Name=host0

[Network]
Address={address}/24
LinkLocalAddressing=no
IPv6AcceptRA=no
"""


def create(fleet: Fleet, host: Host) -> None:
    """Give the host a root, unless it has one. Made beside its place, so never half there."""
    if host.root.is_dir():
        return
    part = host.directory / "root.part"
    mounts.remove_tree(part)
    host.directory.mkdir(parents=True, exist_ok=True)
    image = base.ready(host.release)
    commands.run(["cp", "--archive", "--no-target-directory", str(image), str(part)])
    _personalise(host, part)
    ssh.admit(fleet, host, part)
    part.rename(host.root)


def _personalise(host: Host, root: Path) -> None:
    (root / "etc/machine-id").write_text(uuid.uuid4().hex + "\n", encoding="ascii")
    (root / "etc/hostname").write_text(f"{host.name}\n", encoding="ascii")
    hosts = f"127.0.0.1 localhost\n127.0.1.1 {host.name}\n::1 localhost ip6-localhost\n"
    (root / "etc/hosts").write_text(hosts, encoding="ascii")
    network = root / "etc/systemd/network/10-host0.network"
    network.write_text(NETWORK.format(address=host.address), encoding="ascii")


def is_running(host: Host) -> bool:
    return bool(cgroups.processes(host.cgroup))


def condition(host: Host) -> str:
    if not is_running(host):
        return "off" if host.root.is_dir() else "not made"
    return "up" if ssh.answers(host) else "running, no ssh"


def boot(fleet: Fleet, host: Host) -> None:
    """Start a host that is down. Returns at once; `wait_ready` waits for it."""
    if not host.root.is_dir():
        raise FleetError(f"{host.name}: it has no root directory; `up` makes one")
    network.unplug(fleet, host)  # a cable that a crash left behind
    cgroups.start(host.cgroup, _nspawn(fleet, host), host.console)


def _nspawn(fleet: Fleet, host: Host) -> list[str]:
    return [
        "systemd-nspawn",
        "--quiet",
        "--keep-unit",  # no systemd on this machine needs to know
        "--register=no",
        f"--directory={host.root}",
        f"--machine={host.machine}",
        f"--hostname={host.name}",
        f"--network-bridge={fleet.bridge}",
        "--capability=all",
        "--system-call-filter=add_key keyctl bpf",  # runc needs these
        "--resolv-conf=off",
        "--timezone=off",
        "--link-journal=no",
        "--console=pipe",
        "--boot",
    ]


def wait_ready(fleet: Fleet, host: Host) -> None:
    """Wait until ssh lets us in and systemd has settled; say so if a unit failed."""
    deadline = time.monotonic() + BOOT_TIMEOUT_S
    while not ssh.answers(host):
        if not is_running(host):
            raise FleetError(f"{host.name}: ended while booting: {_last_line(host.console)}")
        if time.monotonic() > deadline:
            raise FleetError(
                f"{host.name}: no ssh at {host.address} after {BOOT_TIMEOUT_S} s "
                f"(see {host.console}); `kill` and `start` it"
            )
        time.sleep(0.05)
    asked = "systemctl is-system-running --wait || systemctl --failed --plain --no-legend"
    state = commands.run(ssh.argv(fleet, host, f"timeout {BOOT_TIMEOUT_S} sh -c '{asked}'"))
    if state.split()[:1] != ["running"]:
        print(f"{host.name}: is up, but not all is well: {' '.join(state.split())}", flush=True)


def stop(host: Host) -> None:
    """Power the host off cleanly, the way its power button would."""
    inits = filter(cgroups.init_of_host, cgroups.processes(host.cgroup))
    cgroups.signal_all(inits, POWER_OFF)
    if not cgroups.wait_empty(host.cgroup, timeout_s=STOP_TIMEOUT_S):
        raise FleetError(
            f"{host.name}: still not off after {STOP_TIMEOUT_S} s; `kill` cuts its power"
        )
    cgroups.remove(host.cgroup)


def kill(fleet: Fleet, host: Host) -> None:
    """Cut the host's power: everything in it dies at once, nothing is told."""
    network.unplug(fleet, host)
    cgroups.kill(host.cgroup)


def clean_up(fleet: Fleet) -> None:
    """Remove what nspawn keeps about the hosts outside their directories."""
    for entry in Path("/run/systemd/nspawn/propagate").glob(f"{fleet.name}-*"):
        if "-" not in entry.name.removeprefix(f"{fleet.name}-"):
            mounts.remove_tree(entry)
    for root in fleet.directory.glob("hosts/*/root"):
        identity = root.stat()
        lock = f"inode-{identity.st_dev}:{identity.st_ino}"
        (Path("/run/systemd/nspawn/locks") / lock).unlink(missing_ok=True)


def _last_line(path: Path) -> str:
    lines: list[str] = []
    with contextlib.suppress(OSError):
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
