#!/usr/bin/python
# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: warren_bundle_part
short_description: Copy a host's part of an offline bundle to it
version_added: 0.1.0
description:
  - Brings the packages, wheels and images for the host's release from a bundle on the control node.
  - Only files that the host lacks are sent, in one archive, and each is verified on arrival.
  - The action plugin of the same name does the control node's half.
author:
  - The Warren authors (@warren)
options:
  bundle:
    description: Directory of the bundle, on the control node.
    type: path
    required: true
  release:
    description: Codename of the host's Debian release.
    type: str
    required: true
  path:
    description: Where the part is kept on the host.
    type: path
    default: /opt/warren/bundle
  part:
    description: Set by the action plugin. What the host shall have.
    type: dict
  archive:
    description: Set by the action plugin. The files that the host lacks.
    type: path
attributes:
  check_mode:
    description: Can run in check mode and return changed status without sending anything.
    support: full
  diff_mode:
    description: Will return details on what has changed.
    support: none
"""

EXAMPLES = r"""
- name: The host has its part of the bundle
  warren.core.warren_bundle_part:
    bundle: /srv/warren-bundle
    release: trixie
"""

RETURN = r"""
sent:
  description: Number of files that were sent, or would be.
  returned: success
  type: int
digest:
  description: Digest of the whole part.
  returned: success
  type: str
"""

import platform
import shutil
import tarfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.warren.core.plugins.module_utils import bundle_files
from ansible_collections.warren.core.plugins.module_utils.bundle_files import BundleError

LOCK = Path("/run/lock/warren-install")
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "bundle": {"type": "path", "required": True},
            "release": {"type": "str", "required": True},
            "path": {"type": "path", "default": "/opt/warren/bundle"},
            "part": {"type": "dict"},
            "archive": {"type": "path"},
        },
        supports_check_mode=True,
    )
    directory = Path(module.params["path"])
    try:
        if not module.params["archive"]:
            module.exit_json(changed=False, present=present(directory))
        with bundle_files.locked(LOCK):
            receive(directory, module.params["part"], Path(module.params["archive"]))
    except BundleError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=True)


def present(directory: Path) -> dict[str, Any]:
    """What the host has: the digest of its part, and the digest of each file in it."""
    try:
        part = bundle_files.load_manifest(directory)
    except BundleError:
        return {"digest": "", "files": {}}
    lost = [name for name in part["files"] if not (directory / name).is_file()]
    files = {name: entry["sha256"] for name, entry in part["files"].items() if name not in lost}
    return {"digest": "" if lost else part["digest"], "files": files}


def receive(directory: Path, part: dict[str, Any], archive: Path) -> None:
    """Unpack what was sent, verify it, forget what is no longer in the part."""
    if MACHINES.get(part["architecture"]) != platform.machine():
        raise BundleError(
            f"bundle: it is for {part['architecture']}, and this host is {platform.machine()}"
        )
    directory.mkdir(parents=True, exist_ok=True)
    (directory / bundle_files.MANIFEST).unlink(missing_ok=True)
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.name not in part["files"]:
                raise BundleError(f"bundle: {member.name} was sent and is not in the manifest")
            target = directory / member.name
            target.parent.mkdir(parents=True, exist_ok=True)
            content = tar.extractfile(member)
            if content is not None:
                with target.open("wb") as file:
                    shutil.copyfileobj(content, file, 1 << 20)
    found = bundle_files.problems(directory, part["files"])
    if found:
        raise BundleError("\n".join(found))
    for path in directory.rglob("*"):
        if path.is_file() and path.relative_to(directory).as_posix() not in part["files"]:
            path.unlink()
    bundle_files.save_manifest(directory, part)


if __name__ == "__main__":
    main()
