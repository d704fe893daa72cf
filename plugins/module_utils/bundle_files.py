# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an offline bundle is: a directory of files, and a manifest that knows each of them.

Shared by the modules that build, verify and copy bundles. Standard library only, because it runs
under whatever Python the control node and the hosts have.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

FORMAT = 1
MANIFEST = "manifest.json"


class BundleError(Exception):
    """The bundle cannot be used or built. The text is one line for the user."""


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock: a run that was cut off may still be at work on a host when the next comes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def sha256(path: Path) -> str:
    """Digest of a file. Read in large pieces, so that the hash and not the reading is the limit."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def digest_of(value: Any) -> str:
    """Digest of plain data; equal data has equal digests."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def load_manifest(directory: Path) -> dict[str, Any]:
    """The manifest of a bundle. BundleError says why there is none."""
    path = directory / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError(f"bundle: {path} is missing: build the bundle with bundle.yml") from None
    except ValueError as error:
        raise BundleError(f"bundle: {path} is corrupted: {error}") from None
    if manifest.get("format") != FORMAT:
        raise BundleError(
            f"bundle: {path} has format {manifest.get('format')}, this Warren reads {FORMAT}"
        )
    return manifest


def save_manifest(directory: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest, at once or not at all: its presence says that the files are complete."""
    handle, name = tempfile.mkstemp(dir=directory, prefix=".manifest-")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(manifest, file, indent=1, sort_keys=True)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    Path(name).chmod(0o644)
    Path(name).replace(directory / MANIFEST)


def problems(directory: Path, files: dict[str, dict[str, Any]]) -> list[str]:
    """One line for each file that is missing or is not what the manifest says."""
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:  # hashing leaves the GIL
        found = pool.map(lambda name: problem(directory, name, files[name]), sorted(files))
        return [line for line in found if line]


def problem(directory: Path, name: str, expected: dict[str, Any]) -> str:
    """What is wrong with one file, or nothing."""
    path = directory / name
    try:
        size = path.stat().st_size
    except OSError:
        return f"bundle: {name} is missing"
    if size != expected["size"]:
        return f"bundle: {name} is corrupted: {size} bytes, expected {expected['size']}"
    actual = sha256(path)
    if actual != expected["sha256"]:
        return f"bundle: {name} is corrupted: SHA-256 {actual}, expected {expected['sha256']}"
    return ""


def part(manifest: dict[str, Any], release: str) -> dict[str, Any]:
    """The part of a bundle that a host of this release needs, with a digest of its content."""
    if release not in manifest["releases"]:
        known = ", ".join(sorted(manifest["releases"]))
        raise BundleError(
            f"bundle: it has nothing for {release}, only for {known}: "
            f"add {release} to warren_bundle_releases and build it again"
        )
    ours = (f"debs/{release}/", f"wheels/{release}/", "images/")
    files = {name: entry for name, entry in manifest["files"].items() if name.startswith(ours)}
    content = {name: entry["sha256"] for name, entry in files.items()}
    return {
        "format": FORMAT,
        "release": release,
        "architecture": manifest["architecture"],
        "digest": digest_of(content),
        "files": files,
    }
