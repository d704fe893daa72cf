#!/usr/bin/python
# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: warren_secret
short_description: Keep a secret in a Warren cluster
version_added: 0.1.0
description:
  - Keeps a secret with its versions. Services refer to it by name, and their tasks get it as a file
    in memory.
  - A value that is not that of the newest version makes another version. Services that follow the
    secret are then rolled out, and rolled back together with it if they fail.
    The task waits for that.
  - The cluster compares values by a keyed hash, in check mode, too. No value is ever read back,
    shown, or returned.
author:
  - The Warren authors (@warren)
options:
  name:
    description: Name of the secret, a DNS label.
    type: str
    required: true
  state:
    description:
      - V(present) has the secret be as the options say, V(absent) removes it.
      - A secret that a service uses is not removed. The error names those who use it.
    type: str
    choices: [present, absent]
    default: present
  value:
    description: The value, as text.
    type: str
  value_base64:
    description: The value in base64, for what is no text.
    type: str
  src:
    description: A file on the host where the module runs that holds the value, byte for byte.
    type: path
  labels:
    description: Labels of the secret. Replaces all that were given before.
    type: dict
  keep_versions:
    description:
      - So many of the newest versions stay. A version that a service could still go back to stays
        anyway. By default 5.
    type: int
  expected_version:
    description:
      - Fail unless this is the C(expected_version) of RV(secret) that was read before. V(0) is any.
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
    details:
      - Shows that there is another version, and never a value.
  idempotent:
    support: full
seealso:
  - module: warren.core.warren_secret_info
  - module: warren.core.warren_service
  - module: warren.core.warren_config
"""

EXAMPLES = r"""
- name: The password of the database is as the vault has it
  warren.core.warren_secret:
    name: db-password
    value: "{{ vaulted_db_password }}"

- name: The certificate is as the file on the control node has it
  warren.core.warren_secret:
    name: web-tls
    src: /etc/letsencrypt/live/example.org/privkey.pem

- name: Web has both as files
  warren.core.warren_service:
    name: web
    image: registry.example/web:1.5
    secrets:
      - name: db-password
      - {name: web-tls, target: tls.key, uid: 101}

- name: The credentials of the registry are those of the vault
  warren.core.warren_secret:
    name: registry
    value: "{{ {'username': 'deploy', 'password': vaulted_registry_password} | to_json }}"

- name: The shop is pulled with them
  warren.core.warren_service:
    name: shop
    image: registry.example/shop:1.6
    registry_secret: registry

- name: A secret that nobody uses is gone
  warren.core.warren_secret:
    name: old-token
    state: absent
"""

RETURN = r"""
secret:
  description:
    - The secret as M(warren.core.warren_secret_info) returns it. In check mode as it was before.
  returned: success
  type: dict
number:
  description: The newest version, in check mode the one that would be.
  returned: success with O(state=present)
  type: int
changes:
  description: What differs from before, field by field. Of a value only that it does.
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
            "value": {"type": "str", "no_log": True},
            "value_base64": {"type": "str", "no_log": True},
            "src": {"type": "path"},
            "labels": {"type": "dict"},
            "keep_versions": {"type": "int"},
            "expected_version": {"type": "int", "default": 0},
            **WAIT_ARGUMENTS,
        },
        mutually_exclusive=[("value", "value_base64", "src")],
    )
    run(module, lambda: work(module))


def work(module: WarrenModule) -> dict[str, Any]:
    """The secret is as the options say."""
    if module.params["state"] == "absent":
        return secrets.absent(module, "secret")
    value = secrets.value_of(module.params, "value", "value_base64")
    return secrets.secret_present(module, value)


if __name__ == "__main__":
    main()
