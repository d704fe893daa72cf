#!/usr/bin/python
# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: warren_cluster
short_description: Create a Warren cluster on this host, or change its settings
version_added: 0.1.0
description:
  - With O(node_name), on a host that is no member, creates a cluster whose first manager is this
    host.
    Everything is written to disk, and the cluster lives as soon as the service C(warren-manager) is
    started.
  - Otherwise compares settings with the live cluster and changes them. Networks and ports are fixed
    at creation.
  - Also makes join tokens, and issues certificates for operators, from a live cluster.
  - A setting that is left out is left as it is.
author:
  - The Warren authors (@warren)
options:
  state:
    description: The cluster exists and has these settings.
    type: str
    choices: [present]
    default: present
  name:
    description: Name of the cluster, a DNS label.
    type: str
  node_name:
    description:
      - Name of this host as a node. Given, the module runs on the host and creates the cluster if
        the host is no member.
      - Left out, the cluster must exist.
    type: str
  node_roles:
    description: Roles of this host when it creates the cluster. V(manager) must be among them.
    type: list
    elements: str
    choices: [manager, worker]
    default: [manager, worker]
  node_labels:
    description: Labels of this host when it creates the cluster.
    type: dict
    default: {}
  mesh_network:
    description: Network of the nodes' addresses inside the mesh. By default V(10.86.0.0/16).
    type: str
  task_network:
    description:
      - Network that is cut into one subnet for the tasks of each node. By default V(10.88.0.0/14).
    type: str
  task_subnet_prefix:
    description: Prefix length of those subnets. By default V(24).
    type: int
  vip_network:
    description: Network of the services' virtual addresses. By default V(10.92.0.0/16).
    type: str
  dns_domain:
    description: Services are found as <service>.<domain>. By default V(warren.internal).
    type: str
  dns_forwarders:
    description:
      - Addresses of the name servers that are asked for all other names. By default, each host
        asks those of its own resolver.
    type: list
    elements: str
  drain_timeout:
    description:
      - How long a stop waits for nodes to say that they send the task no more connections, and the
        end of a rollout until they follow it. By default V(3s).
    type: str
  mesh_mtu:
    description:
      - Largest packet of the mesh, 1280 to 1420. By default V(0), the smallest that any node's
        underlay leaves.
    type: int
  heartbeat_interval:
    description: Time between two heartbeats of a node, such as V(1s), which is the default.
    type: str
  node_down_after:
    description:
      - Time without a heartbeat after which a node is down and its tasks are replaced. By default
        V(5s).
    type: str
  api_port:
    description: Port of the API on managers. By default V(7443).
    type: int
  join_port:
    description: Port for joining on managers. By default V(7444).
    type: int
  raft_port:
    description: Port of Raft on managers, inside the mesh. By default V(7445).
    type: int
  mesh_port:
    description: UDP port of WireGuard on nodes. By default V(51820).
    type: int
  task_history:
    description: Number of ended tasks kept for each slot. By default V(3).
    type: int
  join_tokens:
    description:
      - Join tokens to make. Each run makes new ones, so give this only when a host is to join.
      - None are made in check mode, nor by the run that creates the cluster.
    type: list
    elements: dict
    default: []
    suboptions:
      role:
        description: A token for managers admits workers as well.
        type: str
        choices: [manager, worker]
        required: true
      expires_in:
        description: Time for which it admits, such as V(1h).
        type: str
        default: 24h
  operator_csr:
    description:
      - Certificate request (PKCS#10, PEM) to sign for an operator. M(warren.core.warren_context)
        makes one.
    type: str
  operator_name:
    description: Name of the operator in the certificate.
    type: str
    default: operator
  wait:
    description: Wait until a manager answers.
    type: bool
    default: true
  wait_timeout:
    description: Seconds after which waiting has failed.
    type: float
    default: 60.0
  config:
    description: Configuration of the agent on this host.
    type: path
    default: /etc/warren/warren.toml
extends_documentation_fragment:
  - warren.core.connection
  - warren.core.attributes
  - warren.core.attributes.actiongroup
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: partial
    details:
      - Not with O(join_tokens), which makes new tokens each time.
seealso:
  - module: warren.core.warren_cluster_info
  - module: warren.core.warren_node
  - module: warren.core.warren_context
"""

EXAMPLES = r"""
- name: The first manager holds the cluster
  warren.core.warren_cluster:
    name: demo
    node_name: m1
  vars:
    ansible_python_interpreter: /opt/warren/venv/bin/python

- name: Make a token for the hosts that are to join
  warren.core.warren_cluster:
    join_tokens:
      - {role: worker, expires_in: 1h}
  register: cluster
  no_log: true
  vars:
    ansible_python_interpreter: /opt/warren/venv/bin/python

- name: A node without heartbeats for ten seconds is down
  warren.core.warren_cluster:
    node_down_after: 10s
  delegate_to: localhost
"""

RETURN = r"""
created:
  description: Whether this run created the cluster, or would have in check mode.
  returned: success
  type: bool
cluster:
  description:
    - The cluster as M(warren.core.warren_cluster_info) returns it, in check mode with the settings
      it would have.
    - When it was just created, its settings, with C(id) and C(ca_digest) outside check mode.
  returned: success
  type: dict
changes:
  description: Settings that differ from before.
  returned: success
  type: list
  elements: dict
join_tokens:
  description:
    - The tokens that were made, each with C(role), C(token), C(id) and C(expires_at). They are
      secrets.
  returned: success
  type: list
  elements: dict
operator:
  description:
    - Answer to O(operator_csr), with C(certificate), C(ca_certificate), C(endpoints) and
      C(cluster).
    - Empty when there was no request, in check mode, and in the run that creates the cluster.
  returned: success
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
from ansible_collections.warren.core.plugins.module_utils.services import changed_lines, to_yaml
from ansible_collections.warren.core.plugins.module_utils.warren import WarrenModule, run

try:
    from warren.client import reports
    from warren.model.errors import (
        DeadlineExceeded,
        FailedPrecondition,
        InvalidInput,
        Unavailable,
    )
    from warren.model.manifest import parse_cluster, parse_node, to_dict
    from warren.model.nodes import NodeRole
    from warren.model.units import parse_duration
except ImportError:  # told by module_utils/warren.py
    pass

SETTINGS = (
    "name",
    "mesh_network",
    "task_network",
    "task_subnet_prefix",
    "vip_network",
    "dns_domain",
    "dns_forwarders",
    "drain_timeout",
    "mesh_mtu",
    "heartbeat_interval",
    "node_down_after",
    "api_port",
    "join_port",
    "raft_port",
    "mesh_port",
    "task_history",
)


def main() -> None:
    """Entry point."""
    roles = ["manager", "worker"]
    module = WarrenModule(
        {
            "state": {"type": "str", "choices": ["present"], "default": "present"},
            "name": {"type": "str"},
            "node_name": {"type": "str"},
            "node_roles": {"type": "list", "elements": "str", "choices": roles, "default": roles},
            "node_labels": {"type": "dict", "default": {}},
            "mesh_network": {"type": "str"},
            "task_network": {"type": "str"},
            "task_subnet_prefix": {"type": "int"},
            "vip_network": {"type": "str"},
            "dns_domain": {"type": "str"},
            "dns_forwarders": {"type": "list", "elements": "str"},
            "drain_timeout": {"type": "str"},
            "mesh_mtu": {"type": "int"},
            "heartbeat_interval": {"type": "str"},
            "node_down_after": {"type": "str"},
            "api_port": {"type": "int"},
            "join_port": {"type": "int"},
            "raft_port": {"type": "int"},
            "mesh_port": {"type": "int"},
            "task_history": {"type": "int"},
            "join_tokens": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "no_log": False,
                "options": {
                    "role": {"type": "str", "choices": roles, "required": True},
                    "expires_in": {"type": "str", "default": "24h"},
                },
            },
            "operator_csr": {"type": "str"},
            "operator_name": {"type": "str", "default": "operator"},
            "wait": {"type": "bool", "default": True},
            "wait_timeout": {"type": "float", "default": 60.0},
            "config": {"type": "path", "default": "/etc/warren/warren.toml"},
        }
    )
    run(module, lambda: present(module))


