#!/usr/bin/python
# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: warren_apply
short_description: Run several services from their manifests
version_added: 0.1.0
description:
  - Takes manifests, the same that C(warren apply -f) takes, and does for each what
    M(warren.core.warren_service) does.
  - All manifests are read, and all of them pass a dry run by the cluster, before the first service
    is touched.
    An unknown key is an error that names its path, such as C(web.ports[0].targt).
  - Services are changed first, and then waited for together, with their rollouts.
author:
  - The Warren authors (@warren)
options:
  services:
    description:
      - Manifests, with the options of M(warren.core.warren_service) that describe a service.
      - A key that is left out is left as it is. A key that is null goes back to its default.
    type: list
    elements: dict
    required: true
extends_documentation_fragment:
  - warren.core.connection
  - warren.core.wait
  - warren.core.attributes
  - warren.core.attributes.actiongroup
attributes:
  check_mode:
    support: full
    details:
      - The cluster makes a dry run.
  diff_mode:
    support: full
    details:
      - Shows what differs, and the plan of each rollout. Secrets show only that they changed.
  idempotent:
    support: full
seealso:
  - module: warren.core.warren_service
"""

EXAMPLES = r"""
- name: The shop runs
  warren.core.warren_apply:
    services:
      - name: web
        image: registry.example/web:1.5
        replicas: 3
        ports: [{target: 8080, published: 80}]
      - name: queue
        image: registry.example/queue:2

- name: What is in the files is what runs
  warren.core.warren_apply:
    services:
      - "{{ lookup('ansible.builtin.file', 'services/web.yml') | from_yaml }}"
      - "{{ lookup('ansible.builtin.file', 'services/queue.yml') | from_yaml }}"
"""

RETURN = r"""
services:
  description:
    - For each manifest, in their order, what M(warren.core.warren_service) returns.
      That is C(changed), C(service), C(tasks), C(endpoints), C(changes), C(plan), C(rollout),
      C(rollout_id) and C(rollout_plan).
  returned: success, and when waiting failed
  type: list
  elements: dict
logs:
  description:
    - The last lines of the tasks that a rollout failed by. They stand in C(msg), too.
  returned: when a rollout failed
  type: list
  elements: dict
summary:
  description: One line for each service, for people.
  returned: success
  type: list
  elements: str
  sample: ["web: changed, 3 of 3 tasks run, at 10.77.0.11:80, 10.77.0.12:80"]
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

from ansible_collections.warren.core.plugins.module_utils.services import deploy, specs_of
from ansible_collections.warren.core.plugins.module_utils.warren import (
    WAIT_ARGUMENTS,
    WarrenModule,
    run,
)


def main() -> None:
    """Entry point."""
    module = WarrenModule(
        {"services": {"type": "list", "elements": "dict", "required": True}, **WAIT_ARGUMENTS},
        no_log=True,  # keeps passwords in the manifests out of the system's log
    )
    _hide_passwords(module)
    run(module, lambda: apply(module))


def apply(module: WarrenModule) -> dict[str, Any]:
    """The services are as their manifests say."""
    from warren.model.errors import InvalidInput

    if not module.params["services"]:
        raise InvalidInput("is empty: it takes at least one manifest", path="services")
    specs = specs_of(module.params["services"])
    with module.client() as client:
        results = deploy(module, client, specs)
    return {
        "changed": any(result["changed"] for result in results),
        "summary": [_line(module, result) for result in results],
        "diff": [result.pop("diff") for result in results],
        "services": results,
    }


def _line(module: WarrenModule, result: dict[str, Any]) -> str:
    """What became of a service, for people."""
    service = result["service"]
    fields = ", ".join(dict.fromkeys(change["path"] for change in result["changes"]))
    if module.check_mode:
        exists = "version" in service
        verb = f"would change ({fields})" if exists else "would be created"
        return f"{service['name']}: {verb if result['changed'] else 'would stay as it is'}"
    status = service["status"]
    did = "changed" if result["changed"] else "unchanged"
    at = f", at {', '.join(result['endpoints'])}" if result["endpoints"] else ""
    rollout = result["rollout"]
    under_way = bool(rollout) and not rollout["ended"]
    running = rollout["served"] if under_way else status["running"]
    tasks = f"{running} of {status['desired']} tasks run"
    return f"{service['name']}: {did}, {tasks}{_going(rollout) if under_way else ''}{at}"


def _going(rollout: dict[str, Any]) -> str:
    """`, rollout waiting (10 % to revision 5)`."""
    share = f" ({rollout['weight']} % to revision {rollout['to_revision']})"
    state = rollout["state"].replace("_", " ")
    return f", rollout {state}{share if rollout['weight'] is not None else ''}"


def _hide_passwords(module: WarrenModule) -> None:
    """Ansible masks what it knows as secret wherever a result would show it."""
    for manifest in module.params["services"]:
        auth = manifest.get("registry_auth")
        password = auth.get("password") if isinstance(auth, dict) else None
        if password:
            module.no_log_values.add(str(password))


if __name__ == "__main__":
    main()
