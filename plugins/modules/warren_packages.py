#!/usr/bin/python
# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: warren_packages
short_description: Install Debian packages from a host's part of a bundle, or from the distribution
version_added: 0.1.0
description:
  - With O(source), apt resolves among the packages in that directory alone, whatever repositories
    the host knows. Sources, lists and keys of the host's own apt are not touched.
  - Packages that are installed in this or a newer version are left alone.
  - Without O(source), the host's own repositories are used, as C(apt-get install) would.
  - Recommended packages are not installed.
author:
  - The Warren authors (@warren)
options:
  names:
    description: Packages to have.
    type: list
    elements: str
    required: true
  source:
    description: Directory with .deb files and their index C(Packages).
    type: path
attributes:
  check_mode:
    description: Can run in check mode and return changed status without installing.
    support: full
  diff_mode:
    description: Will return details on what has changed.
    support: none
"""

EXAMPLES = r"""
- name: Containerd is installed
  warren.core.warren_packages:
    names: [containerd, containernetworking-plugins]
    source: /opt/warren/bundle/debs/trixie
"""

RETURN = r"""
installed:
  description: The packages of O(names) that were installed or upgraded, or would be.
  returned: success
  type: list
  elements: str
versions:
  description: Version of each package of O(names) that is installed at the end.
  returned: success
  type: dict
"""

import os
import re
import subprocess
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule


class AptError(Exception):
    """Apt refused. The text is one line for the user."""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "names": {"type": "list", "elements": "str", "required": True},
            "source": {"type": "path"},
        },
        supports_check_mode=True,
    )
    names, source = module.params["names"], module.params["source"]
    try:
        wanted = missing(names, Path(source) if source else None)
        if wanted and not module.check_mode:
            finish_interrupted()
            if source:
                install_from_directory(wanted, Path(source))
            else:
                install_from_distribution(wanted)
    except AptError as error:
        module.fail_json(msg=f"packages {', '.join(names)}: {error}")
    module.exit_json(changed=bool(wanted), installed=wanted, versions=installed(names))


def missing(names: list[str], source: Path | None) -> list[str]:
    """Those that are not installed, or older than what the directory has."""
    there = installed(names)
    offered = offers(source) if source else {}
    return [
        name
        for name in names
        if name not in there or (name in offered and _older(there[name], offered[name]))
    ]


def installed(names: list[str]) -> dict[str, str]:
    """Versions of the packages that are installed."""
    asked = "--showformat=${Package}|${Version}|${db:Status-Abbrev}\n"
    done = subprocess.run(
        ["dpkg-query", "--show", asked, *names], capture_output=True, text=True, check=False
    )
    rows = (line.split("|") for line in done.stdout.splitlines())
    return {name: version for name, version, status in rows if status.startswith("ii")}


def offers(source: Path) -> dict[str, str]:
    """Versions in the directory. In a check run before the first copy, there may be none."""
    try:
        index = (source / "Packages").read_text(encoding="utf-8")
    except OSError:
        return {}
    return dict(re.findall(r"^Package: (\S+)\n(?:.*\n)*?Version: (\S+)", index, re.MULTILINE))


def finish_interrupted() -> None:
    """Let dpkg finish what a crash of the host interrupted; without that it refuses all else."""
    if any(Path("/var/lib/dpkg/updates").glob("[0-9]*")):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        argv = ["dpkg", "--configure", "--pending", "--force-confold"]
        subprocess.run(argv, check=False, capture_output=True, env=environment)


def install_from_directory(names: list[str], source: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="warren-apt-") as work:
        (Path(work) / "lists" / "partial").mkdir(parents=True)
        sources = Path(work) / "sources.list"
        # What is in the directory was verified when it was copied here.
        sources.write_text(f"deb [trusted=yes] file:{source} ./\n", encoding="utf-8")
        own = [
            f"Dir::Etc::sourcelist={sources}",
            "Dir::Etc::sourceparts=/dev/null",
            f"Dir::State::lists={work}/lists",
            f"Dir::Cache={work}",
            "APT::Sandbox::User=root",
            "Acquire::Languages=none",
        ]
        _apt("update", own)
        _apt("install", own, *names)


def install_from_distribution(names: list[str]) -> None:
    try:
        _apt("install", [], *names)
    except AptError:
        _apt("update", [])  # lists may be old or not there at all
        _apt("install", [], *names)


def _apt(verb: str, options: list[str], *names: str) -> None:
    common = [
        "APT::Install-Recommends=false",
        "DPkg::Lock::Timeout=120",
        "Dpkg::Use-Pty=0",
        "Dpkg::Options::=--force-confold",
        "Dpkg::Options::=--force-confdef",
        # A power cut while a host is set up may cost the host's setting up again, not more.
        "Dpkg::Options::=--force-unsafe-io",
    ]
    argv = ["apt-get", "--quiet", "--yes", verb]
    for option in [*common, *options]:
        argv += ["--option", option]
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    environment |= {"APT_LISTCHANGES_FRONTEND": "none", "NEEDRESTART_SUSPEND": "1"}
    done = subprocess.run(
        [*argv, *names], capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode:
        lines = (done.stderr + done.stdout).splitlines()
        errors = [line for line in lines if line.startswith(("E:", "dpkg: error"))]
        depends = [line.strip() for line in lines if "Depends:" in line]
        raise AptError("; ".join((depends + errors)[:4]) or f"apt-get ended with {done.returncode}")


def _older(version: str, other: str) -> bool:
    argv = ["dpkg", "--compare-versions", version, "lt", other]
    return subprocess.run(argv, check=False).returncode == 0


if __name__ == "__main__":
    main()
