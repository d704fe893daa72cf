# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Python wheels of a bundle: the agent, built from its sources, and all that it imports.

Pip on this machine resolves for the Python of another release. It reads its own configuration as
usual, so the index is whichever one this machine uses.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

from ansible_collections.warren.core.plugins.module_utils.bundle_debs import run
from ansible_collections.warren.core.plugins.module_utils.bundle_files import (
    BundleError,
    digest_of,
    sha256,
)

# Python and C library of each release that a bundle can be built for.
RELEASES = {"bookworm": ("3.11", 36), "trixie": ("3.13", 41)}
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}

# In the agent's sources: packages that are taken by their hash. Published as sources only; pure
# Python, so one wheel serves every release.
PINNED = "pinned.txt"

LEFT_OUT = re.compile(r"(^|/)(__pycache__|build|dist|[^/]*\.egg-info)(/|$)|\.pyc$|(^|/)\.")


def requirements(agent: Path) -> list[str]:
    """What a daemon imports, as agent/pyproject.toml says, and pip itself for the hosts."""
    project = tomllib.loads((agent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [*project["dependencies"], *project["optional-dependencies"]["daemon"], "pip"]


def sources(agent: Path) -> dict[str, str]:
    """Digest of each source file of the agent."""
    files = (path for path in sorted(agent.rglob("*")) if path.is_file())
    named = ((path.relative_to(agent).as_posix(), path) for path in files)
    return {name: sha256(path) for name, path in named if not LEFT_OUT.search(name)}


def sources_digest(agent: Path) -> str:
    return digest_of(sources(agent))


def pinned(agent: Path) -> str:
    """Packages that are taken by their hash, as pip reads them."""
    return (agent / PINNED).read_text(encoding="utf-8")


def build_agent(agent: Path, work: Path, target: Path) -> None:
    """Build the agent's wheel from a copy, so that the checkout stays as it is."""
    copy = work / "agent"
    for name in sources(agent):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(agent / name, copy / name)
    _build(str(copy), target)


def download(agent: Path, release: str, architecture: str, work: Path, target: Path) -> None:
    """Fetch wheels for the Python of `release` into `target`."""
    python, glibc = RELEASES[release]
    wanted = requirements(agent)
    _build(str(agent / PINNED), work, "--require-hashes", "--requirement")
    argv = _pip("download", "--quiet", "--only-binary=:all:", "--dest", str(target))
    argv += ["--find-links", str(work), "--implementation=cp", f"--python-version={python}"]
    for abi in (f"cp{python.replace('.', '')}", "abi3", "none"):
        argv.append(f"--abi={abi}")
    for platform in platforms(MACHINES[architecture], glibc):
        argv.append(f"--platform={platform}")
    try:
        run([*argv, *wanted])
    except BundleError as error:
        raise BundleError(f"bundle: wheels of {release}: {error}") from None


def platforms(machine: str, glibc: int) -> list[str]:
    """Every tag that a release with this minor version of glibc 2 accepts, best first."""
    old = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
    tags = []
    for minor in range(glibc, 4, -1):
        tags.append(f"manylinux_2_{minor}_{machine}")
        if minor in old:
            tags.append(f"{old[minor]}_{machine}")
    return [*tags, f"linux_{machine}"]


def describe(path: Path) -> dict[str, Any]:
    """What the manifest says of one wheel."""
    name, version = path.name.split("-")[:2]
    purpose = "the agent: client, CLI and daemons" if name == "warren" else "imported by the agent"
    if name == "pip":
        purpose = "installs the other wheels"
    return {
        "sha256": sha256(path),
        "size": path.stat().st_size,
        "package": name.lower().replace("_", "-"),
        "version": version,
        "purpose": purpose,
    }


def _build(what: str, target: Path, *options: str) -> None:
    argv = _pip("wheel", "--quiet", "--no-deps", "--wheel-dir", str(target))
    if importlib.util.find_spec("setuptools"):
        argv.append("--no-build-isolation")  # fetches nothing to build with
    try:
        run([*argv, *options, what], SOURCE_DATE_EPOCH="1577836800")
    except BundleError as error:
        raise BundleError(f"bundle: building {what}: {error}") from None


def _pip(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
