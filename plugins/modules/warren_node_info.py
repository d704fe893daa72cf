#!/usr/bin/python
# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: warren_node_info
short_description: Read nodes of a Warren cluster
version_added: 0.1.0
description:
  - Reads one node or all of them.
author:
  - The Warren authors (@warren)
options:
  name:
    description: Name of the node. Without it, all nodes.
    type: str
extends_documentation_fragment:
  - warren.core.connection
  - warren.core.stale
  - warren.core.attributes.actiongroup
  - warren.core.attributes.info
seealso:
  - module: warren.core.warren_node
"""

EXAMPLES = r"""
- name: Wait until all nodes are ready
  warren.core.warren_node_info:
  register: cluster
  until: cluster.nodes | rejectattr('state', 'eq', 'ready') | length == 0
  retries: 30
  delay: 1
"""

RETURN = r"""
exists:
  description: Whether any node was found.
  returned: success
  type: bool
nodes:
  description: The nodes. Empty when there is no node of that name.
  returned: success
  type: list
  elements: dict
  sample:
    - name: m1
      id: k3x7qabcde
      roles: [manager, worker]
      labels: {zone: north}
      availability: active
      state: ready
      leader: true
      reachable: true
      tasks: 3
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

import contextlib
from typing import Any

from ansible_collections.warren.core.plugins.module_utils.warren import (
    INFO_ARGUMENTS,
    WarrenModule,
    find,
    run,
)

with contextlib.suppress(ImportError):  # told by module_utils/warren.py
    from warren.client import reports


def main() -> None:
    """Entry point."""
    module = WarrenModule(INFO_ARGUMENTS)
    run(module, lambda: read(module))


def read(module: WarrenModule) -> dict[str, Any]:
    """The nodes as they are."""
    with module.client() as client:
        views = find(module, client.get_node, client.list_nodes)
    nodes = [reports.node(view) for view in views]
    return {"changed": False, "exists": bool(nodes), "nodes": nodes}


if __name__ == "__main__":
    main()
