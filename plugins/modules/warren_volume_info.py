#!/usr/bin/python
# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: warren_volume_info
short_description: Read volumes of a Warren cluster
version_added: 0.1.0
description:
  - Reads one volume or all of them, with the node that each is on, its users, and its size.
author:
  - The Warren authors (@warren)
options:
  name:
    description: Name of the volume. Without it, all volumes.
    type: str
extends_documentation_fragment:
  - warren.core.connection
  - warren.core.stale
  - warren.core.attributes.actiongroup
  - warren.core.attributes.info
seealso:
  - module: warren.core.warren_volume
"""

EXAMPLES = r"""
- name: Where the data of the database is
  warren.core.warren_volume_info:
    name: pg-data
  register: found

- name: Show node, path and size
  ansible.builtin.debug:
    msg: "{{ found.volumes | map('extract', ['node', 'path', 'size']) }}"
"""

RETURN = r"""
exists:
  description: Whether any volume was found.
  returned: success
  type: bool
volumes:
  description:
    - The volumes. Empty when there is none of that name. C(path) and C(size), in bytes, are what
      the node answers, and empty where it does not, or nothing is there yet.
  returned: success
  type: list
  elements: dict
  sample:
    - name: pg-data
      driver: local
      options: {}
      node: w1
      uid: 999
      gid: 999
      mode: "0700"
      shared: false
      labels: {}
      id: 5k2ha
      removing: false
      services: [pg]
      tasks: [pg.1]
      path: /var/lib/warren-volumes/pg-data.5k2ha
      size: 41943040
      trouble: ""
      expected_version: 1204
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
    """The volumes as they are."""
    with module.client() as client:
        views = find(module, client.get_volume, client.list_volumes)
    found = [reports.volume(view) for view in views]
    return {"changed": False, "exists": bool(found), "volumes": found}


if __name__ == "__main__":
    main()
