#!/usr/bin/python
# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: warren_mesh
short_description: Make this host part of a WireGuard mesh, without a cluster
version_added: 0.1.0
description:
  - Sets up the WireGuard interface of this host with the drivers of Warren's agent, and writes
    C(/etc/warren/mesh.json), by which C(warren-mesh) keeps it so. Runs as root with the agent's own
    Python.
  - Changes peer by peer. What is right already is not touched, and no session is interrupted.
  - The private key, C(/var/lib/warren/mesh.key), is made here if there is none, and stays here.
author:
  - The Warren authors (@warren)
options:
  interface:
    description: Name of the interface.
    type: str
    default: warren0
  driver:
    description:
      - With V(userspace), wireguard-go must run for it; the role C(wireguard) sees to that.
    type: str
    choices: [kernel, userspace]
    default: kernel
  underlay_address:
    description: Address of this host outside of the mesh.
    type: str
    required: true
  address:
    description: Address of this host in the mesh.
    type: str
    required: true
  network:
    description: Network of all addresses in the mesh.
    type: str
    required: true
  subnet:
    description: Network behind this host.
    type: str
    default: ""
  listen_port:
    description: UDP port.
    type: int
    default: 51820
  mtu:
    description: Largest packet; 0 for what the underlay of this host leaves.
    type: int
    default: 0
  keepalive:
    description: Seconds between two packets to a silent peer; 0 for none.
    type: int
    default: 25
  peers:
    description: The other hosts. Those that are not named are removed.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the host, for messages.
        type: str
        required: true
      public_key:
        description: Its public key.
        type: str
        required: true
      endpoint:
        description: Where it is reached, as C(address:port).
        type: str
        required: true
      address:
        description: Its address in the mesh.
        type: str
        required: true
      subnet:
        description: Network behind it.
        type: str
        default: ""
attributes:
  check_mode:
    description: Compares the file with what it would be. Does not look at the interface.
    support: full
  diff_mode:
    description: Will return details on what has changed.
    support: full
seealso:
  - module: warren.core.warren_mesh_member_info
"""

EXAMPLES = r"""
- name: Two hosts reach each other
  warren.core.warren_mesh:
    underlay_address: 192.0.2.1
    address: 10.86.0.1
    network: 10.86.0.0/16
    peers:
      - name: other
        public_key: Xk0pGzq1…=
        endpoint: 192.0.2.2:51820
        address: 10.86.0.2
  vars:
    ansible_python_interpreter: /opt/warren/venv/bin/python
"""

RETURN = r"""
public_key:
  description: Of this host's key; empty in check mode.
  returned: success
  type: str
"""

import asyncio
import json
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.warren.core.plugins.module_utils.warren import require_warren

CONFIG = Path("/etc/warren/mesh.json")


def main() -> None:
    """Entry point."""
    peer = {
        "name": {"type": "str", "required": True},
        "public_key": {"type": "str", "required": True, "no_log": False},
        "endpoint": {"type": "str", "required": True},
        "address": {"type": "str", "required": True},
        "subnet": {"type": "str", "default": ""},
    }
    module = AnsibleModule(
        argument_spec={
            "interface": {"type": "str", "default": "warren0"},
            "driver": {"type": "str", "choices": ["kernel", "userspace"], "default": "kernel"},
            "underlay_address": {"type": "str", "required": True},
            "address": {"type": "str", "required": True},
            "network": {"type": "str", "required": True},
            "subnet": {"type": "str", "default": ""},
            "listen_port": {"type": "int", "default": 51820},
            "mtu": {"type": "int", "default": 0},
            "keepalive": {"type": "int", "default": 25, "no_log": False},
            "peers": {"type": "list", "elements": "dict", "default": [], "options": peer},
        },
        supports_check_mode=True,
    )
    require_warren(module)
    from warren.model.errors import WarrenError

    try:
        result = have(module)
    except WarrenError as error:
        module.fail_json(msg=str(error))
    else:
        module.exit_json(**result)


def have(module: AnsibleModule) -> dict[str, Any]:
    """The file and the interface are as the options say."""
    from warren.worker import plain_mesh

    values = dict(module.params)
    values["peers"] = sorted(values["peers"], key=lambda peer: str(peer["name"]))
    mesh = plain_mesh.parse(values)
    before = CONFIG.read_text(encoding="utf-8") if CONFIG.exists() else ""
    after = json.dumps(values, indent=2, sort_keys=True) + "\n"
    key = ""
    if not module.check_mode:
        if before != after:
            write(after)
        key = asyncio.run(carry_out(mesh))
    header = {"before_header": str(CONFIG), "after_header": str(CONFIG)}
    return {
        "changed": before != after,
        "public_key": key,
        "diff": {"before": before, "after": after, **header},
    }


async def carry_out(mesh: Any) -> str:
    """As the daemon does; here the user is told what it would only write into its journal."""
    driver = mesh.driver()
    await driver.apply(mesh.config)
    key: str = await driver.public_key()
    return key


def write(text: str) -> None:
    """Whole or not at all. It holds no secret."""
    CONFIG.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    draft = CONFIG.with_name(f".{CONFIG.name}.new")
    draft.write_text(text, encoding="utf-8")
    draft.chmod(0o644)
    draft.replace(CONFIG)


if __name__ == "__main__":
    main()
