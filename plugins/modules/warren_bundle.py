#!/usr/bin/python
# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: warren_bundle
short_description: Build and verify the offline bundle on the control node
version_added: 0.1.0
description:
  - A bundle holds all that hosts need to become a cluster without a way out to any registry.
    These are Debian packages and Python wheels for each release, and container images.
  - A manifest in it names every file, with its SHA-256, its size and what it is for.
  - Building needs a Debian machine with apt and pip, and root is not needed.
    The mirror and the package index are those that this machine uses itself.
author:
  - The Warren authors (@warren)
options:
  path:
    description: Directory of the bundle.
    type: path
    required: true
  state:
    description:
      - V(built) builds what is missing, corrupted or out of date, and leaves the rest.
      - V(verified) changes nothing, and fails unless every file is what the manifest says.
    type: str
    choices: [built, verified]
    default: built
  releases:
    description: Codenames of the Debian releases to build for, or to verify for.
    type: list
    elements: str
    default: [bookworm, trixie]
  architecture:
    description: Architecture of the hosts, in Debian's words. By default that of this machine.
    type: str
    choices: [amd64, arm64]
  packages:
    description: Debian packages to take along, with what they depend on.
    type: list
    elements: str
    default: []
  agent:
    description: Directory of the agent's sources. Needed to build.
    type: path
  images:
    description: Further images to take along.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Full name of the image, with registry and tag.
        type: str
        required: true
      archive:
        description:
          - An OCI archive on the control node that holds the image.
          - Without it, the image is pulled with C(skopeo).
        type: path
  pause_image:
    description: Name of the image for sandboxes that is made for the bundle.
    type: str
    default: warren.local/pause:1
  cache:
    description: Directory for downloads, which may be removed at any time.
    type: path
  refresh:
    description: Build again what depends on mirror and index, to get newer versions.
    type: bool
    default: false
attributes:
  check_mode:
    description: Can run in check mode and return what would be built.
    support: full
  diff_mode:
    description: Will return details on what has changed.
    support: none
"""

EXAMPLES = r"""
- name: The bundle is up to date
  warren.core.warren_bundle:
    path: /srv/warren-bundle
    agent: /src/warren/agent
    packages: [containerd, containernetworking-plugins, nftables]
    cache: /var/cache/warren/bundle

- name: The bundle is complete and unharmed
  warren.core.warren_bundle:
    path: /srv/warren-bundle
    state: verified
    releases: []
"""

RETURN = r"""
path:
  description: Directory of the bundle.
  returned: always
  type: str
built:
  description: Parts of the bundle that were built, or would be.
  returned: when O(state=built)
  type: list
  elements: str
  sample: [agent, debs/trixie]
files:
  description: Number of files in the bundle.
  returned: success
  type: int
size:
  description: Sum of the sizes of all files, in bytes.
  returned: success
  type: int
