"""The command line of the local fleet: parses arguments, prints, and leaves the work to others.

Run it from the root of the repository, as root: `python3 -m tests.fleet up --hosts 3`.
"""

import argparse
import concurrent.futures
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias, TypeVar

if not __package__:  # started as a file: make the repository, not this directory, importable
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tests.fleet import (
    base,
    cgroups,
    fleets,
    host,
    inventory,
    locks,
    mounts,
    network,
    registry,
    ssh,
)
from tests.fleet.errors import FleetError
from tests.fleet.fleets import Fleet, Host

Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
Result = TypeVar("Result")


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        if os.geteuid():
            raise FleetError("the local fleet needs root: it makes mounts, bridges and hosts")
        code: int = options.run(options)
    except FleetError as error:
        print(f"fleet: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("fleet: interrupted; `up` continues, `down` removes", file=sys.stderr)
        return 130
    return code


def up(options: argparse.Namespace) -> int:
    name = fleets.check_name(options.name)
    started = time.monotonic()
    with locks.held(name):
        fleet, wanted = _claim(options)
        hosts = [fleet.host(name) for name in wanted]
        for release in sorted({each.release for each in hosts if not each.root.is_dir()}):
            base.ready(release)
        network.create(fleet)
        ssh.create_key(fleet)
        _each(hosts, lambda each: host.create(fleet, each))
        ssh.write_config(fleet)
        changed = _each(hosts, lambda each: _ensure_running(fleet, each))
    done = f"{sum(changed)} booted" if any(changed) else "nothing to do"
    print(f"fleet {name}: {len(hosts)} up, {done} ({time.monotonic() - started:.1f} s)")
    return 0


def down(options: argparse.Namespace) -> int:
    """Goes by what is there, not by what files say: the files may be gone or wrong."""
    name = fleets.check_name(options.name)
    with locks.held(name):
        empty = Fleet(name=name, subnet=fleets.DEFAULT_SUBNET, hosts=())
        for group in sorted(cgroups.groups(name)):
            cgroups.kill(group)
        network.remove(name, empty.bridge)
        host.clean_up(empty)
        mounts.remove_tree(empty.directory)
    print(f"fleet {name}: removed")
    return 0


def status(options: argparse.Namespace) -> int:
    if options.name:
        fleets.existing(options.name)
    for name in (options.name,) if options.name else fleets.names():
        fleet = fleets.load(name)
        if fleet is None:
            print(f"fleet {name}: half made or half removed; `down --name {name}` removes it")
            continue
        print(f"fleet {fleet.name}: {fleet.subnet}, files in {fleet.directory}")
        for each in fleet.hosts:
            print(f"  {each.name:4} {each.address:15} {each.release:9} {host.condition(each)}")
        print(f"  registry {registry.condition(fleet)}")
    return 0


def start(options: argparse.Namespace) -> int:
    return _on_host(options, _ensure_running)


def stop(options: argparse.Namespace) -> int:
    return _on_host(options, lambda _, each: host.stop(each))


def kill(options: argparse.Namespace) -> int:
    return _on_host(options, host.kill)


def open_shell(options: argparse.Namespace) -> int:
    fleet = fleets.existing(options.name)
    command = ssh.argv(fleet, fleet.host(options.host), *options.command)
    os.execvp(command[0], command)


def write_inventory(options: argparse.Namespace) -> int:
    fleet = fleets.existing(options.name)
    chosen = inventory.groups(fleet, _split(options.managers), _split(options.workers))
    out = Path(options.out or f"inventory/{fleet.name}")
    print(inventory.write(fleet, chosen, out))
    return 0


def clean_cache(_: argparse.Namespace) -> int:
    base.remove_all()
    return 0


def registry_up(options: argparse.Namespace) -> int:
    with locks.held(options.name):
        fleet = fleets.existing(options.name)
        network.create(fleet)
        print(f"registry {registry.start(fleet, options.htpasswd)}")
    return 0


def registry_down(options: argparse.Namespace) -> int:
    with locks.held(options.name):
        registry.stop(fleets.existing(options.name))
    return 0


def registry_status(options: argparse.Namespace) -> int:
    print(f"registry {registry.condition(fleets.existing(options.name))}")
    return 0


def _ensure_running(fleet: Fleet, each: Host) -> bool:
    """Boot the host if it is down; whether that was so."""
    if host.is_running(each) and ssh.answers(each):
        return False
    booted = not host.is_running(each)
    if booted:
        host.boot(fleet, each)
    host.wait_ready(fleet, each)
    return booted


def _on_host(options: argparse.Namespace, act: Callable[[Fleet, Host], object]) -> int:
    with locks.held(fleets.check_name(options.name)):
        fleet = fleets.existing(options.name)
        network.create(fleet)
        act(fleet, fleet.host(options.host))
    return 0


def _claim(options: argparse.Namespace) -> tuple[Fleet, tuple[str, ...]]:
    """The fleet with the wanted hosts in it, and their names; now on file, its subnet taken."""
    with locks.held("subnets"):
        fleet = fleets.named(options.name, options.subnet)
        wanted = _wanted(options, fleet)
        fleet = fleets.extend(fleet, wanted, options.release)
        network.refuse_overlap(fleet)
        fleets.save(fleet)
    return fleet, wanted


def _wanted(options: argparse.Namespace, fleet: Fleet) -> tuple[str, ...]:
    """The names of the hosts to bring up: those asked for, else those there are, else three."""
    if options.names:
        return _split(options.names)
    if options.hosts is None and fleet.hosts:
        return tuple(each.name for each in fleet.hosts)
    return tuple(f"m{number}" for number in range(1, (options.hosts or 3) + 1))


def _split(names: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in names.split(",")) if names else ()


def _each(hosts: Sequence[Host], act: Callable[[Host], Result]) -> list[Result]:
    """Do it to all hosts at once; the first failure is raised when all have finished."""
    with concurrent.futures.ThreadPoolExecutor(max_workers=max(1, len(hosts))) as pool:
        return list(pool.map(act, hosts))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m tests.fleet", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    _add_fleet_verbs(verbs)
    _add_host_verbs(verbs)
    _add_registry_verbs(verbs)
    return parser


def _add_fleet_verbs(verbs: Verbs) -> None:
    verb = _verb(verbs, "up", up, "make and boot what is missing or down")
    verb.add_argument("--hosts", type=int, help="how many: m1, m2, ... (default 3)")
    verb.add_argument("--names", help="which, instead of how many: m1,m2,w1")
    verb.add_argument("--release", choices=fleets.RELEASES, help="Debian release (default trixie)")
    verb.add_argument("--subnet", help=f"a private /24 (default {fleets.DEFAULT_SUBNET})")
    _verb(verbs, "down", down, "remove every trace of the fleet")
    verb = _verb(verbs, "status", status, "what there is, and whether it runs")
    verb.set_defaults(name=None)
    verb = _verb(verbs, "inventory", write_inventory, "write an Ansible inventory")
    verb.add_argument("--out", help="directory for hosts.yml (default inventory/NAME)")
    verb.add_argument("--managers", help="m1,m2,m3 (default: the first three hosts)")
    verb.add_argument("--workers", help="m1,w1 (default: all hosts)")
    _verb(verbs, "clean-cache", clean_cache, "remove the base images")


def _add_host_verbs(verbs: Verbs) -> None:
    for name, act, summary in (
        ("start", start, "boot a host"),
        ("stop", stop, "power a host off cleanly"),
        ("kill", kill, "cut a host's power"),
        ("ssh", open_shell, "open a shell on a host, or run a command there"),
    ):
        verb = _verb(verbs, name, act, summary)
        verb.add_argument("host", metavar="HOST")
        if act is open_shell:
            verb.add_argument("command", nargs=argparse.REMAINDER)


def _add_registry_verbs(verbs: Verbs) -> None:
    parser = verbs.add_parser("registry", help="a container registry for the fleet")
    inner = parser.add_subparsers(required=True, metavar="VERB")
    verb = _verb(inner, "up", registry_up, "start it on the fleet's bridge")
    verb.add_argument("--htpasswd", metavar="USER:PASSWORD", help="let only this user in")
    _verb(inner, "down", registry_down, "stop it; what was pushed stays")
    _verb(inner, "status", registry_status, "whether it runs, and where")


def _verb(
    verbs: Verbs, name: str, act: Callable[[argparse.Namespace], int], summary: str
) -> argparse.ArgumentParser:
    verb = verbs.add_parser(name, help=summary)
    verb.add_argument("--name", default="demo", help="of the fleet (default demo)")
    verb.set_defaults(run=act)
    return verb


if __name__ == "__main__":
    sys.exit(main())
