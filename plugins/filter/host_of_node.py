# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the host of the inventory that is a node of the cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

DOCUMENTATION = r"""
name: host_of_node
short_description: Find the host of the inventory that is a node
version_added: 0.1.0
author:
  - The Warren authors
description:
  - A host is the node that its variable C(warren_node_name) names, by default the one of its own
    short name. Hosts of C(warren_managers) and C(warren_workers) are looked at.
options:
  _input:
    description: Name of the node.
    type: str
    required: true
  groups:
    description: The groups of the inventory.
    type: dict
    required: true
  hostvars:
    description: The variables of the hosts.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Ask the node that has the volume
  ansible.builtin.command: df /var/lib/warren-volumes
  delegate_to: "{{ found.volume.node | warren.core.host_of_node(groups, hostvars) }}"
  changed_when: false
"""

RETURN = r"""
_value:
  description: Name of the host.
  type: str
"""


def host_of_node(
    node: str, groups: Mapping[str, Sequence[str]], hostvars: Mapping[str, Mapping[str, Any]]
) -> str:
    members = [*groups.get("warren_managers", ()), *groups.get("warren_workers", ())]
    for host in dict.fromkeys(members):
        variables = hostvars[host]
        name = variables.get("warren_node_name", variables.get("inventory_hostname_short", host))
        if str(name) == node:
            return host
    raise AnsibleFilterError(
        f"no host of the inventory's warren_managers and warren_workers is node {node}"
    )


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"host_of_node": host_of_node}
