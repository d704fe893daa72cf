#!/usr/bin/python
# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: warren_mesh_member_info
short_description: Read what a host knows of a mesh without a cluster
version_added: 0.1.0
description:
  - Reads the host's own part in a mesh that M(warren.core.warren_mesh) made, and the peers that it
    remembers. Needs nothing but Python's standard library, and C(wg) for the public key.
author:
  - The Warren authors (@warren)
options:
  endpoint:
    description: Address where others reach this host. Returned as it is, unless the host has one.
    type: str
    default: ""
extends_documentation_fragment:
  - warren.core.attributes.info
seealso:
  - module: warren.core.warren_mesh
"""

EXAMPLES = r"""
- name: Read what the host knows
  warren.core.warren_mesh_member_info:
  register: mesh
"""

RETURN = r"""
public_key:
  description: Of the host's key, empty when it has none.
  returned: success
  type: str
endpoint:
  description: Address where others reach this host.
  returned: success
  type: str
mtu:
  description: Largest packet of the mesh that the interface with that address leaves; 0 if unknown.
  returned: success
  type: int
agent:
  description: Whether the programs that look after the mesh are installed.
  returned: success
  type: bool
config:
  description: The mesh as M(warren.core.warren_mesh) wrote it, empty when it did not.
  returned: success
  type: dict
"""

import json
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

CONFIG = Path("/etc/warren/mesh.json")
KEY = Path("/var/lib/warren/mesh.key")
PROGRAM = Path("/opt/warren/venv/bin/warren-mesh")
OVERHEAD = 80
MTU_MIN = 1280
MTU_MAX = 1420


def main() -> None:
    module = AnsibleModule(
        argument_spec={"endpoint": {"type": "str", "default": ""}}, supports_check_mode=True
    )
    config = read_config()
    endpoint = config.get("underlay_address", "") or module.params["endpoint"]
    module.exit_json(
        changed=False,
        public_key=public_key(),
        endpoint=module.params["endpoint"] or endpoint,
        mtu=mtu_of(module.params["endpoint"] or endpoint),
        agent=PROGRAM.exists(),
        config=config,
    )


def read_config() -> dict[str, Any]:
    with suppress(OSError, ValueError):
        found = json.loads(CONFIG.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
    return {}


def public_key() -> str:
    with suppress(OSError, subprocess.CalledProcessError):
        done = subprocess.run(
            ["wg", "pubkey"],
            input=KEY.read_text(encoding="ascii"),
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()
    return ""


def mtu_of(address: str) -> int:
    with suppress(OSError, ValueError, subprocess.CalledProcessError):
        done = subprocess.run(
            ["ip", "-json", "address"], capture_output=True, text=True, check=True
        )
        for link in json.loads(done.stdout):
            if any(each.get("local") == address for each in link.get("addr_info", ())):
                return max(MTU_MIN, min(MTU_MAX, int(link["mtu"]) - OVERHEAD))
    return 0


if __name__ == "__main__":
    main()
