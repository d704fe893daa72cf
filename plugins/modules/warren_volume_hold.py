#!/usr/bin/python
# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: warren_volume_hold
short_description: Keep tasks from writing to a volume for a while
version_added: 0.1.0
description:
  - The steps around a copy of a local volume, as the playbooks C(backup-volume.yml) and
    C(restore-volume.yml) take them, which are what to use for backups.
  - Services that are stopped have no replicas meanwhile. How many they had is written into labels
    of the volume first, C(warren.replicas-of/SERVICE), so that a run that dies forgets nothing. The
    next O(state=given_back) puts back what it finds there.
author:
  - The Warren authors (@warren)
options:
  name:
    description: Name of the volume.
    type: str
    required: true
  state:
    description:
      - V(checked) says whether it can be done, and changes nothing.
      - V(held) stops the tasks that have the volume, and waits until they have it no more; or runs
        O(before) in each.
      - V(given_back) undoes that, also where it was done in part. A service that somebody has
        scaled meanwhile stays so.
    type: str
    choices: [checked, held, given_back]
    default: checked
  quiesce:
    description:
      - V(stop) gives the services that use the volume no replicas. Not for global services.
      - V(exec) runs O(before) and O(after) in the tasks that have the volume, which go on running.
      - V(none) does nothing.
    type: str
    choices: [stop, exec, none]
    default: stop
  before:
    description:
      - Command with its arguments, run without a shell, by O(state=held). If it fails, so does the
        module.
    type: list
    elements: str
    default: []
  after:
    description: The same for O(state=given_back).
    type: list
    elements: str
    default: []
  exclusive:
    description: With O(state=checked), whether no task may have the volume while it is held.
    type: bool
    default: false
  command_timeout:
    description: Seconds that a command may take.
    type: float
    default: 300
  stop_timeout:
    description: Seconds after which waiting for tasks to stop has failed.
    type: float
    default: 120
  wait_timeout:
    description: Seconds after which waiting for services to run again has failed.
    type: float
    default: 300
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
    support: partial
    details:
      - Commands are run each time.
seealso:
  - module: warren.core.warren_volume_backup
  - module: warren.core.warren_volume_restore
"""

EXAMPLES = r"""
- name: The volume is left alone for a snapshot, and given back
  block:
    - name: Its tasks stop
      warren.core.warren_volume_hold:
        name: pg-data
        state: held
    - name: Take it
      ansible.builtin.command: snapshot-of-yours pg-data
      delegate_to: w1
      changed_when: true
  always:
    - name: Its tasks run again
      warren.core.warren_volume_hold:
        name: pg-data
        state: given_back
"""

RETURN = r"""
volume:
  description:
    - The volume as M(warren.core.warren_volume_info) returns it, and C(directory), the name of its
      directory, with C(cluster) and C(cluster_id). As it was before.
  returned: success
  type: dict
replicas:
  description: Of each service that uses the volume, how many replicas it has when it is not held.
  returned: success
  type: dict
  sample: {pg: 1}
said:
  description: What the command printed, by the name of the task.
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

from datetime import timedelta
from typing import Any

from ansible_collections.warren.core.plugins.module_utils.warren import WarrenModule, run

try:
    from warren.client import Client, reports, volume_holding
    from warren.client.volume_holding import Holding, Quiesce
    from warren.model.errors import InvalidInput
except ImportError:  # told by module_utils/warren.py
    pass


def main() -> None:
    """Entry point."""
    module = WarrenModule(
        {
            "name": {"type": "str", "required": True},
            "state": {
                "type": "str",
                "choices": ["checked", "held", "given_back"],
                "default": "checked",
            },
            "quiesce": {"type": "str", "choices": ["stop", "exec", "none"], "default": "stop"},
            "before": {"type": "list", "elements": "str", "default": []},
            "after": {"type": "list", "elements": "str", "default": []},
            "exclusive": {"type": "bool", "default": False},
            "command_timeout": {"type": "float", "default": 300},
            "stop_timeout": {"type": "float", "default": 120},
            "wait_timeout": {"type": "float", "default": 300},
        }
    )
    run(module, lambda: work(module))


def work(module: WarrenModule) -> dict[str, Any]:
    """The step that is wanted."""
    params, quiesce = module.params, Quiesce(module.params["quiesce"])
    check_commands(params, quiesce)
    with module.client() as client:
        holding = volume_holding.find(client, params["name"])
        cluster = client.get_cluster()
        changed, said = False, {}
        match params["state"]:
            case "given_back":
                changed, said = give_back(module, client, holding, quiesce)
            case state:
                volume_holding.check(holding, quiesce, exclusive=params["exclusive"])
                if state == "held":
                    changed, said = hold(module, client, holding, quiesce)
    volume = {
        **reports.volume(holding.view),
        "directory": holding.view.volume.directory,
        "cluster": cluster.spec.name,
        "cluster_id": cluster.id,
    }
    return {
        "changed": changed,
        "volume": volume,
        "replicas": dict(holding.replicas),
        "said": said,
    }


def check_commands(params: dict[str, Any], quiesce: Quiesce) -> None:
    """InvalidInput: there are none where they are needed, or some where they mean nothing."""
    given = [name for name in ("before", "after") if params[name]]
    if quiesce is Quiesce.EXEC and not given:
        raise InvalidInput("is required by quiesce exec, or after is", path="before")
    if quiesce is not Quiesce.EXEC and given:
        raise InvalidInput("is for quiesce exec", path=given[0])


def hold(
    module: WarrenModule, client: Client, holding: Holding, quiesce: Quiesce
) -> tuple[bool, dict[str, str]]:
    """Whether that changes something, and what was said."""
    params = module.params
    if quiesce is Quiesce.STOP:
        if not module.check_mode:
            limit = timedelta(seconds=params["stop_timeout"])
            volume_holding.stop(client, holding, timeout=limit)
        return bool(holding.stopped), {}
    return command(module, client, holding, "before")


def give_back(
    module: WarrenModule, client: Client, holding: Holding, quiesce: Quiesce
) -> tuple[bool, dict[str, str]]:
    """The same."""
    if quiesce is Quiesce.STOP:
        if module.check_mode:
            return bool(holding.stopped), {}
        limit = timedelta(seconds=module.params["wait_timeout"])
        return bool(volume_holding.start(client, holding, timeout=limit)), {}
    return command(module, client, holding, "after")


def command(
    module: WarrenModule, client: Client, holding: Holding, which: str
) -> tuple[bool, dict[str, str]]:
    """One is run in every task; none, if there is none."""
    words = module.params[which]
    if not words or module.check_mode:
        return bool(words), {}
    limit = timedelta(seconds=module.params["command_timeout"])
    return True, volume_holding.run(client, holding, words, timeout=limit)


if __name__ == "__main__":
    main()
