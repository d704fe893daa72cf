#!/usr/bin/python
# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: warren_agent_wheel
short_description: Build the agent's Python wheel on the control node
version_added: 0.1.0
description:
  - Builds a wheel from the agent's sources, for hosts that install without a bundle. Unchanged
    sources are built once.
  - What the agent imports is not part of it; pip gets that from an index.
author:
  - The Warren authors (@warren)
options:
  agent:
    description: Directory with the agent's sources.
    type: path
    required: true
  cache:
    description: Directory to build in. May be removed at any time.
    type: path
    required: true
requirements:
  - pip on the control node
attributes:
  check_mode:
    support: full
    description: Builds in check mode too, as it changes no host and nothing that a host shows.
  diff_mode:
    support: none
    description: There is nothing to show.
  idempotent:
    support: full
    description: The same sources give the same wheel.
extends_documentation_fragment: []
"""

EXAMPLES = r"""
- name: Wheel of the agent is built
  warren.core.warren_agent_wheel:
    agent: "{{ playbook_dir }}/agent"
    cache: /var/cache/warren/agent
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
path:
  description: The wheel, in a directory that is named for the digest of its sources.
  type: str
  returned: success
  sample: /var/cache/warren/agent/0f3c9a/warren-0.1.0-py3-none-any.whl
digest:
  description: Digest of the sources.
  type: str
  returned: success
"""

import shutil
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.warren.core.plugins.module_utils import bundle_files, bundle_wheels


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "agent": {"type": "path", "required": True},
            "cache": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    agent, cache = Path(module.params["agent"]), Path(module.params["cache"])
    if not (agent / "pyproject.toml").is_file():
        module.fail_json(msg=f"agent: {agent} does not hold the agent's sources")
    digest = bundle_wheels.sources_digest(agent)[:12]
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with bundle_files.locked(cache / ".lock"):
            wheel = built(agent, cache, cache / digest)
    except bundle_files.BundleError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, path=str(wheel), digest=digest)


def built(agent: Path, cache: Path, place: Path) -> Path:
    """The wheel in `place`; built beside it first, so that it is whole or not there."""
    if not place.is_dir():
        with tempfile.TemporaryDirectory(dir=cache, prefix=".build-") as work:
            target = Path(work) / "wheel"
            bundle_wheels.build_agent(agent, Path(work), target)
            shutil.move(target, place)
    return next(place.glob("warren-*.whl"))


if __name__ == "__main__":
    main()
