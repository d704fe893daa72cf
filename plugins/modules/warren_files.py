#!/usr/bin/python
# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: warren_files
short_description: Have several small files and links on a host
version_added: 0.1.0
description:
  - Does for many files at once what M(ansible.builtin.copy) with O(ignore:content) does for one.
    A host that has all of them is asked once, and not once per file.
  - Each file is replaced in one step. Directories on the way are made.
author:
  - The Warren authors (@warren)
options:
  files:
    description: The files, by path, with their content.
    type: dict
    default: {}
  links:
    description: Symbolic links, by path, with what they lead to.
    type: dict
    default: {}
  absent:
    description: Files, links or whole directories that shall not be there.
    type: list
    elements: path
    default: []
  backup:
    description:
      - Keep what a file held before it was first replaced, beside it as C(.before-warren).
    type: bool
    default: false
  mode:
    description: Mode of the files, as octal digits.
    type: str
    default: "0644"
attributes:
  check_mode:
    description: Can run in check mode and return changed status without changing anything.
    support: full
  diff_mode:
    description: Will return the difference of each file.
    support: full
"""

EXAMPLES = r"""
- name: Two files and a link are there
  warren.core.warren_files:
    files:
      /etc/sysctl.d/60-example.conf: |
        net.ipv4.ip_forward = 1
      /etc/example.toml: "{{ lookup('ansible.builtin.template', 'example.toml.j2') }}"
    links:
      /usr/local/bin/example: /opt/example/bin/example
"""

RETURN = r"""
paths:
  description: What was changed, or would be.
  returned: success
  type: list
  elements: str
"""

import os
import shutil
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "dict", "default": {}},
            "links": {"type": "dict", "default": {}},
            "absent": {"type": "list", "elements": "path", "default": []},
            "backup": {"type": "bool", "default": False},
            "mode": {"type": "str", "default": "0644"},
        },
        supports_check_mode=True,
    )
    act, mode = not module.check_mode, int(module.params["mode"], 8)
    changed, diffs = [], []
    for name, content in module.params["files"].items():
        before = read(Path(name))
        if before == content and Path(name).stat().st_mode & 0o7777 == mode:
            continue
        changed.append(name)
        diffs.append(difference(name, before or "", content))
        if act:
            if module.params["backup"] and before is not None:
                keep(Path(name))
            write(Path(name), content, mode)
    for name, target in module.params["links"].items():
        before = str(Path(name).readlink()) if Path(name).is_symlink() else ""
        if before == target:
            continue
        changed.append(name)
        diffs.append(difference(name, f"-> {before}\n" if before else "", f"-> {target}\n"))
        if act:
            link(Path(name), target)
    for name in filter(os.path.lexists, module.params["absent"]):
        changed.append(name)
        diffs.append(difference(name, "present\n", "absent\n"))
        if act:
            remove(Path(name))
    module.exit_json(changed=bool(changed), paths=changed, diff=diffs)


def read(path: Path) -> str | None:
    """Content of a file; None if it is not there, or is something else."""
    if path.is_symlink() or not path.is_file():
        return None
    return path.read_text(encoding="utf-8", errors="replace")


def keep(path: Path) -> None:
    """Keep the file that somebody else made; what is kept once stays what it is."""
    kept = path.with_name(f"{path.name}.before-warren")
    if not kept.exists():
        shutil.copy2(path, kept)


def write(path: Path, content: str, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(content)
        os.fchmod(file.fileno(), mode)
    Path(draft).replace(path)


def link(path: Path, target: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    draft.symlink_to(target)
    draft.replace(path)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def difference(name: str, before: str, after: str) -> dict[str, str]:
    return {"before": before, "after": after, "before_header": name, "after_header": name}


if __name__ == "__main__":
    main()
