# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images of a bundle, as OCI archives that `ctr images import` reads.

The pause image is made here, from Debian's static catatonit, because an air-gapped site has no
registry to take one from. The archive is a function of its input: the same file in, the same
bytes out.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

LAYER = "application/vnd.oci.image.layer.v1.tar"
CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def write_single_program(
    archive: Path, *, name: str, program: Path, arguments: list[str], architecture: str
) -> None:
    """Write an image that holds one static program, and runs it."""
    layer = _tar({program.name: (program.read_bytes(), 0o755)})
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Entrypoint": [f"/{program.name}", *arguments]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_digest(layer)}"]},
        "history": [{"created_by": "warren bundle"}],
    }
    blobs = [layer, _json(config)]
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _descriptor(CONFIG, blobs[1]),
            "layers": [_descriptor(LAYER, layer)],
        }
    )
    entry = _descriptor(MANIFEST, manifest)
    entry["platform"] = {"architecture": architecture, "os": "linux"}
    entry["annotations"] = {
        "io.containerd.image.name": name,
        "org.opencontainers.image.ref.name": name.rpartition(":")[2],
    }
    index = _json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]})
    files = {f"blobs/sha256/{_digest(blob)}": (blob, 0o644) for blob in [*blobs, manifest]}
    files["index.json"] = (index, 0o644)
    files["oci-layout"] = (_json({"imageLayoutVersion": "1.0.0"}), 0o644)
    archive.write_bytes(_tar(files))


def set_name(archive: Path, name: str) -> None:
    """Name the one image in an OCI archive, the way that containerd reads it at importing."""
    files: dict[str, tuple[bytes, int]] = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            content = tar.extractfile(member)
            if content is not None:
                files[member.name.removeprefix("./")] = (content.read(), 0o644)
    index = json.loads(files["index.json"][0])
    for entry in index["manifests"]:
        entry.setdefault("annotations", {})["io.containerd.image.name"] = name
    files["index.json"] = (_json(index), 0o644)
    archive.write_bytes(_tar(files))


def _tar(files: dict[str, tuple[bytes, int]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, (content, mode) in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.mtime = len(content), mode, 0
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def _descriptor(media_type: str, blob: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": f"sha256:{_digest(blob)}", "size": len(blob)}


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _digest(blob: bytes) -> str:
    return hashlib.sha256(blob).hexdigest()
