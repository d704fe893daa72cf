"""The private key of this host's WireGuard interface: a file that never leaves the host.

Base64 on one line, as `wg genkey` prints it. Made by whoever comes first, this, the bootstrap or
the `wireguard` role; the others find it.

`python -m warren.drivers.mesh_key FILE` prints the public key. The driver asks for it that way: the
multiplication needs a library that would keep 6 MB of the worker for good.
"""

import base64
import binascii
import os
import secrets
import sys
import tempfile
from pathlib import Path

from warren import files
from warren.model.errors import DriverError

_LENGTH = 32


def load_or_create(path: Path) -> str:
    """The private key, base64."""
    try:
        if not path.exists():
            _create(path)
        text = path.read_text().strip()
    except OSError as error:
        raise DriverError(f"mesh key {path}: {error.strerror}") from error
    _decode(text, path)  # refuses what is not a key
    return text


def next_path(path: Path) -> Path:
    """Where the key is that follows the one in `path`."""
    return path.with_name(f"{path.name}.next")


def switch(path: Path) -> bool:
    """Put the next key in the place of the one in `path`; answers whether there was one."""
    following = next_path(path)
    try:
        if not following.exists():
            return False
        load_or_create(following)  # a file that holds no key must not replace one that does
        following.replace(path)
        files.sync_directory(path.parent)
    except OSError as error:
        raise DriverError(f"mesh key {path}: {error.strerror}") from error
    return True


def public_key(path: Path) -> str:
    """The public key of the private one in `path`, which is made if there is none; base64."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    private = X25519PrivateKey.from_private_bytes(_decode(load_or_create(path), path))
    return base64.b64encode(private.public_key().public_bytes_raw()).decode()


def _decode(text: str, path: Path) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error:
        key = b""
    if len(key) != _LENGTH:
        raise DriverError(f"{path} does not hold a WireGuard key")
    return key


def _create(path: Path) -> None:
    """Whole or not at all, and never over an existing key: peers know the public half of it."""
    key = bytearray(secrets.token_bytes(_LENGTH))
    key[0] &= 248  # X25519's form of a private key (RFC 7748, 5)
    key[31] = (key[31] & 127) | 64
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".mesh.key.") as draft:
        # NamedTemporaryFile makes files 0600.
        draft.write(f"{base64.b64encode(key).decode()}\n")
        draft.flush()
        os.fsync(draft.fileno())
        try:
            path.hardlink_to(draft.name)
        except FileExistsError:
            return


if __name__ == "__main__":
    try:
        print(public_key(Path(sys.argv[1])))
    except DriverError as refused:
        sys.exit(str(refused))
