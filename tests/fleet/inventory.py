"""Writes an Ansible inventory of a fleet, for `ansible-playbook -i` and for molecule.

Pure rendering, but for `write`. The file is generated and not kept in git.
"""

import dataclasses
from pathlib import Path

from tests.fleet import fleets
from tests.fleet.errors import FleetError
from tests.fleet.fleets import Fleet, Host


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """Which hosts are managers, and which are workers. A host may be both."""

    managers: tuple[str, ...]
    workers: tuple[str, ...]


def groups(fleet: Fleet, managers: tuple[str, ...], workers: tuple[str, ...]) -> Groups:
    """The groups asked for; by default the first three hosts manage, and all of them work."""
    for name in (*managers, *workers):
        fleet.host(name)
    everyone = tuple(host.name for host in fleet.hosts)
    if not everyone:
        raise FleetError(f"fleet {fleet.name} has no hosts")
    return Groups(managers=managers or everyone[:3], workers=workers or everyone)


def render(fleet: Fleet, groups: Groups) -> str:
    """The inventory. A host's variables stand with its first mention."""
    lines = ["---", f"# Written by `python3 -m tests.fleet inventory --name {fleet.name}`."]
    seen: set[str] = set()
    for title, names in (("warren_managers", groups.managers), ("warren_workers", groups.workers)):
        lines += [f"{title}:", "  hosts:"]
        for name in names:
            lines += [f"    {name}:"] if name in seen else _host(fleet.host(name))
            seen.add(name)
    # A group of their own and not `all`, which localhost would be part of.
    lines += ["warren_fleet:", "  children:", "    warren_managers:", "    warren_workers:"]
    lines += ["  vars:", *_variables(fleet)]
    return "\n".join(lines) + "\n"


def write(fleet: Fleet, groups: Groups, directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "hosts.yml"
    fleets.write_atomically(path, render(fleet, groups))
    return path


def _host(host: Host) -> list[str]:
    return [f"    {host.name}:", f"      ansible_host: {host.address}"]


def _variables(fleet: Fleet) -> list[str]:
    return [
        "    ansible_user: root",
        "    ansible_python_interpreter: /usr/bin/python3",
        f"    ansible_ssh_private_key_file: {fleet.key}",
        f"    ansible_ssh_common_args: -F {fleet.ssh_config}",
    ]
