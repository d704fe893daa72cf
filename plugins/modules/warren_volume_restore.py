#!/usr/bin/python
# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: warren_volume_restore
short_description: Give a local volume the content of a backup
version_added: 0.1.0
description:
  - A step of the playbook C(restore-volume.yml), which is what to use to restore.
  - Runs on the node that has the volume, or shall have it, usually by C(delegate_to). The backup is
    on the control node, and is verified there to its last byte before the node is asked for
    anything.
  - The content is unpacked beside the volume, with a key for that file alone, verified once more,
    and then takes the volume's place in one step. Whatever goes wrong before, the volume is as it
    was. What it held is gone then.
  - Refused while a process on the node has the volume.
author:
  - The Warren authors (@warren)
options:
  volume:
    description: The volume as M(warren.core.warren_volume_hold) returned it.
    type: dict
    required: true
  src:
    description: The backup, on the control node.
    type: path
    required: true
  passphrase:
    description:
      - Its passphrase. By default the value of E(WARREN_BACKUP_PASSPHRASE) on the control node.
    type: str
  passphrase_file:
    description: File on the control node that holds the passphrase.
    type: path
  config:
    description: Configuration of the agent on the node.
    type: path
    default: /etc/warren/warren.toml
  step:
    description: Set by the action plugin.
    type: str
    choices: [check, begin, place, put, end, finish, forget]
    default: check
  number:
    description: Set by the action plugin.
    type: int
    default: 0
  key:
    description: Set by the action plugin.
    type: str
extends_documentation_fragment:
  - warren.core.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: none
    details:
      - Each run restores.
requirements:
  - The Python package C(warren), on the control node and on the node
notes:
  - Runs as root with C(ansible_python_interpreter=/opt/warren/venv/bin/python).
seealso:
  - module: warren.core.warren_volume_hold
  - module: warren.core.warren_volume_backup
"""

EXAMPLES = r"""
- name: The volume has the content of the backup
  warren.core.warren_volume_restore:
    volume: "{{ found.volume }}"
    src: /srv/backups/pg-data-20260601T120000Z.volume
  delegate_to: w1
  vars:
    ansible_python_interpreter: /opt/warren/venv/bin/python
"""

RETURN = r"""
backup:
  description: What the backup is of, as M(warren.core.warren_volume_backup) returns it.
  returned: success
  type: dict
replaced:
  description: Whether the volume had a directory on the node before.
  returned: success
  type: bool
"""

import base64
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.warren.core.plugins.module_utils import volume_transfer
from ansible_collections.warren.core.plugins.module_utils.warren import require_warren, run


def main() -> None:
    """Entry point: the node's half."""
    module = AnsibleModule(
        {
            **volume_transfer.ARGUMENTS,
            "src": {"type": "path", "required": True},
            "step": {
                "type": "str",
                "choices": ["check", "begin", "place", "put", "end", "finish", "forget"],
                "default": "check",
            },
        },
        mutually_exclusive=[("passphrase", "passphrase_file")],
        supports_check_mode=True,
    )
    require_warren(module)
    run(module, lambda: work(module.params))


def work(params: dict[str, Any]) -> dict[str, Any]:
    """One step, and what the control node has to know of it."""
    from warren.bootstrap import volume_transfers

    spool, directory = volume_transfer.places(params)
    match params["step"]:
        case "check":
            return {"changed": False, "exists": directory.is_dir()}
        case "begin":
            volume_transfers.begin_unpacking(spool, directory, base64.b64decode(params["key"]))
        case "place":
            return {"changed": True, "place": str(spool.place_for(params["number"]))}
        case "put":
            spool.put(params["number"])
        case "end":
            spool.place_for(params["number"])
            spool.put_end(params["number"])
        case "finish":
            volume_transfers.finish_unpacking(spool, directory)
        case "forget":
            spool.remove()
    return {"changed": False}


if __name__ == "__main__":
    main()
