#!/usr/bin/python
# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: warren_units
short_description: Have several systemd units enabled and running
version_added: 0.1.0
description:
  - Does for several units at once what M(ansible.builtin.systemd_service) does for one.
  - When a unit does not start, fails with what it last said.
author:
  - The Warren authors (@warren)
options:
  names:
    description: The units, in the order in which they are started.
    type: list
    elements: str
    required: true
  started:
    description: Start those that do not run. Otherwise they are only enabled.
    type: bool
    default: true
  daemon_reload:
    description: Let systemd read its files again first.
    type: bool
    default: false
attributes:
  check_mode:
    description: Can run in check mode and return changed status without changing anything.
    support: full
  diff_mode:
    description: Will return details on what has changed.
    support: none
"""

EXAMPLES = r"""
- name: Daemons run
  warren.core.warren_units:
    names: [warren-manager.service, warren-worker.service]
"""

RETURN = r"""
enabled:
  description: Units that were enabled, or would be.
  returned: success
  type: list
  elements: str
started:
  description: Units that were started, or would be.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule

RUNNING = ("active", "activating", "reloading")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "names": {"type": "list", "elements": "str", "required": True},
            "started": {"type": "bool", "default": True},
            "daemon_reload": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    names = module.params["names"]
    if module.params["daemon_reload"] and not module.check_mode:
        module.run_command(["systemctl", "daemon-reload"], check_rc=True)
    units = states(module, names)
    enable = [name for name in names if units[name].get("UnitFileState") != "enabled"]
    start = [name for name in names if units[name].get("ActiveState") not in RUNNING]
    start = start if module.params["started"] else []
    if not module.check_mode:
        if enable:
            module.run_command(["systemctl", "--quiet", "enable", *enable], check_rc=True)
        for name in start:
            start_one(module, name)
    module.exit_json(changed=bool(enable or start), enabled=enable, started=start)


def states(module: AnsibleModule, names: list[str]) -> dict[str, dict[str, str]]:
    """What systemd says of each unit. It answers with one paragraph for each, in their order."""
    asked = "--property=LoadState,ActiveState,UnitFileState"
    _rc, answer, _err = module.run_command(["systemctl", "show", asked, *names], check_rc=True)
    paragraphs = answer.strip().split("\n\n")
    return {
        name: dict(line.split("=", 1) for line in paragraph.splitlines())
        for name, paragraph in zip(names, paragraphs, strict=True)
    }


def start_one(module: AnsibleModule, name: str) -> None:
    code, _out, error = module.run_command(["systemctl", "start", name])
    if code:
        journal = ["journalctl", "--unit", name, "--lines=3", "--output=cat", "--no-pager"]
        _rc, said, _err = module.run_command(journal)
        reason = " / ".join(said.split("\n")).strip(" /") or error.strip()
        module.fail_json(msg=f"{name} does not start: {reason}")


if __name__ == "__main__":
    main()
