# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is in a mesh without a cluster, and with which address and key.

The group of the inventory says who. What is not in the inventory, hosts say of themselves; what a
silent host would say, those remember that have it as a peer. So a run that is limited, or that
finds some hosts down, forgets nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Any

DOCUMENTATION = r"""
name: mesh_members
short_description: Who is in a mesh without a cluster, with which address and key
version_added: 0.1.0
author:
  - The Warren authors
description:
  - Reads what M(warren.core.warren_mesh_member_info) returned for the hosts of the run, and for
    those outside of it, from their variables.
options:
  _input:
    description: Names of the hosts of the group.
    type: list
    elements: str
    required: true
  hostvars:
    description: The variables of the hosts.
    type: dict
    required: true
  network:
    description: Network of the addresses.
    type: str
    required: true
  port:
    description: UDP port of hosts that have no variable warren_mesh_port.
    type: int
    required: true
"""

EXAMPLES = r"""
- name: Say who is in the mesh
  ansible.builtin.debug:
    msg: "{{ (groups.mesh | warren.core.mesh_members(hostvars, '10.86.0.0/16', 51820)).members }}"
"""

RETURN = r"""
_value:
  description: >-
    The C(members) by host (C(name), C(address), C(subnet), C(endpoint), C(public_key), which is
    empty where nobody knows it), the C(mtu) that all of their underlays leave, and C(problems).
  type: dict
"""


def mesh_members(
    hosts: Sequence[str],
    hostvars: Mapping[str, Mapping[str, Any]],
    network: str,
    port: int,
) -> dict[str, Any]:
    present = [h for h in hosts if hostvars[h].get("warren_mesh_state", "present") != "absent"]
    answers = _answers(hosts, hostvars)
    remembered = _remembered(answers)
    wanted = {host: str(hostvars[host].get("warren_mesh_address", "")) for host in present}
    kept = {host: _kept_address(host, answers, remembered) for host in present}
    addresses = _addresses(wanted, kept, IPv4Network(network))
    members = {
        host: {
            "name": host,
            "address": addresses.get(host, ""),
            "subnet": str(hostvars[host].get("warren_mesh_subnet", "")),
            "endpoint": _endpoint(host, hostvars[host], answers, remembered, port),
            "public_key": answers.get(host, {}).get("public_key")
            or remembered.get(host, {}).get("public_key", ""),
        }
        for host in present
    }
    mtus = [answers[host]["mtu"] for host in present if answers.get(host, {}).get("mtu")]
    return {
        "members": members,
        "mtu": min(mtus, default=0),
        "problems": list(_problems(members, IPv4Network(network))),
    }


def _answers(
    hosts: Sequence[str], hostvars: Mapping[str, Mapping[str, Any]]
) -> dict[str, Mapping[str, Any]]:
    """What hosts said of themselves, in this run's hosts or outside of them."""
    found: dict[str, Mapping[str, Any]] = {}
    for host in hosts:
        variables = hostvars[host]
        results = variables.get("__mesh_others_info", {}).get("results", ())
        told = [(host, variables.get("__mesh_info", {}))]
        told += [(result["item"], result) for result in results if "item" in result]
        for name, answer in told:
            if "public_key" in answer:
                found.setdefault(name, answer)
    return found


def _remembered(answers: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """What hosts know of their peers."""
    found: dict[str, Mapping[str, Any]] = {}
    for answer in answers.values():
        for peer in answer.get("config", {}).get("peers", ()):
            found.setdefault(peer["name"], peer)
    return found


def _kept_address(
    host: str,
    answers: Mapping[str, Mapping[str, Any]],
    remembered: Mapping[str, Mapping[str, Any]],
) -> str:
    own = answers.get(host, {}).get("config", {}).get("address", "")
    return str(own or remembered.get(host, {}).get("address", ""))


def _addresses(
    wanted: Mapping[str, str], kept: Mapping[str, str], network: IPv4Network
) -> dict[str, str]:
    """What the inventory says, else what the host has, else the lowest that is free. An address
    that another host is given by the inventory, or that is not in the network, is not kept."""
    addresses = {host: address for host, address in wanted.items() if address}
    for host, address in kept.items():
        is_free = address and address not in addresses.values()
        if host not in addresses and is_free and IPv4Address(address) in network:
            addresses[host] = address
    taken = set(addresses.values())
    free = (str(address) for address in network.hosts() if str(address) not in taken)
    for host in wanted:
        if host not in addresses:
            address = next(free, "")
            addresses[host] = address
    return addresses


def _endpoint(
    host: str,
    variables: Mapping[str, Any],
    answers: Mapping[str, Mapping[str, Any]],
    remembered: Mapping[str, Mapping[str, Any]],
    port: int,
) -> str:
    port = int(variables.get("warren_mesh_port", port))
    address = answers.get(host, {}).get("endpoint", "")
    if address:
        return f"{address}:{port}"
    if host in remembered:
        return str(remembered[host]["endpoint"])
    address = variables.get("warren_mesh_endpoint", variables.get("ansible_host", host))
    return f"{address}:{port}"


def _problems(members: Mapping[str, Mapping[str, str]], network: IPv4Network) -> Iterable[str]:
    owners: dict[str, str] = {}
    claims: list[tuple[IPv4Network, str]] = [(network, "the mesh itself")]
    for host, member in members.items():
        address, subnet = member["address"], member["subnet"]
        if not address:
            yield f"{host}: no address is free in {network}"
            continue
        if not _is_host_of(address, network):
            yield f"{host}: {address} is no address of a host in {network}"
        if address in owners:
            yield f"{host}: {address} is that of {owners[address]}"
        owners.setdefault(address, host)
        if not subnet:
            continue
        try:
            claimed = IPv4Network(subnet)
        except ValueError as error:
            yield f"{host}: {subnet!r} is no network: {error}"
            continue
        for other, owner in claims:
            if claimed.overlaps(other):
                yield f"{host}: {subnet} overlaps {other} of {owner}"
        claims.append((claimed, host))


def _is_host_of(address: str, network: IPv4Network) -> bool:
    try:
        value = IPv4Address(address)
    except ValueError:
        return False
    return value in network and value not in (network.network_address, network.broadcast_address)


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"mesh_members": mesh_members}