"""

import os
import platform
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.warren.core.plugins.module_utils import (
    bundle_debs,
    bundle_files,
    bundle_images,
    bundle_wheels,
)
from ansible_collections.warren.core.plugins.module_utils.bundle_files import BundleError

# Grows when the way of building changes, so that bundles built the old way are built again.
RECIPE = 2

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}

Files = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Section:
    """A part of the bundle that is built as a whole, when its key changes."""

    name: str
    key: str
    build: Callable[[Path], Files]
    """Puts files below the directory that it is given, and describes them for the manifest."""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["built", "verified"], "default": "built"},
            "releases": {"type": "list", "elements": "str", "default": ["bookworm", "trixie"]},
            "architecture": {"type": "str", "choices": ["amd64", "arm64"]},
            "packages": {"type": "list", "elements": "str", "default": []},
            "agent": {"type": "path"},
            "images": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "archive": {"type": "path"},
                },
            },
            "pause_image": {"type": "str", "default": "warren.local/pause:1"},
            "cache": {"type": "path"},
            "refresh": {"type": "bool", "default": False},
        },
        required_if=[("state", "built", ("agent", "cache"))],
        supports_check_mode=True,
    )
    try:
        if module.params["state"] == "verified":
            result = verify(Path(module.params["path"]), module.params["releases"])
        else:
            result = build(module.params, check_mode=module.check_mode)
    except BundleError as error:
        module.fail_json(msg=str(error), path=module.params["path"])
    module.exit_json(path=module.params["path"], **result)


def verify(directory: Path, releases: list[str]) -> dict[str, Any]:
    """Every file that hosts of these releases need is there and unharmed."""
    manifest = bundle_files.load_manifest(directory)
    for release in releases:
        bundle_files.part(manifest, release)
    found = bundle_files.problems(directory, manifest["files"])
    if found:
        raise BundleError("\n".join(found))
    return {"changed": False, **_measure(manifest["files"])}


def build(params: dict[str, Any], *, check_mode: bool) -> dict[str, Any]:
    directory, cache = Path(params["path"]), Path(params["cache"])
    if check_mode:
        return _build(params, directory, cache, check_mode=True)
    directory.parent.mkdir(parents=True, exist_ok=True)
    with bundle_files.locked(cache / "lock"):
        _recover(directory)
        return _build(params, directory, cache, check_mode=False)


def _build(
    params: dict[str, Any], directory: Path, cache: Path, *, check_mode: bool
) -> dict[str, Any]:
    sections = _sections(params, cache)
    before = _load_if_usable(directory)
    kept = {} if params["refresh"] else _usable_sections(directory, before)
    stale = [each for each in sections if kept.get(each.name) != each.key]
    names = [each.name for each in stale]
    left = set(before.get("sections", {})) - {each.name for each in sections}
    if check_mode or not (stale or left):
        return {"changed": bool(stale or left), "built": names, **_measure(before.get("files", {}))}
    part = directory.with_name(f".{directory.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    files = _take_over(directory, part, before, {each.name for each in sections} - set(names))
    with ThreadPoolExecutor(max_workers=4) as pool:
        for section, built in pool.map(lambda each: (each.name, each.build(part)), stale):
            files |= {name: {**entry, "section": section} for name, entry in built.items()}
    manifest = {
        "format": bundle_files.FORMAT,
        "architecture": _architecture(params),
        "releases": {
            each: {"python": bundle_wheels.RELEASES[each][0]} for each in _releases(params)
        },
        "sections": {each.name: each.key for each in sections},
        "files": files,
    }
    bundle_files.save_manifest(part, manifest)
    _swap(part, directory)
    return {"changed": True, "built": names, **_measure(files)}


def _sections(params: dict[str, Any], cache: Path) -> list[Section]:
    architecture, agent = _architecture(params), Path(params["agent"])
    releases, packages = _releases(params), sorted(params["packages"])
    wheels = bundle_wheels.requirements(agent), bundle_wheels.pinned(agent)
    images = [{"name": params["pause_image"]}, *params["images"]]
    archives = [_stamp(each["archive"]) for each in params["images"] if each.get("archive")]

    def key(*content: object) -> str:
        return bundle_files.digest_of([RECIPE, architecture, *content])

    def debs_of(release: str) -> Section:
        def build(part: Path) -> Files:
            apt = bundle_debs.PrivateApt(cache / release, release, architecture)
            apt.prepare()
            target = _directory(part, f"debs/{release}")
            entries = apt.download(apt.closure(packages), target)
            (target / "Packages").write_text(bundle_debs.index(target), encoding="utf-8")
            entries["Packages"] = _entry(target / "Packages", "makes debs a repository for apt")
            return {f"debs/{release}/{name}": entry for name, entry in entries.items()}

        return Section(f"debs/{release}", key(packages, bundle_debs.BASE), build)

    def wheels_of(release: str) -> Section:
        def build(part: Path) -> Files:
            work, target = _scratch(cache, f"wheels-{release}"), f"wheels/{release}"
            fetched = _scratch(cache, f"fetched-{release}")
            bundle_wheels.download(agent, release, architecture, work, fetched)
            return _publish(fetched, part, [target])

        return Section(f"wheels/{release}", key(*wheels, bundle_wheels.RELEASES[release]), build)

    def build_agent(part: Path) -> Files:
        work, built = _scratch(cache, "agent-sources"), _scratch(cache, "agent")
        bundle_wheels.build_agent(agent, work, built)
        return _publish(built, part, [f"wheels/{release}" for release in releases])

    def build_images(part: Path) -> Files:
        apt = bundle_debs.PrivateApt(cache / "images", releases[-1], architecture)
        apt.prepare()
        return _build_images(apt, params, part, _scratch(cache, "image"))

    return [
        *map(debs_of, releases),
        *map(wheels_of, releases),
        Section("agent", key(releases, bundle_wheels.sources_digest(agent)), build_agent),
        Section("images", key(images, archives), build_images),
    ]


def _build_images(
    apt: bundle_debs.PrivateApt, params: dict[str, Any], part: Path, work: Path
) -> Files:
    target = _directory(part, "images")
    (package,) = (each for each in apt.closure(["catatonit"]) if each.startswith("catatonit="))
    apt.download([package], work)
    for archive in work.glob("catatonit_*.deb"):
        bundle_debs.run(["dpkg-deb", "--extract", str(archive), str(work)])
    bundle_images.write_single_program(
        target / "pause.tar",
        name=params["pause_image"],
        program=work / "usr/bin/catatonit",
        arguments=["-P"],
        architecture=apt.architecture,
    )
    purpose = f"sandbox of every task: {package}"
    entries = {
        "images/pause.tar": _image_entry(target / "pause.tar", params["pause_image"], purpose)
    }
    for image in params["images"]:
        archive = target / f"{bundle_files.digest_of(image['name'])[:16]}.tar"
        if image.get("archive"):
            shutil.copyfile(image["archive"], archive)
        else:
            source = f"docker://{image['name']}"
            bundle_debs.run(["skopeo", "copy", "--quiet", source, f"oci-archive:{archive}"])
        bundle_images.set_name(archive, image["name"])
        entries[f"images/{archive.name}"] = _image_entry(archive, image["name"], "asked for")
    return entries


def _image_entry(path: Path, name: str, purpose: str) -> dict[str, Any]:
    return {**_entry(path, purpose), "image": name}


def _entry(path: Path, purpose: str) -> dict[str, Any]:
    size, digest = path.stat().st_size, bundle_files.sha256(path)
    return {"sha256": digest, "size": size, "purpose": purpose}


def _publish(source: Path, part: Path, targets: list[str]) -> Files:
    entries: Files = {}
    for target in targets:
        directory = _directory(part, target)
        for wheel in sorted(source.glob("*.whl")):
            shutil.copyfile(wheel, directory / wheel.name)
            entries[f"{target}/{wheel.name}"] = bundle_wheels.describe(wheel)
    return entries


def _load_if_usable(directory: Path) -> dict[str, Any]:
    try:
        return bundle_files.load_manifest(directory)
    except BundleError:
        return {}


def _usable_sections(directory: Path, manifest: dict[str, Any]) -> dict[str, str]:
    """Keys of the sections of which every file is there and unharmed."""
    files = manifest.get("files", {})
    harmed = {
        files[name]["section"]
        for name in files
        if bundle_files.problem(directory, name, files[name])
    }
    return {name: key for name, key in manifest.get("sections", {}).items() if name not in harmed}


def _take_over(directory: Path, part: Path, before: dict[str, Any], sections: set[str]) -> Files:
    """Link what stays as it is from the old bundle into the new one."""
    part.mkdir(parents=True)
    files = {
        name: entry
        for name, entry in before.get("files", {}).items()
        if entry["section"] in sections
    }
    for name in files:
        (part / name).parent.mkdir(parents=True, exist_ok=True)
        os.link(directory / name, part / name)
    return files


def _swap(part: Path, directory: Path) -> None:
    old = directory.with_name(f".{directory.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if directory.exists():
        directory.rename(old)
    part.rename(directory)
    shutil.rmtree(old, ignore_errors=True)


def _recover(directory: Path) -> None:
    """Undo a swap that was interrupted between its two renames."""
    old = directory.with_name(f".{directory.name}.old")
    if old.exists() and not directory.exists():
        old.rename(directory)


def _releases(params: dict[str, Any]) -> list[str]:
    for release in params["releases"]:
        if release not in bundle_wheels.RELEASES:
            known = ", ".join(sorted(bundle_wheels.RELEASES))
            raise BundleError(f"bundle: releases: {release} is not known, known are {known}")
    if not params["releases"]:
        raise BundleError("bundle: releases: at least one is needed to build")
    return sorted(set(params["releases"]))


def _architecture(params: dict[str, Any]) -> str:
    machine = platform.machine()
    if params["architecture"]:
        return str(params["architecture"])
    if machine not in ARCHITECTURES:
        raise BundleError(f"bundle: architecture: {machine} is not supported")
    return ARCHITECTURES[machine]


def _stamp(archive: str) -> str:
    try:
        return bundle_files.sha256(Path(archive))
    except OSError as error:
        raise BundleError(f"bundle: images: {archive}: {error.strerror}") from None


def _directory(part: Path, name: str) -> Path:
    (part / name).mkdir(parents=True, exist_ok=True)
    return part / name


def _scratch(cache: Path, name: str) -> Path:
    shutil.rmtree(cache / "scratch" / name, ignore_errors=True)
    return _directory(cache / "scratch", name)


def _measure(files: Files) -> dict[str, int]:
    return {"files": len(files), "size": sum(entry["size"] for entry in files.values())}


if __name__ == "__main__":
    main()
