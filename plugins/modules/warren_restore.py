#!/usr/bin/python
# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: warren_restore
short_description: Make a Warren cluster again from a backup
version_added: 0.2.0
description:
  - The steps of the playbook C(restore.yml), which is what to use.
  - The passphrase of a backup never leaves the control node. A copy of the backup goes to the host
    that becomes the first manager, under a passphrase that is made for this one journey.
author:
  - The Warren authors (@warren)
options:
  state:
    description:
      - V(verified) reads O(src) on the control node, and asks whether a manager of its cluster
        still answers.
      - V(prepared) writes O(copy), under a passphrase of its own.
      - V(identified) says how this host will be known in the cluster.
      - V(restored) makes this host the first manager, unless it is a member already.
    type: str
    choices: [verified, prepared, identified, restored]
    required: true
  src:
    description: The backup, or its copy. Not for O(state=identified).
    type: path
  passphrase:
    description:
      - Passphrase of O(src).
      - On the control node, by default that in O(passphrase_file), or the value of
        E(WARREN_BACKUP_PASSPHRASE).
    type: str
  passphrase_file:
    description: File that holds the passphrase of O(src).
    type: path
  copy:
    description: File to write. For O(state=prepared).
    type: path
  marks:
    description:
      - Which backup hosts that are members say they were restored from. When it is O(src), an
        earlier run is gone on with, and its managers are expected to answer.
    type: list
    elements: str
    default: []
  addresses:
    description: Hosts, besides the managers in O(src), that might hold the cluster.
    type: list
    elements: str
    default: []
  name:
    description: Name of this host as a node. For O(state=identified) and O(state=restored).
    type: str
  roles:
    description: Roles of this host. For O(state=identified).
    type: list
    elements: str
    choices: [manager, worker]
    default: []
  hosts:
    description: What O(state=identified) returned for each host of the cluster.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Its name as a node.
        type: str
        required: true
      roles:
        description: Its roles.
        type: list
        elements: str
        required: true
      public_key:
        description: Public key of its mesh interface.
        type: str
        required: true
      address:
        description: Address that other nodes reach it by.
        type: str
        required: true
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
    support: partial
    details:
      - O(state=prepared) writes another copy each time.
requirements:
  - python >= 3.11
  - The Python package C(warren), which is in the directory C(agent) of this collection
seealso:
  - module: warren.core.warren_backup
"""

EXAMPLES = r"""
- name: Verify a backup
  warren.core.warren_restore:
    state: verified
    src: /srv/backups/demo-20260601T120000Z.backup
    passphrase_file: /root/warren-backup-passphrase
  delegate_to: localhost
  register: verified
"""

RETURN = r"""
backup:
  description: What the backup is of, as M(warren.core.warren_backup) returns it.
  returned: success with O(state=verified) or O(state=prepared)
  type: dict
damaged:
  description: Why secrets in it do not open. Tasks with them will not start; all else comes back.
  returned: success with O(state=verified)
  type: list
  elements: str
mark:
  description: What a host that was restored from it says in O(marks).
  returned: success with O(state=verified)
  type: str
resumed:
  description: Whether a host was restored from it already.
  returned: success with O(state=verified)
  type: bool
living:
  description: Addresses at which a manager of the cluster answers. Empty when an earlier run is
    gone on with.
  returned: success with O(state=verified)
  type: list
  elements: str
lost_nodes:
  description: Nodes in the backup.
  returned: success with O(state=verified)
  type: list
  elements: str
once:
  description: Passphrase of the copy. It is a secret.
  returned: success with O(state=prepared)
  type: str
host:
  description: This host, for O(hosts).
  returned: success with O(state=identified)
  type: dict
membership:
  description: What this host knows of its membership.
  returned: success with O(state=restored)
  type: dict
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

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.warren.core.plugins.module_utils import membership
from ansible_collections.warren.core.plugins.module_utils.warren import require_warren, run

try:
    from warren.bootstrap import backups
    from warren.model.nodes import NodeRole
    from warren.model.services import Secret
except ImportError:  # told by module_utils/warren.py
    pass


