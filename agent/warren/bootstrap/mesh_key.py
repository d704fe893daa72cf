"""The host's WireGuard key: made here once, never sent anywhere.

The file is what `wg genkey` would write, so the wireguard role and the Mesh driver read it as well;
whichever comes first makes it.
"""

import base64
import binascii
import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from warren.config import Config
from warren.model.errors import FailedPrecondition


def ensure(config: Config) -> str:
    """The public key, base64. The private one is made if there is none."""
    path = config.state_dir / "mesh.key"
    config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        return _public(path.read_text(), path)
    except FileNotFoundError:
        pass
    private = base64.b64encode(X25519PrivateKey.generate().private_bytes_raw()).decode()
    temporary = path.with_name(f".mesh.key.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{private}\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        # A link fails where a rename would replace: the first key made stays the host's key.
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
    return _public(path.read_text(), path)


def _public(private: str, path: Path) -> str:
    try:
        key = X25519PrivateKey.from_private_bytes(base64.b64decode(private, validate=False))
    except (ValueError, binascii.Error) as error:
        raise FailedPrecondition(f"{path} is not a WireGuard key") from error
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()
