#!/usr/bin/python
# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: warren_service
short_description: Run a service on a Warren cluster, or remove it
version_added: 0.1.0
description:
  - Declares a service, waits until its tasks run, and fails with the reason when they will not.
  - A change of what tasks are made from, such as O(image), begins a rollout, which goes its way in
    the cluster as O(update) says, whatever becomes of the run that began it. This module waits for
    it; when it is rolled back the task has failed. Run again while a rollout is under way, it waits
    for that one and begins no other.
  - An option that is left out is left as it is. On creation it has its default.
    An option that is given replaces what was there, so an empty list or mapping clears it.
  - The cluster computes what would change, so check mode and diff say what really happens.
author:
  - The Warren authors (@warren)
options:
  name:
    description: Name of the service, a DNS label.
    type: str
    required: true
  state:
    description:
      - V(present) creates or changes the service.
      - V(absent) stops its tasks and removes it.
    type: str
    choices: [present, absent]
    default: present
  expected_version:
    description: Fail with V(Conflict) unless this is the version of the service. V(0) accepts any.
    type: int
    default: 0
  image:
    description: Image that tasks run. Needed to create the service.
    type: str
  command:
    description:
      - Replaces the entrypoint of the image. A list of text, an empty one for that of the image.
    type: raw
  args:
    description:
      - Replaces the command of the image, that is the arguments to its entrypoint. A list of text.
    type: raw
  env:
    description: Environment variables. Replaces all that were given before.
    type: dict
  user:
    description: User, or C(user:group), that the process runs as. Empty for that of the image.
    type: str
  working_dir:
    description: Working directory of the process. Empty for that of the image.
    type: str
  mode:
    description:
      - V(replicated), the default when the service is created, runs O(replicas) tasks on whichever
        nodes.
      - V(global) runs one on each node that is ready, active and meets the constraints of
        O(placement). A node that joins gets one, and one that is drained loses it.
      - It is for life. To change it, remove the service and create it again.
    type: str
    choices: [replicated, global]
  replicas:
    description: Number of tasks, of a replicated service. By default 1 when it is created.
    type: int
  ports:
    description: Ports of the tasks. Replaces all that were given before.
    type: list
    elements: dict
    suboptions:
      target:
        description: Port that the process listens on.
        type: int
        required: true
      published:
        description: Port of the nodes that leads to it. V(0) publishes nothing.
        type: int
        default: 0
      protocol:
        description: Transport protocol.
        type: str
        choices: [tcp, udp]
        default: tcp
      mode:
        description: With V(mesh) every node answers, with V(host) only nodes that run a task.
        type: str
        choices: [mesh, host]
        default: mesh
      name:
        description: Name of the port.
        type: str
        default: ""
  affinity:
    description:
      - With V(source), connections of one client address go to the same task, as long as the set of
        tasks stays the same. With V(none) each goes to any.
    type: str
    choices: [none, source]
  health:
    description:
      - How a node finds out whether a task may receive traffic. Exactly one of O(health.http),
        O(health.tcp) and O(health.exec). Replaced as a whole, and an empty mapping removes it.
      - A task that becomes unhealthy receives no traffic from then on, and is restarted as
        O(restart) says. A service with a health check runs when its tasks are healthy.
    type: dict
    suboptions:
      http:
        description: GET on the address of the task, without following redirects.
        type: dict
        suboptions:
          path:
            description: What is asked for.
            type: str
            default: /
          port:
            description: V(0) stands for the target of the first TCP port of the service.
            type: int
            default: 0
          headers:
            description: Sent with the request. C(Host) replaces the address.
            type: dict
          status:
            description: Statuses that are expected, such as V(200-299,404).
            type: str
            default: 200-399
      tcp:
        description: A connection that is accepted.
        type: dict
        suboptions:
          port:
            description: V(0) stands for the target of the first TCP port of the service.
            type: int
            default: 0
      exec:
        description: A command in the container of the task that exits with 0.
        type: dict
        suboptions:
          command:
            description: The command and its arguments, without a shell.
            type: list
            elements: str
            required: true
      interval:
        description: Time between two checks, such as V(500ms).
        type: str
        default: 5s
      timeout:
        description: Most that a check may take.
        type: str
        default: 2s
      retries:
        description: Bad checks in a row after which a task is unhealthy.
        type: int
        default: 3
      start_period:
        description: Bad checks of this time after the start do not count, until the first good one.
        type: str
        default: 0s
      success_threshold:
        description: Good checks in a row after which a task that has started is healthy.
        type: int
        default: 1
  resources:
    description: What tasks may use, and what is set aside for them. Replaced as a whole.
    type: dict
    suboptions:
      limits:
        description: The most that a task may use. Zero means no limit.
        type: dict
        suboptions:
          memory:
            description: Bytes, or text such as V(256MiB).
            type: str
          cpus:
            description: CPUs, such as V(0.5).
            type: float
          pids:
            description: Processes and threads.
            type: int
      reservations:
        description: What the scheduler sets aside. Not above the limit.
        type: dict
        suboptions:
          memory:
            description: Bytes, or text such as V(256MiB).
            type: str
          cpus:
            description: CPUs, such as V(0.5).
            type: float
  restart:
    description: What happens when the process of a task ends. Replaced as a whole.
    type: dict
    suboptions:
      condition:
        description: When it is started again.
        type: str
        choices: [any, on_failure, none]
        default: any
      delay:
        description: Wait before the first restart, such as V(500ms) or V(2m30s).
        type: str
        default: 1s
      backoff:
        description: Each further wait is longer by this factor.
        type: float
        default: 2
      max_delay:
        description: Longest wait.
        type: str
        default: 1m
      max_attempts:
        description:
          - Restarts within O(restart.window) after which the task has failed for good. V(0) means
            no end.
        type: int
        default: 0
      window:
        description: A run that lasts longer clears the count and the delay.
        type: str
        default: 10m
  placement:
    description: Where tasks may run. Replaced as a whole.
    type: dict
    suboptions:
      constraints:
        description:
          - Conditions on nodes, such as C(node.labels.zone == north) or C(node.name != m1).
          - Left sides are C(node.name), C(node.role), C(node.arch) and C(node.labels.<key>).
        type: list
        elements: str
      max_per_node:
        description: Most tasks of the service on one node. V(0) means any number.
        type: int
        default: 0
  pull:
    description: When the image is pulled before a start.
    type: str
    choices: [missing, always, never]
  registry_secret:
    description:
      - Name of the secret that the image is pulled with. Empty for none.
      - M(warren.core.warren_secret) makes it.
      - Its value is JSON, a mapping of V(username) and V(password), or a C(config.json) of Docker.
      - A new value of the secret counts from the next pull on, and touches no task.
    type: str
  stop_signal:
    description: Signal that asks the process to end. Empty for that of the image.
    type: str
  stop_grace_period:
    description: Time that the process has to end before it is killed, such as V(10s).
    type: str
  drain_delay:
    description:
      - Time between the moment when no node sends new connections to a task and its stop signal.
        Only for services with ports.
    type: str
  labels:
    description: Labels of the service, for people and tools. Replaces all that were given before.
    type: dict
