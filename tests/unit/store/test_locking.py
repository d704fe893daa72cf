"""Key-encryption keys under a passphrase."""

from dataclasses import replace
from datetime import timedelta

import pytest
from warren.model.errors import FailedPrecondition, InvalidInput
from warren.model.secrets import SecretKeys
from warren.model.services import Secret
from warren.store import locking, sealing
from warren.store.locking import Keyring, OpenLock
from warren.store.passphrases import Cost
from warren.store.sealing import Sealer
from warren.testing.builders import NOON

CHEAP = Cost(log_n=1, r=1, p=1)
PASSPHRASE = Secret("correct horse")
WRONG = "unlock key: is not the one that the managers are locked with"
KEYS = sealing.new_keys("c1", NOON)


def a_lock(passphrase: Secret = PASSPHRASE) -> OpenLock:
    return locking.new_lock("c1", passphrase, NOON, cost=CHEAP)


def locked(opened: OpenLock) -> SecretKeys:
    return locking.locked_up("c1", KEYS, opened, sealing.new_kek("second", NOON))


def test_what_is_sealed_opens_for_whoever_has_the_passphrase() -> None:
    sealed = Sealer("c1", KEYS).seal("db", 1, b"value", NOON)
    opened = a_lock()
    keys, ring = locked(opened), Keyring()

    assert ring.is_locked(keys)
    assert ring.opened("c1", keys) is None
    ring.unlock("c1", keys, locking.open_lock("c1", opened.lock, PASSPHRASE).key)

    assert not ring.is_locked(keys)
    found = ring.require_opened("c1", keys)
    assert found is ring.opened("c1", keys)
    assert (found.keys[0], found.keys[1].id) == (KEYS.keys[0], "second")
    assert Sealer("c1", found).open("db", sealed) == b"value"


def test_no_key_is_in_what_is_locked() -> None:
    opened = a_lock()
    keys = locked(opened)

    assert [key.key for key in keys.keys] == [b"", b""]
    text = repr(keys) + repr(opened)
    for secret in (KEYS.keys[0].key, opened.key):
        assert repr(secret)[2:-1] not in text
        assert secret.hex() not in text


def test_a_wrong_key_opens_nothing_and_changes_nothing() -> None:
    opened, other = a_lock(), a_lock(Secret("battery staple"))
    keys, ring = locked(opened), Keyring()

    with pytest.raises(InvalidInput, match=WRONG):
        locking.open_lock("c1", opened.lock, Secret("correct house"))
    with pytest.raises(InvalidInput, match=WRONG):
        locking.open_lock("c2", opened.lock, PASSPHRASE)
    with pytest.raises(InvalidInput, match=WRONG):
        ring.unlock("c1", keys, other.key)
    assert ring.is_locked(keys)
    ring.unlock("c1", keys, opened.key)
    with pytest.raises(InvalidInput, match=WRONG):
        ring.unlock("c1", keys, other.key)

    assert not ring.is_locked(keys)


def test_a_locked_manager_says_how_to_unlock_it() -> None:
    keys, kek = locked(a_lock()), sealing.new_kek("third", NOON)
    message = "the leader is locked: warren cluster unlock opens it"

    with pytest.raises(FailedPrecondition, match=message):
        Keyring().require_opened("c1", keys)
    with pytest.raises(FailedPrecondition, match=message):
        Keyring().sealed("c1", keys, kek)


def test_a_new_key_is_sealed_like_those_beside_it() -> None:
    opened, kek = a_lock(), sealing.new_kek("third", NOON)
    keys, ring = locked(opened), Keyring()
    ring.expect(opened.lock.id, opened.key)

    sealed = ring.sealed("c1", keys, kek)
    assert sealed.is_under(keys.lock)
    both = replace(keys, keys=(*keys.keys, sealed))
    assert ring.require_opened("c1", both).keys[-1] == kek
    assert Keyring().sealed("c1", KEYS, kek) == kek


def test_a_key_that_was_altered_or_moved_is_named() -> None:
    opened, ring = a_lock(), Keyring()
    keys = locked(opened)
    ring.unlock("c1", keys, opened.key)
    first, second = keys.keys

    moved = replace(keys, keys=(first, replace(second, locked=first.locked)))
    with pytest.raises(FailedPrecondition, match="key second of secrets cannot be opened"):
        ring.opened("c1", moved)
    clear = replace(keys, keys=(first, sealing.new_kek("second", NOON)))
    with pytest.raises(FailedPrecondition, match="key second of secrets is not under the lock"):
        ring.opened("c1", clear)


def test_bad_passphrases_and_locks_are_refused() -> None:
    with pytest.raises(InvalidInput, match="unlock key: must have at least 8 characters"):
        a_lock(Secret("short"))
    greedy = replace(a_lock().lock, scrypt_log_n=30)
    with pytest.raises(InvalidInput, match="lock: asks for more memory"):
        locking.open_lock("c1", greedy, PASSPHRASE)


def test_another_passphrase_is_another_lock() -> None:
    one, two = a_lock(), a_lock()

    assert one.lock.id != two.lock.id
    assert one.key != two.key
    assert locked(one).lock == one.lock
    assert one.lock.created_at == NOON + timedelta()
