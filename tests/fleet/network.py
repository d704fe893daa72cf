"""The network of a fleet: one bridge, and a wall around it.

Hosts reach each other and a few ports of this machine's address on the bridge, and nothing else:
no route, no address translation, and a packet filter that holds even where this machine forwards.
What a host installs must therefore come with Warren, which is the point.
"""

import ipaddress
import json
import re

from tests.fleet import commands
from tests.fleet.errors import FleetError
from tests.fleet.fleets import Fleet, Host

# Ports of this machine that hosts may open: the registry, and what a test serves to its hosts.
SERVED_PORTS = "5000-5999"


def refuse_overlap(fleet: Fleet) -> None:
    """A subnet that this machine already uses would cut it off from whatever is there."""
    wanted = ipaddress.IPv4Network(fleet.subnet)
    for interface in json.loads(commands.run(["ip", "-json", "-4", "address", "show"])):
        if interface["ifname"] == fleet.bridge:
            continue
        for info in interface["addr_info"]:
            taken = ipaddress.IPv4Interface(f"{info['local']}/{info['prefixlen']}").network
            if wanted.overlaps(taken):
                raise FleetError(
                    f"--subnet {wanted}: {interface['ifname']} of this machine is on {taken}"
                )


def create(fleet: Fleet) -> None:
    """Make the bridge and the wall, or whatever of the two is missing."""
    if not exists(fleet.bridge):
        commands.run(["ip", "link", "add", fleet.bridge, "type", "bridge"])
    length = ipaddress.IPv4Network(fleet.subnet).prefixlen
    commands.run(["ip", "address", "replace", f"{fleet.gateway}/{length}", "dev", fleet.bridge])
    commands.run(["ip", "link", "set", fleet.bridge, "up"])
    commands.run(["nft", "-f", "-"], text_in=wall(fleet))


def wall(fleet: Fleet) -> str:
    """The packet filter around a fleet, as nft reads it; replaces itself in one transaction."""
    table = f"inet {_table(fleet.name)}"
    return f"""
add table {table}
delete table {table}
table {table} {{
    chain input {{
        type filter hook input priority -10;
        iifname != "{fleet.bridge}" accept
        ct state established,related accept
        ip daddr {fleet.gateway} icmp type echo-request accept
        ip daddr {fleet.gateway} tcp dport {SERVED_PORTS} accept
        drop
    }}
    chain forward {{
        type filter hook forward priority -10;
        iifname "{fleet.bridge}" oifname != "{fleet.bridge}" drop
        oifname "{fleet.bridge}" iifname != "{fleet.bridge}" drop
    }}
}}
"""


def remove(name: str, bridge: str) -> None:
    """Remove cables, bridge and wall, as far as they are there."""
    _delete_cables(re.escape(f"vb-{name}-") + "[a-z0-9]+")
    if exists(bridge):
        commands.run(["ip", "link", "delete", bridge])
    if commands.succeeds(["nft", "list", "table", "inet", _table(name)]):
        commands.run(["nft", "delete", "table", "inet", _table(name)])


def unplug(fleet: Fleet, host: Host) -> None:
    """Take the host's cable away: what its kernel would still send does not get out.

    Connections of a killed host linger in the kernel, hold on to its end of the cable for minutes,
    and would say goodbye to their peers, which no host does that has lost its power.
    """
    _delete_cables(re.escape(f"vb-{host.machine}"))


def _delete_cables(pattern: str) -> None:
    """Delete this machine's ends whose name, or full name where it was too long, matches."""
    for link in json.loads(commands.run(["ip", "-json", "link", "show"])):
        if any(re.fullmatch(pattern, name) for name in (link["ifname"], *link.get("altnames", ()))):
            commands.run(["ip", "link", "delete", link["ifname"]])


def exists(interface: str) -> bool:
    return commands.succeeds(["ip", "link", "show", "dev", interface])


def _table(name: str) -> str:
    return "warren_fleet_" + name.replace("-", "_")
