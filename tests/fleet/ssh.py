"""How a fleet is reached: its key, the keys of its hosts, and an ssh_config that uses them.

Both ends are known before a host first boots, so ssh checks host keys strictly from the start.
"""

import contextlib
import dataclasses
import shutil
import socket
from pathlib import Path

from tests.fleet import commands, fleets
from tests.fleet.fleets import Fleet, Host


def create_key(fleet: Fleet) -> None:
    if not fleet.key.with_suffix(".pub").exists():
        fleet.key.unlink(missing_ok=True)
        _keygen(fleet.key, f"fleet {fleet.name}")


def admit(fleet: Fleet, host: Host, root: Path) -> None:
    """Put a host key of its own and the fleet's public key into a host's root."""
    _keygen(root / "etc/ssh/ssh_host_ed25519_key", host.name)
    shutil.copy(fleet.key.with_suffix(".pub"), root / "root/.ssh/authorized_keys")
    (root / "root/.ssh/authorized_keys").chmod(0o600)


def write_config(fleet: Fleet) -> None:
    made = dataclasses.replace(fleet, hosts=tuple(h for h in fleet.hosts if h.root.is_dir()))
    keys = {host.name: _public_key(host) for host in made.hosts}
    fleets.write_atomically(fleet.known_hosts, render_known_hosts(made, keys))
    fleets.write_atomically(fleet.ssh_config, render_config(made))


def render_known_hosts(fleet: Fleet, keys: dict[str, str]) -> str:
    return "".join(f"{host.name},{host.address} {keys[host.name]}\n" for host in fleet.hosts)


def render_config(fleet: Fleet) -> str:
    """An ssh_config for `ssh -F`. Sharing of connections is left to whoever asks for it."""
    hosts = "".join(
        f"Host {host.name} {host.address}\n    HostName {host.address}\n" for host in fleet.hosts
    )
    return f"""{hosts}
Host *
    User root
    IdentityFile {fleet.key}
    IdentitiesOnly yes
    UserKnownHostsFile {fleet.known_hosts}
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    ControlPath {fleet.directory}/control-%C
    ConnectTimeout 5
    ServerAliveInterval 5
    ServerAliveCountMax 3
    LogLevel ERROR
"""


def argv(fleet: Fleet, host: Host, *command: str) -> list[str]:
    return ["ssh", "-F", str(fleet.ssh_config), host.name, *command]


def answers(host: Host) -> bool:
    """Whether an ssh server greets at the host's address."""
    try:
        with socket.create_connection((host.address, 22), timeout=1) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _public_key(host: Host) -> str:
    path = host.root / "etc/ssh/ssh_host_ed25519_key.pub"
    kind, key, *_ = path.read_text(encoding="ascii").split()
    return f"{kind} {key}"


def _keygen(path: Path, comment: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    commands.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)])
