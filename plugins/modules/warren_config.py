#!/usr/bin/python
# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: warren_config
short_description: Keep a config in a Warren cluster
version_added: 0.1.0
description:
  - Keeps a config, a file that services refer to by name, with its versions.
  - Contents that are not those of the newest version make another version. Services that follow the
    config are then rolled out, and rolled back together with it if they fail.
    The task waits for that.
  - It is no place for secrets. Everybody who may read the cluster may read it.
author:
  - The Warren authors (@warren)
options:
  name:
    description: Name of the config, a DNS label.
    type: str
    required: true
  state:
    description:
      - V(present) has the config be as the options say, V(absent) removes it.
      - A config that a service uses is not removed. The error names those who use it.
    type: str
    choices: [present, absent]
    default: present
  content:
    description:
      - The contents, as text. Placeholders such as C({{ node.name }}) would be
        taken by Ansible, so put them into a file, or write C(!unsafe).
    type: str
  content_base64:
    description: The contents in base64, for what is no text.
    type: str
  src:
    description: A file on the host where the module runs that holds the contents.
    type: path
  labels:
    description: Labels of the config. Replaces all that were given before.
    type: dict
  keep_versions:
    description:
      - So many of the newest versions stay. A version that a service could still go back to stays
        anyway. By default 5.
    type: int
  expected_version:
    description:
      - Fail unless this is the C(expected_version) of RV(config) that was read before. V(0) is any.
    type: int
    default: 0
extends_documentation_fragment:
  - warren.core.wait
  - warren.core.connection
  - warren.core.attributes
  - warren.core.attributes.actiongroup
attributes:
  check_mode:
    support: full
    details:
      - The cluster makes a dry run.
  diff_mode:
    support: full
  idempotent:
    support: full
seealso:
  - module: warren.core.warren_config_info
  - module: warren.core.warren_service
  - module: warren.core.warren_secret
"""

EXAMPLES = r"""
- name: The settings of nginx are those of the repository
  warren.core.warren_config:
    name: nginx
    src: files/nginx.conf

- name: Web has them as a file
  warren.core.warren_service:
    name: web
    image: registry.example/web:1.5
    configs:
      - {name: nginx, target: /etc/nginx/nginx.conf, template: true}
"""

RETURN = r"""
config:
  description:
    - The config as M(warren.core.warren_config_info) returns it. In check mode as it was before.
  returned: success
  type: dict
number:
  description: The newest version, in check mode the one that would be.
  returned: success with O(state=present)
  type: int
changes:
  description: What differs from before, field by field. The diff shows the contents.
  returned: success
  type: list
  elements: dict
rollouts:
  description: Ids of the rollouts that the new version begins, by service.
  returned: success
  type: dict
logs:
  description: Last lines of the tasks that a rollout failed by.
  returned: when a rollout fails
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

from ansible_collections.warren.core.plugins.module_utils import secrets
from ansible_collections.warren.core.plugins.module_utils.warren import (
    WAIT_ARGUMENTS,
    WarrenModule,
    run,
)


def main() -> None:
    """Entry point."""
    module = WarrenModule(
        {
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "content": {"type": "str"},
            "content_base64": {"type": "str"},
            "src": {"type": "path"},
            "labels": {"type": "dict"},
            "keep_versions": {"type": "int"},
            "expected_version": {"type": "int", "default": 0},
            **WAIT_ARGUMENTS,
        },
        mutually_exclusive=[("content", "content_base64", "src")],
    )
    run(module, lambda: work(module))


def work(module: WarrenModule) -> dict[str, Any]:
    """The config is as the options say."""
    if module.params["state"] == "absent":
        return secrets.absent(module, "config")
    value = secrets.value_of(module.params, "content", "content_base64")
    return secrets.config_present(module, value)


if __name__ == "__main__":
    main()
