# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands against an inventory becoming a cluster, told from its variables alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

DOCUMENTATION = r"""
name: inventory_problems
short_description: What stands against an inventory becoming a cluster
version_added: 1.0.0
author:
  - The Warren authors
description:
  - Looks at groups and variables only. So it needs no host, and C(--limit) makes no difference.
options:
  _input:
    description: The groups of the inventory.
    type: dict
    required: true
  hostvars:
    description: The variables of the hosts.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Inventory describes a cluster
  ansible.builtin.assert:
    that: groups | warren.core.inventory_problems(hostvars) | length == 0
"""

RETURN = r"""
_value:
  description: One line for each problem.
  type: list
  elements: str
"""

DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def inventory_problems(
    groups: Mapping[str, Sequence[str]], hostvars: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    managers = list(groups.get("warren_managers", ()))
    hosts = list(dict.fromkeys([*managers, *groups.get("warren_workers", ())]))
    names = {host: node_name(host, hostvars[host]) for host in hosts}
    addresses = {host: str(hostvars[host].get("ansible_host", host)) for host in hosts}
    return [
        *_manager_problems(managers),
        *_name_problems(names),
        *(f"node name {line}: set warren_node_name" for line in shared(names)),
        *(f"address {line}" for line in shared(addresses)),
    ]


def node_name(host: str, variables: Mapping[str, Any]) -> str:
    """The name of a node, by the same rule as the roles' default for warren_node_name."""
    return str(variables.get("warren_node_name", host.partition(".")[0]))


def shared(values: Mapping[str, str]) -> list[str]:
    """`value is that of host, host` for each value that more than one host has."""
    return [
        f"{value} is that of {', '.join(host for host in values if values[host] == value)}"
        for value, count in Counter(values.values()).items()
        if count > 1
    ]


def _manager_problems(managers: Sequence[str]) -> list[str]:
    count = len(managers)
    if count == 0:
        return ["warren_managers: no hosts: a cluster has 1, 3 or 5 managers"]
    if count % 2 == 0:
        return [
            f"warren_managers: {count} managers ({', '.join(managers)}): an even number survives "
            f"no more failures than {count - 1} and has more that can fail: use 1, 3 or 5"
        ]
    return []


def _name_problems(names: Mapping[str, str]) -> list[str]:
    return [
        f"node name {name} of {host} is not a DNS label (a-z, 0-9 and -, at most 63): rename the "
        "host or set warren_node_name"
        for host, name in names.items()
        if not DNS_LABEL.fullmatch(name)
    ]


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"inventory_problems": inventory_problems}