extends_documentation_fragment:
  - warren.core.files
  - warren.core.update
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
      - Shows what differs, then the plan of the rollout. Which task is replaced on which node in
        which batch, the lowest capacity on the way, whether there is room, and what would block it.
      - Secrets show only that they changed.
  idempotent:
    support: full
seealso:
  - module: warren.core.warren_apply
  - module: warren.core.warren_rollout
  - module: warren.core.warren_service_info
"""

EXAMPLES = r"""
- name: Web answers on port 80 of every node
  warren.core.warren_service:
    name: web
    image: registry.example/web:1.5
    replicas: 3
    ports:
      - {name: http, target: 8080, published: 80}
    health:
      http: {path: /healthz}
      interval: 2s
    env:
      LOG_LEVEL: info
    resources:
      limits: {memory: 256MiB, cpus: 0.5}
      reservations: {memory: 64MiB}
  register: web

- name: Web has five tasks, and is otherwise as it was
  warren.core.warren_service:
    name: web
    replicas: 5

- name: Web is at 1.6 when a tenth, and then half of the traffic went well
  warren.core.warren_service:
    name: web
    image: registry.example/web:1.6
    update:
      strategy: canary
      steps:
        - {weight: 10, duration: 2m}
        - {weight: 50, duration: 5m}
      analysis:
        - name: errors
          prometheus:
            url: http://prometheus.example:9090
            query: sum(rate(http_errors[1m])) / sum(rate(http_requests[1m]))
            max: 0.01
    wait_timeout: 900

