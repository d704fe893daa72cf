#!/usr/bin/python
# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: warren_volume_backup
short_description: Copy a local volume from its node into an encrypted file on the control node
version_added: 0.1.0
description:
  - A step of the playbook C(backup-volume.yml), which is what to use for backups. It says nothing
    to the tasks that have the volume. See M(warren.core.warren_volume_hold).
  - Runs on the node that has the volume, usually by C(delegate_to). The file is written on the
    control node, whole or not at all, with owners, modes, times, links, extended attributes, access
    lists and holes.
  - The archive is made and encrypted on the node, with a key for it alone, and comes in pieces of
    32 MiB. The node never holds more than three of them. The passphrase stays on the control node.
author:
  - The Warren authors (@warren)
options:
  volume:
    description: The volume as M(warren.core.warren_volume_hold) returned it.
    type: dict
    required: true
  quiesce:
    description: How its tasks are held. What changes while it is read is an error with V(stop).
    type: str
    choices: [stop, exec, none]
    required: true
  dest:
    description:
      - Directory on the control node that the file is put into, as C(VOLUME-TIME.volume). It must
        exist.
    type: path
    required: true
  passphrase:
    description:
      - Passphrase of the file, of at least 8 characters. Without it nobody can restore from the
        file. By default the value of E(WARREN_BACKUP_PASSPHRASE) on the control node.
    type: str
  passphrase_file:
    description: File on the control node that holds the passphrase.
    type: path
  keep:
    description:
      - So many backups of this volume stay in O(dest), with the new one. Older ones are removed
        when the new one is complete. V(0) keeps all.
    type: int
    default: 0
  config:
    description: Configuration of the agent on the node.
    type: path
    default: /etc/warren/warren.toml
  step:
    description: Set by the action plugin.
    type: str
    choices: [check, begin, piece, end, forget]
    default: check
  number:
    description: Set by the action plugin.
    type: int
    default: 0
  header:
    description: Set by the action plugin.
    type: str
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
      - Each run makes a backup.
requirements:
  - The Python package C(warren), on the control node and on the node
notes:
  - Runs as root with C(ansible_python_interpreter=/opt/warren/venv/bin/python).
seealso:
  - module: warren.core.warren_volume_hold
  - module: warren.core.warren_volume_restore
"""

EXAMPLES = r"""
- name: The volume is copied, whatever its tasks do
  warren.core.warren_volume_backup:
    volume: "{{ found.volume }}"
    quiesce: none
    dest: /srv/backups
  delegate_to: w1
  vars:
    ansible_python_interpreter: /opt/warren/venv/bin/python
"""

RETURN = r"""
file:
  description: The file that was written, or would be.
  returned: success
  type: str
backup:
  description: What it is of, with C(volume), C(node), C(services), C(quiesce), C(cluster),
    C(cluster_id), C(created_at), C(size_bytes) and C(sha256). Empty in check mode.
  returned: success
  type: dict
changed_while_read:
  description: Whether something changed in the volume while it was read.
  returned: success
  type: bool
pruned:
  description: Older files that were removed, or would be.
  returned: success
  type: list
  elements: str
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
            "quiesce": {"type": "str", "choices": ["stop", "exec", "none"], "required": True},
            "dest": {"type": "path", "required": True},
            "keep": {"type": "int", "default": 0},
            "step": {
                "type": "str",
                "choices": ["check", "begin", "piece", "end", "forget"],
                "default": "check",
            },
            "header": {"type": "str"},
        },
        mutually_exclusive=[("passphrase", "passphrase_file")],
        supports_check_mode=True,
    )
    require_warren(module)
    run(module, lambda: work(module.params))


def work(params: dict[str, Any]) -> dict[str, Any]:
    """One step, and what the control node has to know of it."""
    from warren.bootstrap import volume_transfers
    from warren.store import archives, volume_backup

    spool, directory = volume_transfer.places(params)
    match params["step"]:
        case "check":
            volume_transfers.require_directory(directory)
        case "begin":
            seal = archives.Seal(
                kind=volume_backup.KIND,
                header=base64.b64decode(params["header"]),
                key=base64.b64decode(params["key"]),
            )
            may_change = params["quiesce"] != "stop"
            volume_transfers.begin_packing(spool, directory, seal, may_change=may_change)
        case "piece":
            piece = spool.piece(params["number"])
            return {"changed": True, "piece": "" if piece is None else str(piece)}
        case "end":
            return {"changed": True, "changed_while_read": spool.wait_end().changed}
        case "forget":
            spool.remove()
    return {"changed": False}


if __name__ == "__main__":
    main()
