#!/usr/bin/python
# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: warren_recovery
short_description: Read or replace the log of a manager that is stopped
version_added: 0.2.0
description:
  - The steps of the playbook C(recover.yml), which is what to use when a cluster lost the majority
    of its managers for good.
  - Runs on a manager whose daemon is stopped, and works on its files. Nothing is deleted. A log
    that is replaced is kept as C(/var/lib/warren/raft.before-TIME).
author:
  - The Warren authors (@warren)
options:
  state:
    description:
      - V(inspected) says what the log holds, and changes nothing.
      - V(alone) makes this manager the only one that its log knows.
      - V(set_aside) has the manager learn the log anew from the others when it starts.
    type: str
    choices: [inspected, alone, set_aside]
    default: inspected
  removed:
    description: Node ids of managers that may never come back with what they have.
    type: list
    elements: str
    default: []
  config:
    description: Configuration of the agent on this host.
    type: path
    default: /etc/warren/warren.toml
extends_documentation_fragment:
  - warren.core.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
requirements:
  - python >= 3.11
  - The Python package C(warren), which is in the directory C(agent) of this collection
notes:
  - Runs as root with C(ansible_python_interpreter=/opt/warren/venv/bin/python).
"""

EXAMPLES = r"""
- name: What does this manager's log hold
  warren.core.warren_recovery:
  register: found
  vars:
    ansible_python_interpreter: /opt/warren/venv/bin/python
"""

RETURN = r"""
log:
  description:
    - What the log on the disk holds, as C(warren-manager --inspect) prints it. Before a change was
      made.
  returned: success
  type: dict
  sample:
    name: m1
    node_id: k3x7qabcde
    has_log: true
    term: 4
    last_index: 1723
    last_term: 4
    committed_index: 1700
    members: [{node_id: k3x7qabcde, address: "10.86.0.1:7445", voter: true}]
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

from datetime import datetime, timezone
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.warren.core.plugins.module_utils import membership
from ansible_collections.warren.core.plugins.module_utils.warren import require_warren, run


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        {
            "state": {
                "type": "str",
                "choices": ["inspected", "alone", "set_aside"],
                "default": "inspected",
            },
            "removed": {"type": "list", "elements": "str", "default": []},
            "config": {"type": "path", "default": membership.CONFIG_PATH},
        },
        supports_check_mode=True,
    )
    require_warren(module)
    run(module, lambda: work(module))


def work(module: AnsibleModule) -> dict[str, Any]:
    """Look, and then do what is wanted."""
    from warren.bootstrap import recover  # needs what only a node has

    config = membership.read_config(module.params["config"])
    state, now = module.params["state"], datetime.now(timezone.utc)
    found = recover.report(recover.inspect(config))
    changed = False
    if state == "alone":
        changed = not found["alone"]
        if not module.check_mode:
            changed = recover.stand_alone(config, module.params["removed"], now)
    elif state == "set_aside":
        changed = bool(found["has_log"] or found["trouble"])
        if not module.check_mode:
            changed = recover.set_aside(config, now)
    return {"changed": changed, "log": found}


if __name__ == "__main__":
    main()