- name: Web begins to move to 1.7, and this play goes on
  warren.core.warren_service:
    name: web
    image: registry.example/web:1.7
    wait: false
  register: web

- name: Later nodes of the workflow know which rollout it was
  ansible.builtin.set_stats:
    data:
      rollout_id: "{{ web.rollout_id }}"

- name: Web is gone
  warren.core.warren_service:
    name: web
    state: absent
"""

RETURN = r"""
service:
  description:
    - The service with all its options as the cluster has them. In check mode, as it would have
      them.
  returned: always, but for errors before it was read
  type: dict
  contains:
    name:
      description: Name of the service.
      type: str
      returned: always
    version:
      description: Grows with every change of the service. For O(expected_version).
      type: int
      returned: when the service exists
    revision:
      description:
        - Counts the changes of what tasks are made from. Changing replicas, ports or labels makes
          no new one.
      type: int
      returned: when the service exists
    status:
      description:
        - Counts of tasks C(desired), C(running), C(up_to_date), C(failing), with C(converged) and
          C(reason).
      type: dict
      returned: when the service exists
tasks:
  description: Tasks of the service, those that are wanted first.
  returned: always, but for errors before it was read
  type: list
  elements: dict
  sample:
    - name: web.1
      id: web-1-k3x7q
      slot: 1
      revision: 2
      node: m2
      desired: running
      state: running
      since: "2026-01-01T12:00:00.000Z"
      message: ""
      exit_code: null
      failures: 0
      last_log: ""
      address: 10.88.1.2
      health: healthy
      health_output: ""
      image_digest: ""
endpoints:
  description: Where the published ports of the service answer.
  returned: always, but for errors before it was read
  type: list
  elements: str
  sample: ["10.77.0.11:80", "10.77.0.12:80"]
changes:
  description: What differs from before, field by field. Secrets read V((hidden\)).
  returned: success, and when waiting failed
  type: list
  elements: dict
  sample: [{path: replicas, before: "2", after: "3"}]
plan:
  description: What happens to tasks, line by line. The cluster computes it, also in check mode.
  returned: success, and when waiting failed
  type: list
  elements: str
  sample:
    - "batch 1       slot 1  replace on m1 (start first)"
    - "lowest capacity 3/3, at least 3 (min_healthy)"
    - "room  cpus 8 of 12, memory 6 of 12 GiB free on 3 nodes: enough"
rollout:
  description:
    - The newest rollout of the service, under way or not, as M(warren.core.warren_rollout) returns
      it. Empty when there was none.
  returned: always, but for errors before it was read
  type: dict
rollout_id:
  description:
    - Id of the rollout that this change began, or that is under way. Empty when there is none.
  returned: success, and when waiting failed
  type: str
  sample: web-r5-k3x7q
rollout_plan:
  description:
    - What C(plan) says, as data. Empty when no rollout begins.
  returned: success, and when waiting failed
  type: dict
logs:
  description:
    - The last lines of the tasks that a rollout failed by. They stand in C(msg), too.
  returned: when a rollout failed
  type: list
  elements: dict
  sample: [{name: web.1, node: m2, lines: ["KeyError: DATABASE_URL"]}]
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