def present(module: WarrenModule) -> dict[str, Any]:
    """The cluster exists and has the settings that were given."""
    if module.params["node_name"] and not membership.read_membership(module.params["config"]):
        return _create(module)
    return _change(module)


def _create(module: WarrenModule) -> dict[str, Any]:
    settings, _fields = parse_cluster(_settings(module.params))
    node, _fields = parse_node(
        {
            "name": module.params["node_name"],
            "roles": module.params["node_roles"],
            "labels": module.params["node_labels"],
        }
    )
    if NodeRole.MANAGER not in node.roles:
        raise InvalidInput("must have manager among them", path="node_roles")
    shown = to_dict(settings)
    if not module.check_mode:
        shown.update(_create_here(module, settings, node))
    return {
        "changed": True,
        "created": True,
        "cluster": shown,
        "changes": [],
        "join_tokens": [],
        "operator": {},
        "diff": _diff("", to_yaml(to_dict(settings))),
    }


def _create_here(module: WarrenModule, settings: Any, node: Any) -> dict[str, str]:
    from warren.bootstrap import certificates, node_files  # needs what only a node has
    from warren.bootstrap.create import create_cluster
    from warren.drivers.mesh_key import public_key

    config = membership.read_config(module.params["config"])
    member = create_cluster(config, settings, node, public_key(config.mesh_key_path))
    authority = node_files.read_credentials(config).ca_certificate
    return {"id": member.cluster_id, "ca_digest": certificates.digest(authority).hex()}


