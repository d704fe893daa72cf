#!/usr/bin/python
# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: warren_images
short_description: Import images of a host's part of a bundle into containerd
version_added: 0.1.0
description:
  - Imports every OCI archive in a directory into the namespace that tasks use, and pins the images,
    so that no clean-up of unused images removes what no registry would bring back.
author:
  - The Warren authors (@warren)
options:
  directory:
    description: Directory of OCI archives on the host.
    type: path
    required: true
  namespace:
    description: Namespace of containerd.
    type: str
    default: k8s.io
attributes:
  check_mode:
    description: Can run in check mode and return changed status without importing.
    support: full
  diff_mode:
    description: Will return details on what has changed.
    support: none
"""

EXAMPLES = r"""
- name: Images of the bundle are there
  warren.core.warren_images:
    directory: /opt/warren/bundle/images
"""

RETURN = r"""
imported:
  description: Names of the images that were imported, or would be.
  returned: success
  type: list
  elements: str
"""

import json
import shutil
import tarfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

NAME = "io.containerd.image.name"
PIN = "io.cri-containerd.pinned=pinned"


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "namespace": {"type": "str", "default": "k8s.io"},
        },
        supports_check_mode=True,
    )
    ctr = ["ctr", "--namespace", module.params["namespace"], "images"]
    wanted = {
        name: (archive, digest)
        for archive in sorted(Path(module.params["directory"]).glob("*.tar"))
        for name, digest in described(archive).items()
    }
    if module.check_mode and not shutil.which("ctr"):
        module.exit_json(changed=True, imported=sorted(wanted))
    listing = module.run_command([*ctr, "ls"], check_rc=True)[1]
    there = {row[0]: row[2] for line in listing.splitlines()[1:] if len(row := line.split()) > 2}
    missing = sorted(name for name in wanted if there.get(name) != wanted[name][1])
    if not module.check_mode:
        for name in missing:
            module.run_command([*ctr, "import", str(wanted[name][0])], check_rc=True)
            module.run_command([*ctr, "label", name, PIN], check_rc=True)
    module.exit_json(changed=bool(missing), imported=missing)


def described(archive: Path) -> dict[str, str]:
    """Names of the images in an OCI archive, each with the digest it is known by."""
    with tarfile.open(archive) as tar:
        content = tar.extractfile("index.json")
        manifests = json.load(content)["manifests"] if content else []
    return {entry["annotations"][NAME]: entry["digest"] for entry in manifests}


if __name__ == "__main__":
    main()
