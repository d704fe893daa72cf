#!/usr/bin/python
# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: warren_venv
short_description: Install the agent into a virtual environment of its own
version_added: 0.1.0
description:
  - Each set of packages gets a new environment beside O(path), which is a link to the current one.
    A run that is interrupted, or fails, leaves the current one as it was.
  - With O(wheels), everything comes from that directory, and nothing else is asked.
  - Environments other than the current and the one before are removed.
author:
  - The Warren authors (@warren)
options:
  path:
    description: The link to the current environment.
    type: path
    default: /opt/warren/venv
  wheels:
    description: Directory of wheels, with pip among them.
    type: path
  package:
    description: What to install, as pip reads it.
    type: str
    default: warren[daemon]
  pinned:
    description:
      - Packages with their hashes, as pip reads them, which are installed before O(package).
        Not needed with O(wheels), as whoever built the bundle has checked them.
    type: str
    default: ""
attributes:
  check_mode:
    description: Can run in check mode and return changed status without installing.
    support: full
  diff_mode:
    description: Will return details on what has changed.
    support: none
"""

EXAMPLES = r"""
- name: The agent is installed
  warren.core.warren_venv:
    wheels: /opt/warren/bundle/wheels/trixie
"""

RETURN = r"""
environment:
  description: Directory of the environment that O(path) leads to at the end.
  returned: success
  type: str
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.warren.core.plugins.module_utils import bundle_files

LOCK = Path("/run/lock/warren-install")
COMPLETE = ".complete"


class InstallError(Exception):
    """The environment could not be made. The text is one line for the user."""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "default": "/opt/warren/venv"},
            "wheels": {"type": "path"},
            "package": {"type": "str", "default": "warren[daemon]"},
            "pinned": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    link, package = Path(module.params["path"]), module.params["package"]
    wheels = Path(module.params["wheels"]) if module.params["wheels"] else None
    pinned = "" if wheels else module.params["pinned"]
    environment = link.with_name(f"{link.name}-{content_digest(wheels, package, pinned)}")
    current = (environment / COMPLETE).exists() and link.resolve() == environment
    try:
        if not current and not module.check_mode:
            with bundle_files.locked(LOCK):
                if not (environment / COMPLETE).exists():
                    make(environment, wheels, package, pinned)
                switch(link, environment)
    except InstallError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=not current, environment=str(environment))


def content_digest(wheels: Path | None, package: str, pinned: str) -> str:
    """Tells one set of packages from another: the wheels' bytes, and the Python they are for."""
    digest = hashlib.sha256(f"{sys.version_info[:2]} {package} {pinned}".encode())
    for wheel in sorted(wheels.glob("*.whl")) if wheels else ():
        digest.update(wheel.name.encode() + hashlib.sha256(wheel.read_bytes()).digest())
    return digest.hexdigest()[:12]


def make(environment: Path, wheels: Path | None, package: str, pinned: str) -> None:
    """Make the environment. The mark that says it is complete is written last."""
    shutil.rmtree(environment, ignore_errors=True)
    environment.parent.mkdir(parents=True, exist_ok=True)
    python = str(environment / "bin" / "python")
    if wheels:
        # Pip is run from its own wheel: Debian's minimal Python has no pip to put there.
        pip = next(iter(sorted(wheels.glob("pip-*.whl"))), None)
        if pip is None:
            raise InstallError(f"{wheels} has no wheel of pip")
        _run([sys.executable, "-m", "venv", "--without-pip", str(environment)])
        install = ["--no-index", f"--find-links={wheels}", package]
        _run([python, "-m", "pip", "install", *install], PYTHONPATH=str(pip))
    else:
        _run([sys.executable, "-m", "venv", str(environment)])
        if pinned:
            hashes = environment / "pinned.txt"
            hashes.write_text(pinned, encoding="utf-8")
            install = ["--no-deps", "--require-hashes", "-r", str(hashes)]
            _run([python, "-m", "pip", "install", *install])
        _run([python, "-m", "pip", "install", package])
    (environment / COMPLETE).touch()


def switch(link: Path, environment: Path) -> None:
    """Point the link at the environment in one step, and forget environments long left."""
    before = link.resolve()
    beside = link.with_name(f".{link.name}.new")
    beside.unlink(missing_ok=True)
    beside.symlink_to(environment.name)
    beside.replace(link)
    for other in link.parent.glob(f"{link.name}-*"):
        if other not in (environment, before):  # daemons may still run from the one before
            shutil.rmtree(other, ignore_errors=True)


def _run(argv: list[str], **environment: str) -> None:
    quiet = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}
    done = subprocess.run(
        argv,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PIP_NO_INPUT": "1", "PIP_PROGRESS_BAR": "off", **quiet, **environment},
    )
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()
        errors = [line for line in lines if line.startswith("ERROR:")] or lines[-1:]
        raise InstallError(f"{' '.join(argv[1:4])}: {' '.join(errors[:2])}")


if __name__ == "__main__":
    main()
