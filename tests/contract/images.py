"""Two tiny images as docker archives: busybox to run things, and the sandbox's pause."""

import hashlib
import io
import json
import shutil
import tarfile
from pathlib import Path

PAUSE = "warren.test/pause:1"
BUSYBOX = "warren.test/busybox:1"
"""Has a user `app` (1234:1234), /work, and stops on SIGTERM."""

_APPLETS = ("sh", "sleep", "cat", "id", "pwd", "env", "nc", "true", "false", "echo", "hostname")


def write_pause(path: Path) -> None:
    """`catatonit -P` does nothing but wait and reap."""
    layer = _layer({"pause": _program("catatonit")})
    _write(path, PAUSE, layer, {"Entrypoint": ["/pause", "-P"]})


def write_busybox(path: Path) -> None:
    """A shell and what the tests call in it."""
    layer = _layer(
        {
            "bin/busybox": _program("busybox"),
            "etc/passwd": b"root:x:0:0::/:/bin/sh\napp:x:1234:1234::/work:/bin/sh\n",
            "etc/group": b"root:x:0:\napp:x:1234:\n",
            "work/.keep": b"",
            "tmp/.keep": b"",
        },
        links={f"bin/{name}": "busybox" for name in _APPLETS},
    )
    _write(path, BUSYBOX, layer, {"Cmd": ["sleep", "3600"], "Env": ["PATH=/bin", "FROM_IMAGE=1"]})


def _program(name: str) -> bytes:
    found = shutil.which(name)
    assert found is not None, f"{name} is not installed"
    return Path(found).read_bytes()


def _layer(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
    return buffer.getvalue()


def _write(path: Path, name: str, layer: bytes, config: dict[str, object]) -> None:
    image = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }
    ).encode()
    config_name = f"{hashlib.sha256(image).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [name], "Layers": ["layer.tar"]}]
    with tarfile.open(path, mode="w") as archive:
        for member, content in (
            ("manifest.json", json.dumps(manifest).encode()),
            (config_name, image),
            ("layer.tar", layer),
        ):
            entry = tarfile.TarInfo(member)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
