#!/usr/bin/python
# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: warren_mesh_info
short_description: Measure the mesh of a Warren cluster
version_added: 0.1.0
description:
  - Has every node measure its way to every other node through the mesh, all at once, and returns
    the matrix.
  - For each pair it tells whether packets arrive, how long they take there and back, how large they
    may be, and how old the WireGuard handshake is.
author:
  - The Warren authors (@warren)
options:
  timeout:
    description: Most that a call to the cluster may take, in seconds. Measuring takes up to eight.
    type: float
    default: 20.0
extends_documentation_fragment:
  - warren.core.connection
  - warren.core.attributes.actiongroup
  - warren.core.attributes.info
seealso:
  - module: warren.core.warren_mesh_keys
  - module: warren.core.warren_node_info
"""

EXAMPLES = r"""
- name: Every node reaches every other
  warren.core.warren_mesh_info:
  register: mesh
  failed_when: mesh.problems | length > 0
"""

RETURN = r"""
mtu:
  description: Largest packet that all nodes use in the mesh.
  returned: success
  type: int
  sample: 1420
nodes:
  description:
    - The nodes, with C(trouble) telling why one measured nothing. C(mtu) is what the node's
      underlay leaves.
  returned: success
  type: list
  elements: dict
  sample:
    - name: m1
      state: ready
      address: 10.86.0.1
      subnet: 10.88.0.0/24
      endpoint: 10.77.0.11:51820
      public_key: Xk0pG…=
      rotating: false
      mtu: 1420
      trouble: ""
links:
  description:
    - The ways, one for each node that measured and each other node. C(latency_ms) is not there when
      nothing arrived, C(handshake_age_s) when there never was a handshake.
  returned: success
  type: list
  elements: dict
  sample:
    - source: m1
      target: m2
      reachable: true
      latency_ms: 0.412
      mtu: 1420
      handshake_age_s: 31.5
      endpoint: 10.77.0.12:51820
      received_bytes: 10144
      sent_bytes: 9820
problems:
  description: What is wrong with the mesh, one sentence each. Empty when all is well.
  returned: success
  type: list
  elements: str
  sample: ["nothing comes from m1 to m3 through the mesh (endpoint 10.77.0.13:51820)"]
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

from ansible_collections.warren.core.plugins.module_utils.warren import WarrenModule, run


def main() -> None:
    """Entry point."""
    module = WarrenModule({"timeout": {"type": "float", "default": 20.0}})
    run(module, lambda: read(module))


def read(module: WarrenModule) -> dict[str, Any]:
    """The mesh as it is measured now."""
    from warren.client import reports

    with module.client() as client:
        view = client.measure_mesh(timeout=module.params["timeout"])
    return {"changed": False, **reports.mesh(view)}


if __name__ == "__main__":
    main()
