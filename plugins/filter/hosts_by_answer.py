# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sorts hosts by what they said of themselves, for the one moment when there is no cluster yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

DOCUMENTATION = r"""
name: hosts_by_answer
short_description: Sort hosts by whether they answered and are members
version_added: 1.0.0
author:
  - The Warren authors
description:
  - Reads the facts that M(warren.core.warren_preflight) left for each host.
options:
  _input:
    description: Names of hosts.
    type: list
    elements: str
    required: true
  hostvars:
    description: The variables of the hosts.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Say who does not answer
  ansible.builtin.debug:
    msg: "{{ (groups.warren_managers | warren.core.hosts_by_answer(hostvars)).silent }}"
"""

RETURN = r"""
_value:
  description: >-
    Host names under C(serving) (members with a running manager), C(members) (those too that do not
    run), C(bare) and C(silent), and C(clusters) with the name of each member's cluster.
  type: dict
"""


def hosts_by_answer(
    hosts: Sequence[str], hostvars: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    facts = {host: hostvars[host].get("ansible_facts", {}).get("warren_host") for host in hosts}
    known = {host: fact for host, fact in facts.items() if fact}
    members = [host for host, fact in known.items() if fact["member"]]
    return {
        "serving": [host for host in members if known[host]["serves"]],
        "members": members,
        "bare": [host for host in known if host not in members],
        "silent": [host for host in hosts if host not in known],
        "clusters": {host: known[host]["member"]["cluster"] for host in members},
    }


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"hosts_by_answer": hosts_by_answer}
