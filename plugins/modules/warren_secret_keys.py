#!/usr/bin/python
# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: warren_secret_keys
short_description: Replace the keys that secrets of a Warren cluster are sealed with
version_added: 0.1.0
description:
  - Has the cluster make a new key-encryption key, and seal every version of every secret anew, each
    with a new data key of its own. The cluster does it a few at a time, also when the leader
    changes or this module is interrupted.
  - No value changes, so no service is touched.
author:
  - The Warren authors (@warren)
options:
  max_age:
    description:
      - A key that is older is replaced, such as V(90d). With V(0s), any is.
    type: str
    default: 0s
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
    support: none
  idempotent:
    support: partial
    details:
      - With O(max_age=0s) every run replaces all keys.
seealso:
  - module: warren.core.warren_secret
"""

EXAMPLES = r"""
- name: No key of secrets is older than 90 days
  warren.core.warren_secret_keys:
    max_age: 90d
"""

RETURN = r"""
keys:
  description:
    - Which key there is, since when, how many versions there are, and how many are still to be
      sealed anew. Empty where there was no secret yet.
  returned: success
  type: dict
  sample: {id: 5f2c9a01, created_at: "2026-06-01T12:00:00+00:00", versions: 12, left: 0}
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

from ansible_collections.warren.core.plugins.module_utils.warren import (
    WAIT_ARGUMENTS,
    WarrenModule,
    run,
)

try:
    from datetime import timedelta

    from warren.client import reports, rotations
    from warren.model.errors import InvalidInput, NotFound
    from warren.model.units import parse_duration
except ImportError:  # told by module_utils/warren.py
    pass


def main() -> None:
    """Entry point."""
    module = WarrenModule(
        {"max_age": {"type": "str", "default": "0s", "no_log": False}, **WAIT_ARGUMENTS}
    )
    run(module, lambda: replace(module))


def replace(module: WarrenModule) -> dict[str, Any]:
    """No secret is sealed with a key that is older than that."""
    try:
        max_age = parse_duration(module.params["max_age"])
    except ValueError as error:
        raise InvalidInput(str(error), path="max_age") from None
    with module.client() as client:
        changed = client.rotate_secret_keys(older_than=max_age, dry_run=module.check_mode)
        if changed and module.params["wait"] and not module.check_mode:
            timeout = timedelta(seconds=module.params["wait_timeout"])
            rotations.wait_resealed(client, timeout=timeout)
        try:
            keys = reports.secret_keys(client.get_secret_keys())
        except NotFound:
            keys = {}
    return {"changed": changed, "keys": keys}


if __name__ == "__main__":
    main()
