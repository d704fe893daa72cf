"""Secrets sealed and opened: AES-256-GCM with a data key per version, wrapped by a cluster's key.

    value     sealed with its data key      bound to cluster, name and number of the version
    data key  wrapped by a KEK              bound to the same, and to what it is
    hash key  wrapped by a KEK              bound to the cluster
    digest    HMAC-SHA256, hash key         of name and value

All keys are 256 random bits. What was altered, or put in another's place, does not open: one line
that names the version, and never what it holds. ARCHITECTURE.md says what protects what.
"""

import hashlib
import hmac
import os
from collections.abc import Callable, Iterator
from datetime import datetime

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from warren.model.errors import FailedPrecondition
from warren.model.secrets import KeyEncryptionKey, SecretKeys, SecretVersion, WrappedKey
from warren.state.cluster import ClusterState

KEY_BYTES = 32
NONCE_BYTES = 12
Chance = Callable[[int], bytes]
"""So many random bytes."""


def new_keys(cluster_id: str, now: datetime, chance: Chance = os.urandom) -> SecretKeys:
    """For a cluster that has no secret yet."""
    kek = new_kek(chance(8).hex(), now, chance)
    hash_key = _wrap(kek, chance(KEY_BYTES), bound("hash-key", cluster_id), chance)
    return SecretKeys(keys=(kek,), hash_key=hash_key)


def new_kek(name: str, now: datetime, chance: Chance = os.urandom) -> KeyEncryptionKey:
    """Another key-encryption key; nothing but its name comes from the caller."""
    return KeyEncryptionKey(id=name, key=chance(KEY_BYTES), created_at=now)


class Sealer:
    """Seals and opens with the keys of one state."""

    def __init__(self, cluster_id: str, keys: SecretKeys, chance: Chance = os.urandom) -> None:
        self._cluster_id = cluster_id
        self._keys = {kek.id: kek for kek in keys.keys}
        self._newest = keys.keys[-1]
        self._chance = chance
        self._hash_key = self._unwrap(
            keys.hash_key, bound("hash-key", cluster_id), "the hash key of secrets"
        )

    def seal(self, name: str, number: int, value: bytes, now: datetime) -> SecretVersion:
        """A new version of a secret."""
        key, nonce = self._chance(KEY_BYTES), self._chance(NONCE_BYTES)
        place = self._place(name, number)
        return SecretVersion(
            number=number,
            created_at=now,
            size=len(value),
            digest=self.digest(name, value),
            key=_wrap(self._newest, key, bound("data-key", *place), self._chance),
            nonce=nonce,
            data=AESGCM(key).encrypt(nonce, value, bound("secret", *place)),
        )

    def open(self, name: str, version: SecretVersion) -> bytes:
        """The value. FailedPrecondition if it is not what was sealed as that version."""
        what, place = _named(name, version.number), self._place(name, version.number)
        key = self._unwrap(version.key, bound("data-key", *place), what)
        value = decrypted(key, version.nonce, version.data, bound("secret", *place), what)
        if not hmac.compare_digest(self.digest(name, value), version.digest):
            raise _altered(what)
        return value

    def reseal(self, name: str, version: SecretVersion) -> SecretVersion:
        """The same version with a new data key, wrapped by the newest key-encryption key."""
        value = self.open(name, version)
        return self.seal(name, version.number, value, version.created_at)

    def rewrapped_hash_key(self) -> WrappedKey:
        """The hash key, wrapped by the newest key-encryption key. It stays the same."""
        place = bound("hash-key", self._cluster_id)
        return _wrap(self._newest, self._hash_key, place, self._chance)

    def digest(self, name: str, value: bytes) -> bytes:
        """The keyed hash by which equal values are recognised."""
        return hmac.digest(self._hash_key, bound(name) + value, hashlib.sha256)

    def _place(self, name: str, number: int) -> tuple[str, str, str]:
        return self._cluster_id, name, str(number)

    def _unwrap(self, wrapped: WrappedKey, place: bytes, what: str) -> bytes:
        kek = self._keys.get(wrapped.kek)
        if kek is None:
            raise FailedPrecondition(f"{what} cannot be opened: its key is not in the cluster")
        return decrypted(kek.key, wrapped.nonce, wrapped.data, place, what)


def damaged(state: ClusterState) -> tuple[str, ...]:
    """A sentence for each version of a secret in the state that does not open, by name. Under a
    lock none can be told."""
    keys = state.secret_keys
    if state.cluster is None or not state.secrets or (keys is not None and keys.lock is not None):
        return ()
    if keys is None:
        return ("there are secrets, and no key for them",)
    try:
        sealer = Sealer(state.cluster.id, keys)
    except FailedPrecondition as error:
        return (str(error),)
    return tuple(_damages(sealer, state))


def _damages(sealer: Sealer, state: ClusterState) -> Iterator[str]:
    for name, secret in sorted(state.secrets.items()):
        for version in secret.versions:
            try:
                sealer.open(name, version)
            except FailedPrecondition as error:
                yield str(error)


def _wrap(kek: KeyEncryptionKey, key: bytes, place: bytes, chance: Chance) -> WrappedKey:
    nonce = chance(NONCE_BYTES)
    return WrappedKey(kek=kek.id, nonce=nonce, data=AESGCM(kek.key).encrypt(nonce, key, place))


def decrypted(key: bytes, nonce: bytes, data: bytes, place: bytes, what: str) -> bytes:
    """What was encrypted there. FailedPrecondition says that `what` is not that."""
    try:
        return AESGCM(key).decrypt(nonce, data, place)
    except (InvalidTag, ValueError):
        # Without the cause: a traceback of it would show keys where locals are shown.
        raise _altered(what) from None


def _altered(what: str) -> FailedPrecondition:
    return FailedPrecondition(f"{what} cannot be opened: it is not what was stored, or damaged")


def _named(name: str, number: int) -> str:
    return f"secret {name} version {number}"


def bound(*words: str) -> bytes:
    """Words that cannot run into each other: none has a NUL in it."""
    return b"".join(word.encode() + b"\0" for word in words)
