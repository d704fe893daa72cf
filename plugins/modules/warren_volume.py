#!/usr/bin/python
# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: warren_volume
short_description: Keep a volume in a Warren cluster
version_added: 0.1.0
description:
  - Keeps a volume, a directory that outlives the tasks that have it. Services refer to it by name
    in O(warren.core.warren_service#module:mounts).
  - A volume of the driver V(local) is on the disk of one node, that of its first use unless O(node)
    names one, and tasks that have it run there only.
  - Nothing is made on a node before a task needs it.
author:
  - The Warren authors (@warren)
options:
  name:
    description: Name of the volume, a DNS label.
    type: str
    required: true
  state:
    description:
      - V(present) has the volume be as the options say.
      - V(absent) removes it, with all of its data, and waits until that is deleted. A volume that a
        service uses is not removed. The error names those who use it.
      - V(released) has it be on no node, and begin anew with the next task; or be on O(node), with
        what is there. Its data stays on the disk where it was. For a node that does not come back.
    type: str
    choices: [present, absent, released]
    default: present
  driver:
    description:
      - V(local), V(nfs), or a driver of your own that nodes have. By default V(local). For life.
    type: str
  options:
    description:
      - Options of the driver. Those of V(nfs) are C(server), C(path) and C(options). For life.
    type: dict
  node:
    description:
      - Name of the node that a local volume is on. Changed with O(state=released) only.
    type: str
  uid:
    description: Owner of the directory, when it is made. For life.
    type: int
  gid:
    description: Group of the directory, when it is made. For life.
    type: int
  mode:
    description: Mode of the directory, when it is made, in quotes. By default V(0755). For life.
    type: str
  shared:
    description:
      - Whether more than one task at a time may write to it. If not, services that write to it have
        one task, and an update stops the old one first.
    type: bool
  labels:
    description: Labels of the volume. Replaces all that were given before.
    type: dict
  expected_version:
    description:
      - Fail unless this is the C(expected_version) of RV(volume) that was read before. V(0) is any.
    type: int
    default: 0
  wait_timeout:
    description: Seconds after which waiting for the end of a removal has failed.
    type: int
    default: 60
extends_documentation_fragment:
  - warren.core.connection
  - warren.core.attributes
  - warren.core.attributes.actiongroup
attributes:
  check_mode:
    support: full
    details:
      - The cluster makes a dry run.
  diff_mode:
    support: full
  idempotent:
    support: full
    details:
      - O(state=released) without O(node) changes nothing where the volume is on no node.
seealso:
  - module: warren.core.warren_volume_info
  - module: warren.core.warren_service
"""

EXAMPLES = r"""
- name: There is a volume for the database
  warren.core.warren_volume:
    name: pg-data
    uid: 999
    gid: 999
    mode: "0700"

- name: The database keeps its data there
  warren.core.warren_service:
    name: pg
    image: registry.example/postgres:16
    mounts:
      - {source: pg-data, target: /var/lib/postgresql/data}

- name: Uploads are on the file server, for all who need them
  warren.core.warren_volume:
    name: uploads
    driver: nfs
    options: {server: 192.0.2.30, path: /export/uploads}
    shared: true

- name: The host of the database is gone for good, and it begins anew elsewhere
  warren.core.warren_volume:
    name: pg-data
    state: released

- name: A volume that nobody uses is gone, with its data
  warren.core.warren_volume:
    name: old-data
    state: absent
"""

RETURN = r"""
volume:
  description:
    - The volume as M(warren.core.warren_volume_info) returns it. In check mode as it was before.
  returned: success
  type: dict
changes:
  description: What differs from before, field by field.
  returned: success
  type: list
  elements: dict
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

from ansible_collections.warren.core.plugins.module_utils import volumes
from ansible_collections.warren.core.plugins.module_utils.warren import WarrenModule, run


def main() -> None:
    """Entry point."""
    module = WarrenModule(
        {
            "name": {"type": "str", "required": True},
            "state": {
                "type": "str",
                "choices": ["present", "absent", "released"],
                "default": "present",
            },
            "driver": {"type": "str"},
            "options": {"type": "dict"},
            "node": {"type": "str"},
            "uid": {"type": "int"},
            "gid": {"type": "int"},
            "mode": {"type": "str"},
            "shared": {"type": "bool"},
            "labels": {"type": "dict"},
            "expected_version": {"type": "int", "default": 0},
            "wait_timeout": {"type": "int", "default": 60},
        }
    )
    run(module, lambda: work(module))


def work(module: WarrenModule) -> dict[str, Any]:
    """The volume is as the options say."""
    match module.params["state"]:
        case "absent":
            return volumes.absent(module)
        case "released":
            return volumes.released(module)
        case _:
            return volumes.present(module)


if __name__ == "__main__":
    main()
