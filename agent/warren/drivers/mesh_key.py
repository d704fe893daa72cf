"""The private key of this host's WireGuard interface: a file that never leaves the host.

Base64 on one line, as `wg genkey` prints it. Made by whoever comes first, this or the `wireguard`
role; the other one finds it.
"""

import base64
import binascii
import os
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from warren.model.errors import DriverError


def load_or_create(path: Path) -> str:
    """The private key, base64."""
    try:
        if not path.exists():
            _create(path)
        text = path.read_text().strip()
    except OSError as error:
        raise DriverError(f"mesh key {path}: {error.strerror}") from error
    public_key(text)  # refuses what is not a key
    return text


def public_key(private_key: str) -> str:
    """The public key of a private one, both base64."""
    try:
        private = X25519PrivateKey.from_private_bytes(base64.b64decode(private_key, validate=True))
    except (binascii.Error, ValueError):
        raise DriverError("the mesh key file does not hold a WireGuard key") from None
    return base64.b64encode(private.public_key().public_bytes_raw()).decode()


def _create(path: Path) -> None:
    """Whole or not at all, and never over an existing key: peers know the public half of it."""
    key = base64.b64encode(X25519PrivateKey.generate().private_bytes_raw()).decode()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".mesh.key.") as draft:
        # NamedTemporaryFile makes files 0600.
        draft.write(f"{key}\n")
        draft.flush()
        os.fsync(draft.fileno())
        try:
            path.hardlink_to(draft.name)
        except FileExistsError:
            return
