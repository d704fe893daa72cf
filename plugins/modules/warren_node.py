#!/usr/bin/python
# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: warren_node
short_description: Change a node of a Warren cluster, or make this host one
version_added: 0.1.0
description:
  - Sets labels and availability of a node, and removes nodes. This asks the cluster, from the
    control node or a manager.
  - Joins this host to a cluster, and wipes its membership. This runs on the host itself, as root.
  - An option that is left out is left as it is.
author:
  - The Warren authors (@warren)
options:
  name:
    description: Name of the node, a DNS label. Needed unless O(state=left).
    type: str
  state:
    description:
      - V(present) changes a node that is in the cluster.
      - V(absent) removes a node from the cluster. Its tasks are replaced elsewhere.
      - V(joined) joins this host with O(token), unless it is a member already.
      - V(left) wipes what membership left on this host. The daemons must be stopped.
    type: str
    choices: [present, absent, joined, left]
    default: present
  roles:
    description:
      - Roles of the node. With O(state=joined) the default is V(worker).
      - With O(state=present), a worker that gets V(manager) is promoted, a manager that loses it
        is demoted. Managers change one at a time, and never so that the majority would be lost.
      - With O(state=joined) on a host that is a member, waits until its daemon has taken the roles
        over from the cluster. Only then may C(warren-manager) be started on it.
    type: list
    elements: str
    choices: [manager, worker]
  labels:
    description: Labels of the node. Replaces all that were given before.
    type: dict
  availability:
    description:
      - With V(active) it takes tasks, with V(pause) it keeps those it has, with V(drain) it gives
        them up.
    type: str
    choices: [active, pause, drain]
  weight:
    description:
      - Weight of the tasks of this node in traffic, 0 to 1000, relative to those of other nodes.
        With V(0) they receive new connections only while there are no others. By default 100.
    type: int
  mesh_keepalive:
    description:
      - How often the node sends to each silent peer of the mesh, so that paths through NAT stay
        open, such as V(25s). With V(0s) it does not.
    type: str
  force:
    description: With O(state=absent), remove also a node that is still there.
    type: bool
    default: false
  wait:
    description:
      - With O(state=present), wait until the node is ready, and with O(availability=drain) until it
        has no tasks.
    type: bool
    default: false
  wait_timeout:
    description:
      - Seconds after which waiting has failed, or until a manager must have answered a join.
    type: float
    default: 60.0
  token:
    description: Join token. Needed with O(state=joined) on a host that is no member.
    type: str
  manager_endpoints:
    description:
      - Managers to join at, as C(host) or C(host:port). Needed with O(state=joined) on a host that
        is no member.
    type: list
    elements: str
  cluster_id:
    description: With O(state=joined), fail if this host is a member of another cluster than this.
    type: str
  config:
    description: Configuration of the agent on this host. For O(state=joined) and O(state=left).
    type: path
    default: /etc/warren/warren.toml
extends_documentation_fragment:
  - warren.core.connection
  - warren.core.attributes
  - warren.core.attributes.actiongroup
attributes:
  check_mode:
    support: full
    details:
      - For a node in the cluster, the cluster makes a dry run.
  diff_mode:
    support: full
  idempotent:
    support: full
seealso:
  - module: warren.core.warren_node_info
  - module: warren.core.warren_cluster
"""

EXAMPLES = r"""
- name: The node w1 is in the north
  warren.core.warren_node:
    name: w1
    labels: {zone: north, disk: ssd}

- name: The node w1 has no tasks
  warren.core.warren_node:
    name: w1
    availability: drain
    wait: true

- name: The node w1 is a manager, too
  warren.core.warren_node:
    name: w1
    roles: [manager, worker]

- name: This host is in the cluster
  warren.core.warren_node:
    state: joined
    name: w1
    token: "{{ warren_join_token }}"
    manager_endpoints: [10.77.0.11, 10.77.0.12]
  no_log: true
  vars:
    ansible_python_interpreter: /opt/warren/venv/bin/python
"""

RETURN = r"""
node:
  description:
    - The node, as M(warren.core.warren_node_info) returns it. In check mode with what would be
      changed.
  returned: success with O(state=present)
  type: dict
changes:
  description: What differs from before, field by field.
  returned: success with O(state=present)
  type: list
  elements: dict
membership:
  description:
    - What this host knows of its membership. Empty in check mode on a host that is no member.
  returned: success with O(state=joined)
  type: dict
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

import time
from typing import Any

from ansible_collections.warren.core.plugins.module_utils import membership
from ansible_collections.warren.core.plugins.module_utils.services import changed_lines
from ansible_collections.warren.core.plugins.module_utils.warren import WarrenModule, run

try:
    from datetime import timedelta

    from warren.client import reports
    from warren.model.errors import (
        AlreadyExists,
        DeadlineExceeded,
        NotFound,
        Unavailable,
        WaitFailed,
    )
    from warren.model.manifest import parse_node, to_dict
    from warren.model.nodes import Availability, NodeState
except ImportError:  # told by module_utils/warren.py
    pass


