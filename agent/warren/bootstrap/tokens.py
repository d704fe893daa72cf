"""Join tokens: the text that admits a host to a cluster.

    warren-1-<m|w>-<CA digest>-<secret>-<check>

The digest lets the joiner recognise the cluster's CA before it trusts anyone, the secret lets the
managers recognise the token, and the check digits find a slip of the pen before any connection.
Managers store only the hash of the secret.
"""

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass

from warren.model.errors import InvalidInput
from warren.model.nodes import NodeRole
from warren.model.services import Secret

_FORM = re.compile(r"warren-1-([mw])-([a-z2-7]{52})-([a-z2-7]{52})-([0-9a-f]{4})")
_LETTERS = {NodeRole.MANAGER: "m", NodeRole.WORKER: "w"}
_ROLES = {letter: role for role, letter in _LETTERS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A join token, taken apart."""

    role: NodeRole
    ca_digest: bytes
    """SHA-256 of the CA certificate in DER."""
    secret: bytes

    @property
    def secret_hash(self) -> str:
        """What managers store."""
        return hashlib.sha256(self.secret).hexdigest()

    @property
    def id(self) -> str:
        """How people refer to it: the first 8 digits of the hash."""
        return self.secret_hash[:8]

    def text(self) -> Secret:
        """As people carry it."""
        body = f"warren-1-{_LETTERS[self.role]}-{_base32(self.ca_digest)}-{_base32(self.secret)}"
        return Secret(f"{body}-{_check(body)}")


def new(role: NodeRole, ca_digest: bytes, *, key: Secret, call: str) -> Token:
    """The token that a call makes, the same at each of its attempts and on each manager.

    Whoever does not know `key`, which never leaves the managers, can say nothing about its secret.
    """
    what = f"join token|{role.value}|{call}".encode()
    secret = hmac.new(key.encode(), what, hashlib.sha256).digest()
    return Token(role=role, ca_digest=ca_digest, secret=secret)


def parse(text: str) -> Token:
    """The token in `text`. InvalidInput says what is wrong with it, never what it contains."""
    text = text.strip()
    match = _FORM.fullmatch(text)
    if match is None:
        raise InvalidInput(_malformed(text), path="join token")
    body, _, check = text.rpartition("-")
    if check != _check(body):
        raise InvalidInput("is mistyped: check digits do not match", path="join token")
    letter, digest, secret, _ = match.groups()
    try:
        return Token(role=_ROLES[letter], ca_digest=_bytes(digest), secret=_bytes(secret))
    except binascii.Error as error:
        raise InvalidInput("is mistyped", path="join token") from error


def _malformed(text: str) -> str:
    if not text.startswith("warren-"):
        return "is not a join token: one begins with warren-1-"
    if not text.startswith("warren-1-"):
        return "is of a kind that this version of Warren does not know"
    return "is mistyped or cut off: one has 121 characters"


def _check(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:4]


def _base32(data: bytes) -> str:
    return base64.b32encode(data).decode().rstrip("=").lower()


def _bytes(text: str) -> bytes:
    return base64.b32decode(text.upper() + "=" * (-len(text) % 8))