def main() -> None:
    """Entry point."""
    roles = ["manager", "worker"]
    host = {
        "name": {"type": "str", "required": True},
        "roles": {"type": "list", "elements": "str", "required": True},
        "public_key": {"type": "str", "required": True, "no_log": False},
        "address": {"type": "str", "required": True},
    }
    states = {
        "verified": verified,
        "prepared": prepared,
        "identified": identified,
        "restored": restored,
    }
    module = AnsibleModule(
        {
            "state": {"type": "str", "choices": list(states), "required": True},
            "src": {"type": "path"},
            "passphrase": {"type": "str", "no_log": True},
            "passphrase_file": {"type": "path", "no_log": False},
            "copy": {"type": "path"},
            "marks": {"type": "list", "elements": "str", "default": []},
            "addresses": {"type": "list", "elements": "str", "default": []},
            "name": {"type": "str"},
            "roles": {"type": "list", "elements": "str", "choices": roles, "default": []},
            "hosts": {"type": "list", "elements": "dict", "default": [], "options": host},
            "config": {"type": "path", "default": membership.CONFIG_PATH},
        },
        required_if=[
            ("state", "verified", ["src"]),
            ("state", "prepared", ["src", "copy"]),
            ("state", "identified", ["name", "roles"]),
            ("state", "restored", ["src", "name", "hosts"]),
        ],
        mutually_exclusive=[("passphrase", "passphrase_file")],
        supports_check_mode=True,
    )
    require_warren(module)
    run(module, lambda: states[module.params["state"]](module))


def verified(module: AnsibleModule) -> dict[str, Any]:
    """The backup can be restored, and who of its cluster still answers."""
    from warren.bootstrap import restore

    params = module.params
    checked, state = backups.read(Path(params["src"]), _passphrase(params))
    for damage in checked.damaged:
        module.warn(f"{params['src']}: {damage}; all else can be restored")
    mark = restore.identity_of(checked.head)
    resumed = mark in [each.strip() for each in params["marks"]]
    return {
        "changed": False,
        "backup": backups.described(checked),
        "damaged": list(checked.damaged),
        "mark": mark,
        "resumed": resumed,
        "living": [] if resumed else list(restore.living(state, params["addresses"])),
        "lost_nodes": sorted(node.spec.name for node in state.nodes.values()),
    }


def prepared(module: AnsibleModule) -> dict[str, Any]:
    """A copy under a passphrase of its own."""
    params = module.params
    src = Path(params["src"])
    once = ""
    if not module.check_mode:
        once = backups.rewrap(src, _passphrase(params), Path(params["copy"]))
    return {"changed": True, "backup": backups.described(backups.check(src)), "once": once}


def identified(module: AnsibleModule) -> dict[str, Any]:
    """How the cluster will know this host. Makes its mesh key if it has none yet."""
    from warren.drivers.mesh_key import public_key

    config = membership.read_config(module.params["config"])
    return {
        "changed": False,
        "host": {
            "name": module.params["name"],
            "roles": module.params["roles"],
            "public_key": public_key(config.mesh_key_path),
            "address": config.advertise_address,
        },
    }


def restored(module: AnsibleModule) -> dict[str, Any]:
    """This host is a member: the first manager of the restored cluster, or from before."""
    from warren.bootstrap import restore

    params = module.params
    before = membership.read_membership(params["config"])
    if before or module.check_mode:
        return {"changed": not before, "membership": before}
    hosts = [
        restore.Host(
            name=host["name"],
            roles=tuple(NodeRole(role) for role in host["roles"]),
            public_key=host["public_key"],
            address=host["address"],
        )
        for host in params["hosts"]
    ]
    config = membership.read_config(params["config"])
    made = restore.restore_cluster(
        config, Path(params["src"]), Secret(params["passphrase"] or ""), params["name"], hosts
    )
    return {"changed": True, "membership": membership.shown(made)}


def _passphrase(params: dict[str, Any]) -> Any:
    if params["passphrase"]:
        return Secret(params["passphrase"])
    return backups.passphrase_from(params["passphrase_file"] or "")


if __name__ == "__main__":
    main()
