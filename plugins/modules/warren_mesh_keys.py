#!/usr/bin/python
# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: warren_mesh_keys
short_description: Replace old mesh keys of a Warren cluster
version_added: 0.1.0
description:
  - Asks the cluster for new WireGuard keys of nodes, and waits until they are in use. The cluster
    replaces them one node after another, without losing a packet, also when the leader changes or
    this module is interrupted.
  - Private keys are made on their hosts and stay there.
author:
  - The Warren authors (@warren)
options:
  nodes:
    description: Names of the nodes. All, if there are none.
    type: list
    elements: str
    default: []
  max_age:
    description:
      - Keys that are older are replaced, such as V(90d). With V(0s), all are.
    type: str
    default: 0s
extends_documentation_fragment:
  - warren.core.connection
  - warren.core.wait
  - warren.core.attributes
  - warren.core.attributes.actiongroup
attributes:
  check_mode:
    support: full
    details:
      - The cluster makes a dry run.
  diff_mode:
    support: none
  idempotent:
    support: partial
    details:
      - With O(max_age=0s) every run replaces all keys.
seealso:
  - module: warren.core.warren_mesh_info
"""

EXAMPLES = r"""
- name: No mesh key is older than 90 days
  warren.core.warren_mesh_keys:
    max_age: 90d

- name: The node w1 has a new mesh key
  warren.core.warren_mesh_keys:
    nodes: [w1]
"""

RETURN = r"""
nodes:
  description: Nodes whose keys were, or in check mode would be, replaced.
  returned: success
  type: list
  elements: str
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

from ansible_collections.warren.core.plugins.module_utils.warren import (
    WAIT_ARGUMENTS,
    WarrenModule,
    run,
)

try:
    from datetime import timedelta

    from warren.client import rotations
    from warren.model.errors import InvalidInput
    from warren.model.units import parse_duration
except ImportError:  # told by module_utils/warren.py
    pass


def main() -> None:
    """Entry point."""
    module = WarrenModule(
        {
            "nodes": {"type": "list", "elements": "str", "default": []},
            "max_age": {"type": "str", "default": "0s", "no_log": False},
            **WAIT_ARGUMENTS,
        }
    )
    run(module, lambda: replace(module))


def replace(module: WarrenModule) -> dict[str, Any]:
    """No key of the nodes is older than that."""
    try:
        max_age = parse_duration(module.params["max_age"])
    except ValueError as error:
        raise InvalidInput(str(error), path="max_age") from None
    with module.client() as client:
        names = client.rotate_keys(
            module.params["nodes"], older_than=max_age, dry_run=module.check_mode
        )
        if names and module.params["wait"] and not module.check_mode:
            timeout = timedelta(seconds=module.params["wait_timeout"])
            rotations.wait_rotated(client, names, timeout=timeout)
    return {"changed": bool(names), "nodes": list(names)}


if __name__ == "__main__":
    main()
