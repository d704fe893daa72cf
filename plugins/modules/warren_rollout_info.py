#!/usr/bin/python
# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: warren_rollout_info
short_description: Read rollouts and revisions of a Warren cluster
version_added: 0.1.0
description:
  - Reads the newest rollout of each service, or the newest few of one service with the revisions
    that it can go back to.
author:
  - The Warren authors (@warren)
options:
  service:
    description: Name of the service. Without it, all services.
    type: str
  live:
    description: Only rollouts that have not ended.
    type: bool
    default: false
extends_documentation_fragment:
  - warren.core.connection
  - warren.core.stale
  - warren.core.attributes.actiongroup
  - warren.core.attributes.info
seealso:
  - module: warren.core.warren_rollout
"""

EXAMPLES = r"""
- name: Read what is under way
  warren.core.warren_rollout_info:
    live: true
  register: under_way

- name: Nothing is being rolled out
  ansible.builtin.assert:
    that: under_way.rollouts | length == 0

- name: Wait for web without holding a connection
  warren.core.warren_rollout_info:
    service: web
  register: web
  until: web.rollouts[0].decided
  delay: 10
  retries: 60
"""

RETURN = r"""
rollouts:
  description:
    - Rollouts, the newest of a service first, each as M(warren.core.warren_rollout) returns it.
    - Empty when there is none, or no service of that name.
  returned: success
  type: list
  elements: dict
revisions:
  description:
    - Revisions of O(service) that are kept, newest first. Without O(service) empty.
  returned: success
  type: list
  elements: dict
  contains:
    revision:
      description: Its number.
      type: int
      returned: always
    current:
      description: The service shall have this one.
      type: bool
      returned: always
    tasks:
      description: Tasks of it that are wanted.
      type: int
      returned: always
    created_at:
      description: When it was declared.
      type: str
      returned: always
    completed_at:
      description: When a rollout to it was last complete. None if none ever was.
      type: str
      returned: always
    reason:
      description: Why the last rollout to it was rolled back, if it was.
      type: str
      returned: always
    template:
      description: What its tasks are made from, without what is at its default.
      type: dict
      returned: always
exists:
  description: Whether any rollout was found.
  returned: success
  type: bool
duration:
  description: Seconds that it took.
  returned: always
  type: float
error:
  description:
    - Class of the error, such as V(InvalidInput) or V(Unavailable).
  returned: failure
  type: str
path:
  description: The option that is wrong, where one is.
  returned: failure
  type: str
"""

from typing import Any

from ansible_collections.warren.core.plugins.module_utils.warren import WarrenModule, run

try:
    from warren.client import reports
    from warren.model.errors import NotFound
except ImportError:  # told by module_utils/warren.py
    pass


def main() -> None:
    """Entry point."""
    module = WarrenModule(
        {
            "service": {"type": "str"},
            "live": {"type": "bool", "default": False},
            "stale": {"type": "bool", "default": False},
        }
    )
    run(module, lambda: read(module))


def read(module: WarrenModule) -> dict[str, Any]:
    """The rollouts as they are."""
    service, stale = module.params["service"] or "", module.params["stale"]
    revisions: list[dict[str, Any]] = []
    with module.client() as client:
        try:
            views = client.list_rollouts(service, live=module.params["live"], stale=stale)
            if service:
                revisions = reports.history(client.get_history(service, stale=stale))["revisions"]
        except NotFound:
            views = ()
    return {
        "changed": False,
        "exists": bool(views),
        "rollouts": [reports.rollout(view) for view in views],
        "revisions": revisions,
    }


if __name__ == "__main__":
    main()