def main() -> None:
    """Entry point."""
    module = WarrenModule(
        {
            "name": {"type": "str"},
            "state": {
                "type": "str",
                "choices": ["present", "absent", "joined", "left"],
                "default": "present",
            },
            "roles": {"type": "list", "elements": "str", "choices": ["manager", "worker"]},
            "labels": {"type": "dict"},
            "availability": {"type": "str", "choices": ["active", "pause", "drain"]},
            "mesh_keepalive": {"type": "str", "no_log": False},
            "weight": {"type": "int"},
            "force": {"type": "bool", "default": False},
            "wait": {"type": "bool", "default": False},
            "wait_timeout": {"type": "float", "default": 60.0},
            "token": {"type": "str", "no_log": True},
            "manager_endpoints": {"type": "list", "elements": "str"},
            "cluster_id": {"type": "str"},
            "config": {"type": "path", "default": "/etc/warren/warren.toml"},
        },
        required_if=[
            ("state", "present", ["name"]),
            ("state", "absent", ["name"]),
            ("state", "joined", ["name"]),
        ],
    )
    states = {"present": present, "absent": absent, "joined": joined, "left": left}
    run(module, lambda: states[module.params["state"]](module))


def present(module: WarrenModule) -> dict[str, Any]:
    """The node in the cluster is as the options say."""
    name = module.params["name"]
    spec, fields = parse_node(_manifest(module.params))
    with module.client() as client:
        applied = client.apply_node(name, spec, fields, dry_run=module.check_mode)
        if module.params["wait"] and not module.check_mode:
            view = _wait_ready(client, name, module.params["wait_timeout"])
        else:
            view = client.get_node(name)
    before, after = changed_lines(applied.changes)
    return {
        "changed": applied.changed,
        "node": {**reports.node(view), **to_dict(applied.after)},
        "changes": reports.changes(applied.changes),
        "diff": _diff(name, before, after),
    }


def absent(module: WarrenModule) -> dict[str, Any]:
    """The node is not in the cluster."""
    name = module.params["name"]
    with module.client() as client:
        try:
            changed = client.delete_node(
                name, force=module.params["force"], dry_run=module.check_mode
            )
        except NotFound:
            changed = False
    return {"changed": changed, "diff": _diff(name, f"name: {name}\n" if changed else "", "")}


def joined(module: WarrenModule) -> dict[str, Any]:
    """This host is a member."""
    from warren.bootstrap import tokens

    config = membership.read_config(module.params["config"])
    before = membership.read_membership(module.params["config"])
    if before:
        wanted = module.params["cluster_id"]
        if wanted and wanted != before["cluster_id"]:
            raise AlreadyExists(
                f"this host is node {before['name']} of cluster {before['cluster']} "
                f"({before['cluster_id']}), not of {wanted}"
            )
        after = before if module.check_mode else _wait_roles(module, before)
        return {"changed": False, "membership": after, "diff": _diff("", "", "")}
    for option in ("token", "manager_endpoints"):
        if not module.params[option]:
            module.fail_json(msg=f"this host is no member, and {option} is missing to join one")
    tokens.parse(module.params["token"])
    spec, _fields = parse_node(_manifest(module.params))
    diff = _diff("membership", "", f"name: {spec.name}\n")
    if module.check_mode:
        return {"changed": True, "membership": {}, "diff": diff}

    from warren.bootstrap.join import join  # needs what only a node has

    member = join(
        config,
        module.params["token"],
        module.params["manager_endpoints"],
        spec,
        patience=timedelta(seconds=module.params["wait_timeout"]),
    )
    return {"changed": True, "membership": membership.shown(member), "diff": diff}


def left(module: WarrenModule) -> dict[str, Any]:
    """This host is no member."""
    from warren.bootstrap.leave import leave

    config = membership.read_config(module.params["config"])
    before = membership.read_membership(module.params["config"])
    if not module.check_mode:
        leave(config)
    lines = f"cluster: {before['cluster']}\nname: {before['name']}\n" if before else ""
    return {"changed": bool(before), "diff": _diff("membership", lines, "")}


def _wait_roles(module: WarrenModule, before: dict[str, Any]) -> dict[str, Any]:
    """The membership once this host has the roles that are asked for; its worker sees to that."""
    wanted = set(module.params["roles"] or before["roles"])
    deadline = time.monotonic() + module.params["wait_timeout"]
    while True:
        found = membership.read_membership(module.params["config"])
        if not found or set(found["roles"]) == wanted:
            return found
        if time.monotonic() > deadline:
            raise WaitFailed(
                f"this host is {' and '.join(found['roles'])}, not {' and '.join(sorted(wanted))}: "
                "does warren-worker run, and has the cluster given it these roles?"
            )
        time.sleep(0.2)


def _wait_ready(client: Any, name: str, timeout: float) -> Any:
    deadline = time.monotonic() + timeout
    reason = "no manager answered"
    while True:
        try:
            view = client.get_node(name)
        except (Unavailable, DeadlineExceeded) as error:
            reason = error.message
        else:
            draining = view.node.spec.availability is Availability.DRAIN
            reason = f"it is {view.node.status.state.value}"
            if view.node.status.message:
                reason += f" ({view.node.status.message})"
            if draining and view.tasks:
                reason += f" and has {view.tasks} tasks"
            if view.node.status.state is NodeState.READY and not (draining and view.tasks):
                return view
        if time.monotonic() > deadline:
            raise WaitFailed(f"node {name}: not ready after {timeout:g} s: {reason}")
        time.sleep(0.3)


def _manifest(params: dict[str, Any]) -> dict[str, Any]:
    options = ("name", "roles", "labels", "availability", "mesh_keepalive", "weight")
    return {name: params[name] for name in options if params[name] is not None}


def _diff(header: str, before: str, after: str) -> dict[str, str]:
    return {
        "before_header": f"node {header}",
        "after_header": f"node {header}",
        "before": before,
        "after": after,
    }


if __name__ == "__main__":
    main()