from datetime import timedelta
from typing import Any

from ansible_collections.warren.core.plugins.module_utils.services import (
    NOTHING,
    SPEC_OPTIONS,
    current,
    deploy,
    to_yaml,
)
from ansible_collections.warren.core.plugins.module_utils.warren import (
    WAIT_ARGUMENTS,
    WarrenModule,
    fail,
    run,
)

try:
    from warren.client import waits
    from warren.model.errors import NotFound
    from warren.model.manifest import parse_service, service_to_dict
except ImportError:  # told by module_utils/warren.py
    pass


def main() -> None:
    """Entry point."""
    module = WarrenModule(
        {
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "expected_version": {"type": "int", "default": 0},
            "image": {"type": "str"},
            "command": {"type": "raw"},
            "args": {"type": "raw"},
            "env": {"type": "dict"},
            "user": {"type": "str"},
            "working_dir": {"type": "str"},
            "mode": {"type": "str", "choices": ["replicated", "global"]},
            "replicas": {"type": "int"},
            "ports": {"type": "list", "elements": "dict"},
            "resources": {"type": "dict"},
            "restart": {"type": "dict"},
            "placement": {"type": "dict"},
            "pull": {"type": "str", "choices": ["missing", "always", "never"]},
            "registry_secret": {"type": "str", "no_log": False},
            "stop_signal": {"type": "str"},
            "stop_grace_period": {"type": "str"},
            "drain_delay": {"type": "str"},
            "affinity": {"type": "str", "choices": ["none", "source"]},
            "health": {"type": "dict"},
            "secrets": {"type": "list", "elements": "dict", "no_log": False},
            "configs": {"type": "list", "elements": "dict"},
            "labels": {"type": "dict"},
            "update": {"type": "dict"},
            **WAIT_ARGUMENTS,
        }
    )
    run(module, lambda: absent(module) if module.params["state"] == "absent" else present(module))


def present(module: WarrenModule) -> dict[str, Any]:
    """The service is as the options say."""
    spec = parse_service(_manifest(module.params), partial=True)
    with module.client() as client:
        (result,) = deploy(module, client, [spec])
    return result


def absent(module: WarrenModule) -> dict[str, Any]:
    """The service and its tasks are gone."""
    name = module.params["name"]
    empty = {**NOTHING, "changes": [], "plan": [], "rollout_id": "", "rollout_plan": {}}
    with module.client() as client:
        try:
            view = client.get_service(name)
        except NotFound:
            return {"changed": False, **empty}
        deleted = client.delete_service(
            name,
            expected_version=module.params["expected_version"],
            dry_run=module.check_mode,
        )
        if module.params["wait"] and not module.check_mode:
            _wait_gone(module, client, name)
        before = to_yaml(service_to_dict(view.service.spec)) if deleted.changed else ""
        return {
            **empty,
            **(current(client, view) if module.check_mode else {}),
            "changed": deleted.changed,
            "plan": list(deleted.plan),
            "diff": {
                "before_header": f"service {name}",
                "after_header": f"service {name}",
                "before": before,
                "after": "",
                "prepared": "".join(f"{line}\n" for line in deleted.plan),
            },
        }


def _wait_gone(module: WarrenModule, client: Any, name: str) -> None:
    timeout = timedelta(seconds=module.params["wait_timeout"])
    try:
        waits.wait_service_gone(client, name, timeout=timeout)
    except waits.ServiceWaitFailed as error:
        last = current(client, error.view) if error.view else {}
        fail(module, error, changed=True, **last)


def _manifest(params: dict[str, Any]) -> dict[str, Any]:
    """The options that were given. Ansible cannot tell null from left out: both are left out."""
    given = {name: params[name] for name in SPEC_OPTIONS if params[name] is not None}
    for name in ("health", "update"):
        if given.get(name) == {}:
            given[name] = None
    return {"name": params["name"], **given}


if __name__ == "__main__":
    main()
