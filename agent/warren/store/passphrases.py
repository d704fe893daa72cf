"""Keys from passphrases, by scrypt: of backups, and of the lock of secrets' keys."""

from dataclasses import dataclass

from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from warren.model.errors import InvalidInput
from warren.model.services import Secret

LENGTH_MIN = 8
SALT_BYTES = 16
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What trying one passphrase costs: with these, 128 MiB of memory and a third of a second."""

    log_n: int = 17
    r: int = 8
    p: int = 1

    @property
    def is_bearable(self) -> bool:
        """One that asks for more is none of ours: paying it would only take the memory."""
        return 1 <= self.log_n <= 21 and 1 <= self.r <= 16 and 1 <= self.p <= 8


USUAL = Cost()
CHEAP = Cost(log_n=10)
"""For passphrases that are random themselves."""


def check(passphrase: Secret, path: str) -> None:
    """InvalidInput when it is too short to protect anything."""
    if len(passphrase) < LENGTH_MIN:
        raise InvalidInput(f"must have at least {LENGTH_MIN} characters", path=path)


def key_from(passphrase: Secret, salt: bytes, cost: Cost) -> bytes:
    """256 bits."""
    function = Scrypt(salt=salt, length=_KEY_BYTES, n=1 << cost.log_n, r=cost.r, p=cost.p)
    return function.derive(passphrase.encode())
