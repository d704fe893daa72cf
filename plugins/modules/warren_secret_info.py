#!/usr/bin/python
# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: warren_secret_info
short_description: Read secrets of a Warren cluster
version_added: 0.1.0
description:
  - Reads one secret or all of them, with versions and users, and without values.
author:
  - The Warren authors (@warren)
options:
  name:
    description: Name of the secret. Without it, all secrets.
    type: str
extends_documentation_fragment:
  - warren.core.connection
  - warren.core.stale
  - warren.core.attributes.actiongroup
  - warren.core.attributes.info
seealso:
  - module: warren.core.warren_secret
"""

EXAMPLES = r"""
- name: Who uses the secret
  warren.core.warren_secret_info:
    name: db-password
  register: found

- name: Show them
  ansible.builtin.debug:
    msg: "{{ found.secrets | map(attribute='services') | flatten }}"
"""

RETURN = r"""
exists:
  description: Whether any secret was found.
  returned: success
  type: bool
secrets:
  description: The secrets. Empty when there is none of that name.
  returned: success
  type: list
  elements: dict
  sample:
    - name: db-password
      labels: {}
      keep_versions: 5
      version: 3
      services: [web]
      versions:
        - {version: 3, created_at: "2026-06-01T12:00:00+00:00", services: [web]}
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
    """The secrets as they are."""
    with module.client() as client:
        views = find(module, client.get_secret, client.list_secrets)
    found = [reports.secret(view) for view in views]
    return {"changed": False, "exists": bool(found), "secrets": found}


if __name__ == "__main__":
    main()
