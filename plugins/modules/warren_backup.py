#!/usr/bin/python
# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: warren_backup
short_description: Back up a Warren cluster, while it runs
version_added: 0.2.0
description:
  - Writes the whole state of a cluster, with its CA and its secrets, into one file on this machine.
    From that file alone, the cluster can be restored on new hosts.
  - The file is encrypted here with a key made from the passphrase, which never leaves this machine.
    No disk sees the state in the clear, neither here nor on a manager.
  - The state is of one moment and holds every change that was acknowledged before. Changes go on
    while it is read.
author:
  - The Warren authors (@warren)
options:
  dest:
    description:
      - Directory that the file is put into, as C(CLUSTER-TIME.backup). It must exist.
    type: path
    required: true
  passphrase:
    description:
      - Passphrase of the file, of at least 8 characters. Without it, or with another one, nobody
        can restore from the file.
      - By default the value of E(WARREN_BACKUP_PASSPHRASE).
    type: str
  passphrase_file:
    description: File on this machine that holds the passphrase.
    type: path
  keep:
    description:
      - So many backups of this cluster stay in O(dest), with the new one. Older ones are removed
        when the new one is complete. V(0) keeps all.
    type: int
    default: 0
extends_documentation_fragment:
  - warren.core.connection
  - warren.core.attributes
  - warren.core.attributes.actiongroup
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: none
    details:
      - Each run makes a backup.
seealso:
  - module: warren.core.warren_restore
"""

EXAMPLES = r"""
- name: Back up, and keep a week of days
  warren.core.warren_backup:
    dest: /srv/backups
    passphrase_file: /root/warren-backup-passphrase
    keep: 7
  delegate_to: localhost
"""

RETURN = r"""
file:
  description: The file that was written, or would be.
  returned: success
  type: str
backup:
  description: What it is of, with C(cluster), C(cluster_id), C(created_at), C(index), C(nodes),
    C(services), C(size_bytes) and C(sha256). Empty in check mode.
  returned: success
  type: dict
pruned:
  description: Older files that were removed, or would be.
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

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible_collections.warren.core.plugins.module_utils.warren import WarrenModule, run

try:
    from warren.bootstrap import backups
    from warren.model.errors import InvalidInput, NotFound
    from warren.model.services import Secret
except ImportError:  # told by module_utils/warren.py
    pass


def main() -> None:
    """Entry point."""
    module = WarrenModule(
        {
            "dest": {"type": "path", "required": True},
            "passphrase": {"type": "str", "no_log": True},
            "passphrase_file": {"type": "path", "no_log": False},
            "keep": {"type": "int", "default": 0},
        },
        mutually_exclusive=[("passphrase", "passphrase_file")],
    )
    run(module, lambda: back_up(module))


def back_up(module: WarrenModule) -> dict[str, Any]:
    """A new file, and no more old ones than are wanted."""
    params = module.params
    directory, keep = Path(params["dest"]), params["keep"]
    if keep < 0:
        raise InvalidInput("must not be negative", path="keep")
    if not directory.is_dir():
        raise NotFound(f"there is no directory {directory}")
    if params["passphrase"]:
        passphrase = Secret(params["passphrase"])
    else:
        passphrase = backups.passphrase_from(params["passphrase_file"] or "")
    with module.client() as client:
        cluster = client.get_cluster()
        name = backups.name_for(cluster.spec.name, datetime.now(timezone.utc))
        made: dict[str, Any] = {}
        if not module.check_mode:
            made = backups.described(backups.save(client, directory / name, passphrase))
    left = keep - 1 if module.check_mode else keep
    old = backups.superfluous(directory, cluster.id, left) if keep else ()
    if not module.check_mode:
        for path in old:
            path.unlink(missing_ok=True)
    return {
        "changed": True,
        "file": str(directory / name),
        "backup": made,
        "pruned": [str(path) for path in old],
    }


if __name__ == "__main__":
    main()
