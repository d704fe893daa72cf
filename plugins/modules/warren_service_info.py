#!/usr/bin/python
# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: warren_service_info
short_description: Read services of a Warren cluster
version_added: 0.1.0
description:
  - Reads one service or all of them, with their tasks.
author:
  - The Warren authors (@warren)
options:
  name:
    description: Name of the service. Without it, all services.
    type: str
extends_documentation_fragment:
  - warren.core.connection
  - warren.core.stale
  - warren.core.attributes.actiongroup
  - warren.core.attributes.info
seealso:
  - module: warren.core.warren_service
"""

EXAMPLES = r"""
- name: Read web
  warren.core.warren_service_info:
    name: web
  register: web

- name: Web runs
  ansible.builtin.assert:
    that: web.exists and web.services[0].service.status.converged
"""

RETURN = r"""
exists:
  description: Whether any service was found.
  returned: success
  type: bool
services:
  description:
    - For each service C(service), C(tasks) and C(endpoints), as M(warren.core.warren_service)
      returns them.
    - Empty when there is no service of that name.
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

from ansible_collections.warren.core.plugins.module_utils.services import current
from ansible_collections.warren.core.plugins.module_utils.warren import (
    INFO_ARGUMENTS,
    WarrenModule,
    find,
    run,
)


def main() -> None:
    """Entry point."""
    module = WarrenModule(INFO_ARGUMENTS)
    run(module, lambda: read(module))


def read(module: WarrenModule) -> dict[str, Any]:
    """The services as they are."""

    with module.client() as client:
        views = find(module, client.get_service, client.list_services)
        services = [current(client, view) for view in views]
    return {"changed": False, "exists": bool(services), "services": services}


if __name__ == "__main__":
    main()
