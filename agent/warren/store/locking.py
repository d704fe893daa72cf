"""Key-encryption keys under an operator's passphrase, which no disk has: autolock.

    lock key   256 random bits, encrypted with a key that scrypt makes from the passphrase   state
    KEK        encrypted with the lock key, bound to the cluster and its name                state
    opened     in the memory of managers that were given the lock key: `Keyring`

Whoever asks to unlock makes the lock key from the passphrase himself: managers never see that.
Another passphrase is another lock, with a key of its own.
"""

import os
from dataclasses import dataclass, field, replace
from datetime import datetime

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from warren.model.errors import FailedPrecondition, InvalidInput
from warren.model.secrets import KeyEncryptionKey, KeyLock, SecretKeys, WrappedKey
from warren.model.services import Secret
from warren.store import passphrases, sealing
from warren.store.passphrases import Cost
from warren.store.sealing import KEY_BYTES, NONCE_BYTES, Chance, bound

WHAT = "unlock key"
"""What users call the passphrase."""
_WRONG = "is not the one that the managers are locked with"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenLock:
    """A lock with its key."""

    lock: KeyLock
    key: bytes = field(repr=False)


def new_lock(
    cluster_id: str,
    passphrase: Secret,
    now: datetime,
    *,
    cost: Cost,
    chance: Chance = os.urandom,
) -> OpenLock:
    """Another lock. InvalidInput when the passphrase is too short to protect anything."""
    passphrases.check(passphrase, WHAT)
    lock_id, salt = chance(8).hex(), chance(passphrases.SALT_BYTES)
    key, nonce = chance(KEY_BYTES), chance(NONCE_BYTES)
    made = passphrases.key_from(passphrase, salt, cost)
    lock = KeyLock(
        id=lock_id,
        created_at=now,
        salt=salt,
        scrypt_log_n=cost.log_n,
        scrypt_r=cost.r,
        scrypt_p=cost.p,
        nonce=nonce,
        data=AESGCM(made).encrypt(nonce, key, bound("lock", cluster_id, lock_id)),
    )
    return OpenLock(lock=lock, key=key)


def open_lock(cluster_id: str, lock: KeyLock, passphrase: Secret) -> OpenLock:
    """The lock with its key. InvalidInput: that is not its passphrase."""
    opened = tried(cluster_id, lock, passphrase)
    if opened is None:
        raise InvalidInput(_WRONG, path=WHAT)
    return opened


def tried(cluster_id: str, lock: KeyLock, passphrase: Secret) -> OpenLock | None:
    """The same; None: that is not its passphrase."""
    cost = Cost(log_n=lock.scrypt_log_n, r=lock.scrypt_r, p=lock.scrypt_p)
    if not cost.is_bearable:
        raise InvalidInput("asks for more memory than any of ours: not tried", path="lock")
    made = passphrases.key_from(passphrase, lock.salt, cost)
    place = bound("lock", cluster_id, lock.id)
    try:
        key = sealing.decrypted(made, lock.nonce, lock.data, place, WHAT)
    except FailedPrecondition:
        return None
    return OpenLock(lock=lock, key=key)


def locked_up(
    cluster_id: str, keys: SecretKeys, opened: OpenLock, newest: KeyEncryptionKey
) -> SecretKeys:
    """Open keys under a lock, and behind them a new one, which was never without a lock: those
    before are still in the clear, or under the lock before, in what disks have kept."""
    return replace(
        keys,
        lock=opened.lock,
        keys=tuple(
            _sealed(cluster_id, key, opened.lock.id, opened.key) for key in (*keys.keys, newest)
        ),
    )


class Keyring:
    """The lock keys that one manager was given. They are in its memory, and end with it."""

    def __init__(self) -> None:
        self._keys: dict[str, bytes] = {}
        self._known: tuple[SecretKeys, SecretKeys] | None = None
        """Keys as they were asked for last, and open."""

    def expect(self, lock_id: str, key: bytes) -> None:
        """The key of a lock that will be there in a moment."""
        self._keys[lock_id] = key

    def unlock(self, cluster_id: str, keys: SecretKeys, key: bytes) -> None:
        """From now on, open keys under this lock. InvalidInput: it is another lock's key, and
        nothing is changed."""
        assert keys.lock is not None, "the caller looked"
        try:
            for each in keys.keys:
                _opened(cluster_id, each, key)
        except FailedPrecondition:
            raise InvalidInput(_WRONG, path=WHAT) from None
        self._keys = {keys.lock.id: key}

    def is_locked(self, keys: SecretKeys | None) -> bool:
        """These keys are under a lock whose key was not given."""
        return keys is not None and keys.lock is not None and keys.lock.id not in self._keys

    def opened(self, cluster_id: str, keys: SecretKeys) -> SecretKeys | None:
        """The keys without their lock; None while this manager is locked. FailedPrecondition
        names a key that was altered."""
        if keys.lock is None:
            return keys
        key = self._keys.get(keys.lock.id)
        if key is None:
            return None
        if self._known is None or self._known[0] is not keys:
            found = tuple(_opened(cluster_id, each, key) for each in keys.keys)
            self._known = keys, replace(keys, keys=found, lock=None)
        return self._known[1]

    def require_opened(self, cluster_id: str, keys: SecretKeys) -> SecretKeys:
        """The same; FailedPrecondition where this manager is locked."""
        opened = self.opened(cluster_id, keys)
        if opened is None:
            raise FailedPrecondition("the leader is locked: warren cluster unlock opens it")
        return opened

    def sealed(self, cluster_id: str, keys: SecretKeys, key: KeyEncryptionKey) -> KeyEncryptionKey:
        """A new key as it is stored beside these. FailedPrecondition: this manager is locked."""
        if keys.lock is None:
            return key
        self.require_opened(cluster_id, keys)
        return _sealed(cluster_id, key, keys.lock.id, self._keys[keys.lock.id])


def _sealed(
    cluster_id: str, key: KeyEncryptionKey, lock_id: str, lock_key: bytes
) -> KeyEncryptionKey:
    nonce = os.urandom(NONCE_BYTES)
    data = AESGCM(lock_key).encrypt(nonce, key.key, bound("kek", cluster_id, key.id))
    return replace(key, key=b"", locked=WrappedKey(kek=lock_id, nonce=nonce, data=data))


def _opened(cluster_id: str, key: KeyEncryptionKey, lock_key: bytes) -> KeyEncryptionKey:
    locked, what = key.locked, f"key {key.id} of secrets"
    if locked is None:
        raise FailedPrecondition(f"{what} is not under the lock")
    place = bound("kek", cluster_id, key.id)
    return replace(
        key,
        key=sealing.decrypted(lock_key, locked.nonce, locked.data, place, what),
        locked=None,
    )