def _change(module: WarrenModule) -> dict[str, Any]:
    spec, fields = parse_cluster(_settings(module.params))
    durations = [_expiry(token) for token in module.params["join_tokens"]]
    with _serving_client(module) as client:
        applied = client.apply_cluster(spec, fields, dry_run=module.check_mode)
        tokens, operator = [], {}
        if not module.check_mode:
            tokens = [
                reports.join_token(client.create_join_token(role, expires_in))
                for role, expires_in in durations
            ]
            operator = _operator(module, client)
        view = client.get_cluster()
    before, after = changed_lines(applied.changes)
    return {
        "changed": applied.changed or bool(durations),
        "created": False,
        "cluster": {**reports.cluster(view), **to_dict(applied.after)},
        "changes": reports.changes(applied.changes),
        "join_tokens": tokens,
        "operator": operator,
        "diff": _diff(before, after),
    }


def _serving_client(module: WarrenModule) -> Any:
    """A client to whom a manager answers.

    A new manager may not have its socket yet, or not have stored the cluster yet.
    """
    deadline = time.monotonic() + (module.params["wait_timeout"] if module.params["wait"] else 0)
    patient: tuple[type[Exception], ...] = (Unavailable, DeadlineExceeded, FailedPrecondition)
    if membership.read_membership(module.params["config"]):
        patient = (*patient, InvalidInput)
    while True:
        try:
            client = module.client()
            client.get_cluster()
        except patient:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.3)
        else:
            return client


def _operator(module: WarrenModule, client: Any) -> dict[str, Any]:
    if not module.params["operator_csr"]:
        return {}
    issued = client.issue_operator_certificate(
        module.params["operator_csr"], module.params["operator_name"]
    )
    return {
        "certificate": issued.certificate,
        "ca_certificate": issued.ca_certificate,
        "endpoints": list(issued.endpoints),
        "cluster": issued.cluster,
    }


def _expiry(token: dict[str, str]) -> tuple[Any, Any]:
    try:
        return NodeRole(token["role"]), parse_duration(token["expires_in"])
    except ValueError as error:
        raise InvalidInput(str(error), path="join_tokens.expires_in") from None


def _settings(params: dict[str, Any]) -> dict[str, Any]:
    return {name: params[name] for name in SETTINGS if params[name] is not None}


def _diff(before: str, after: str) -> dict[str, str]:
    return {
        "before_header": "cluster",
        "after_header": "cluster",
        "before": before,
        "after": after,
    }


if __name__ == "__main__":
    main()
