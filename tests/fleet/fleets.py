"""What a fleet is: its name, its subnet, its hosts and their addresses, and where its files are.

Everything else in the package is given a `Fleet` or a `Host` from here. Pure data, but for `load`
and `save`, which keep it in `hosts.json`.
"""

import dataclasses
import ipaddress
import json
import re
from collections.abc import Sequence
from pathlib import Path

from tests.fleet.errors import FleetError

STATE = Path("/var/lib/warren-fleet")
RELEASES = ("bookworm", "trixie")
DEFAULT_RELEASE = "trixie"
DEFAULT_SUBNET = "10.77.0.0/24"

# m1 is .11 and w1 is .21: an address can be read off a name, and adding a host moves no other.
FIRST_ADDRESS = {"m": 10, "w": 20}
LAST_NUMBER = {"m": 10, "w": 79}

FLEET_NAME = re.compile(r"[a-z][a-z0-9-]{0,11}")  # with the prefix wf- it names an interface
HOST_NAME = re.compile(r"([mw])([1-9][0-9]?)")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One machine of a fleet."""

    fleet: str
    name: str
    address: str
    release: str

    @property
    def machine(self) -> str:
        """Its name on this machine, where hosts of several fleets meet."""
        return f"{self.fleet}-{self.name}"

    @property
    def cgroup(self) -> str:
        """The control group, in every hierarchy, above everything that runs in the host."""
        return f"warren-{self.machine}"

    @property
    def directory(self) -> Path:
        return STATE / self.fleet / "hosts" / self.name

    @property
    def root(self) -> Path:
        return self.directory / "root"

    @property
    def console(self) -> Path:
        return self.directory / "console.log"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Hosts that share a bridge, a subnet and an ssh key."""

    name: str
    subnet: str
    hosts: tuple[Host, ...]

    @property
    def directory(self) -> Path:
        return STATE / self.name

    @property
    def bridge(self) -> str:
        return f"wf-{self.name}"

    @property
    def gateway(self) -> str:
        """The address of this machine on the fleet's bridge. It routes nothing."""
        return str(ipaddress.IPv4Network(self.subnet)[1])

    @property
    def key(self) -> Path:
        return self.directory / "id_ed25519"

    @property
    def ssh_config(self) -> Path:
        return self.directory / "ssh_config"

    @property
    def known_hosts(self) -> Path:
        return self.directory / "known_hosts"

    def host(self, name: str) -> Host:
        for host in self.hosts:
            if host.name == name:
                return host
        names = ", ".join(host.name for host in self.hosts)
        raise FleetError(f"fleet {self.name} has no host {name}: it has {names or 'none'}")


def check_name(name: str) -> str:
    if not FLEET_NAME.fullmatch(name):
        raise FleetError(f"--name {name!r}: want a letter, then up to 11 of a-z, 0-9 and -")
    return name


def check_subnet(subnet: str) -> str:
    try:
        network = ipaddress.IPv4Network(subnet)
    except ValueError as error:
        raise FleetError(f"--subnet {subnet!r}: {error}") from error
    if network.prefixlen != 24 or not network.is_private:
        raise FleetError(f"--subnet {subnet!r}: want a private /24, such as {DEFAULT_SUBNET}")
    return str(network)


def address_of(name: str, subnet: str) -> str:
    """The address that a host of this name always has in this subnet."""
    match = HOST_NAME.fullmatch(name)
    if not match or int(match[2]) > LAST_NUMBER[match[1]]:
        raise FleetError(f"host name {name!r}: want m1 to m10 or w1 to w79")
    return str(ipaddress.IPv4Network(subnet)[FIRST_ADDRESS[match[1]] + int(match[2])])


def in_order(hosts: Sequence[Host]) -> tuple[Host, ...]:
    return tuple(sorted(hosts, key=lambda host: ipaddress.IPv4Address(host.address)))


def extend(fleet: Fleet, names: Sequence[str], release: str | None) -> Fleet:
    """The fleet with these hosts in it as well. Without a release, hosts stay what they are."""
    known = {host.name: host for host in fleet.hosts}
    for name in names:
        host = known.get(name)
        if host is None:
            known[name] = Host(
                fleet=fleet.name,
                name=name,
                address=address_of(name, fleet.subnet),
                release=release or DEFAULT_RELEASE,
            )
        elif release not in (None, host.release):
            raise FleetError(
                f"{name} of fleet {fleet.name} is {host.release}, not {release}: "
                f"take the fleet down first"
            )
    return dataclasses.replace(fleet, hosts=in_order(list(known.values())))


def load(name: str) -> Fleet | None:
    """The fleet as `hosts.json` has it, or None if there is no such (readable) file."""
    try:
        text = (STATE / check_name(name) / "hosts.json").read_text(encoding="utf-8")
        document = json.loads(text)
        hosts = tuple(Host(fleet=name, **entry) for entry in document["hosts"])
        return Fleet(name=name, subnet=document["subnet"], hosts=hosts)
    except (FileNotFoundError, KeyError, TypeError, ValueError):
        return None


def existing(name: str) -> Fleet:
    fleet = load(name)
    if fleet is None:
        raise FleetError(f"there is no fleet {name}: `up --name {name}` makes one")
    return fleet


def save(fleet: Fleet) -> None:
    fleet.directory.mkdir(parents=True, exist_ok=True)
    hosts = [
        {"name": host.name, "address": host.address, "release": host.release}
        for host in fleet.hosts
    ]
    document = {"name": fleet.name, "subnet": fleet.subnet, "hosts": hosts}
    write_atomically(fleet.directory / "hosts.json", json.dumps(document, indent=2) + "\n")


def names() -> tuple[str, ...]:
    """The fleets that have left anything in the state directory."""
    if not STATE.is_dir():
        return ()
    return tuple(sorted(entry.name for entry in STATE.iterdir() if entry.is_dir()))


def named(name: str, subnet: str | None) -> Fleet:
    """The fleet of this name, or a new one without hosts, on a subnet that no other fleet has."""
    fleet = load(name)
    if fleet is not None:
        if subnet not in (None, fleet.subnet):
            raise FleetError(f"--subnet {subnet}: fleet {name} is already on {fleet.subnet}")
        return fleet
    wanted = check_subnet(subnet or DEFAULT_SUBNET)
    for other in filter(None, map(load, names())):
        if other.subnet == wanted:
            raise FleetError(f"--subnet {wanted}: fleet {other.name} has it; give another")
    return Fleet(name=check_name(name), subnet=wanted, hosts=())


def write_atomically(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Replace a file at once, so that no reader and no crash ever sees half of it."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.chmod(mode)
    part.replace(path)
