#!/usr/bin/python
# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: warren_cluster_info
short_description: Read the state of a Warren cluster
version_added: 0.1.0
description:
  - Reads settings, managers, leader and counts of the cluster.
  - On a host, run with O(local=true), it also tells whether the host is a member, without asking
    the cluster.
author:
  - The Warren authors (@warren)
options:
  local:
    description: Read only what this host knows of its own membership.
    type: bool
    default: false
extends_documentation_fragment:
  - warren.core.connection
  - warren.core.stale
  - warren.core.attributes.actiongroup
  - warren.core.attributes.info
seealso:
  - module: warren.core.warren_cluster
"""

EXAMPLES = r"""
- name: Read the cluster
  warren.core.warren_cluster_info:
  register: warren

- name: Read whether this host is a member
  warren.core.warren_cluster_info:
    local: true
  register: membership
  vars:
    ansible_python_interpreter: /opt/warren/venv/bin/python
"""

RETURN = r"""
cluster:
  description:
    - The cluster at a glance. Not with O(local=true).
    - Each manager has its part in the replicated log under C(log), see docs/metrics.md.
  returned: success
  type: dict
  sample:
    name: demo
    id: 3q5k7m2hx4wzabcd
    leader: m1
    managers: [{name: m1, address: 10.77.0.11, leader: true, reachable: true, state: ready}]
    nodes: 3
    nodes_ready: 3
    services: 1
    tasks_running: 3
    ca_digest: ""
membership:
  description:
    - What this host knows of its membership, empty when it is no member. Only with O(local=true).
  returned: success
  type: dict
  sample:
    cluster: demo
    cluster_id: 3q5k7m2hx4wzabcd
    name: m1
    node_id: k3x7qabcde
    roles: [manager, worker]
    mesh_address: 10.86.0.1
    managers: ["10.77.0.11:7443"]
duration:
  description: Seconds that it took.
  returned: always
  type: float
error:
  description:
    - Class of the error, such as V(InvalidInput), V(NotFound), V(Conflict), V(Unavailable) or
      V(WaitFailed).
  returned: failure
  type: str
path:
  description: The field that is wrong, such as V(web.ports[0].target), where one is.
  returned: failure
  type: str
"""

from typing import Any

from ansible_collections.warren.core.plugins.module_utils.membership import read_membership
from ansible_collections.warren.core.plugins.module_utils.warren import WarrenModule, run


def main() -> None:
    """Entry point."""
    module = WarrenModule(
        {
            "local": {"type": "bool", "default": False},
            "stale": {"type": "bool", "default": False},
        }
    )
    run(module, lambda: read(module))


def read(module: WarrenModule) -> dict[str, Any]:
    """The cluster, or this host's part in it."""

    from warren.client import reports

    if module.params["local"]:
        return {"changed": False, "membership": read_membership()}
    with module.client() as client:
        view = client.get_cluster(stale=module.params["stale"], members=True)
    return {"changed": False, "cluster": reports.cluster(view)}


if __name__ == "__main__":
    main()
