"""Secrets sealed and opened, and everything that must not open."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from warren.model.errors import FailedPrecondition
from warren.model.secrets import SecretKeys, SecretVersion
from warren.store import sealing
from warren.store.sealing import Sealer
from warren.testing.builders import NOON, a_secret, a_state

KEYS = sealing.new_keys("c1", NOON)
SEALER = Sealer("c1", KEYS)
VALUE = b"correct horse battery staple"
SEALED = SEALER.seal("db", 1, VALUE, NOON)


def test_opens_what_it_sealed() -> None:
    assert Sealer("c1", KEYS).open("db", SEALED) == VALUE
    assert (SEALED.number, SEALED.size, SEALED.created_at) == (1, len(VALUE), NOON)


def test_two_versions_of_one_value_have_nothing_but_the_digest_in_common() -> None:
    other = SEALER.seal("db", 2, VALUE, NOON)

    assert other.digest == SEALED.digest
    assert other.data[:8] != SEALED.data[:8]
    assert other.key.data != SEALED.key.data


def test_digests_are_of_the_cluster_and_of_the_name() -> None:
    other = Sealer("c1", sealing.new_keys("c1", NOON))

    assert SEALER.digest("db", VALUE) == SEALED.digest
    assert SEALER.digest("db2", VALUE) != SEALED.digest
    assert SEALER.digest("db", VALUE[:-1]) != SEALED.digest
    assert other.digest("db", VALUE) != SEALED.digest


def flipped(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


@pytest.mark.parametrize(
    "tamper",
    [
        lambda v: replace(v, data=flipped(v.data)),
        lambda v: replace(v, data=v.data[:-1]),
        lambda v: replace(v, data=b""),
        lambda v: replace(v, nonce=flipped(v.nonce)),
        lambda v: replace(v, nonce=b""),
        lambda v: replace(v, digest=flipped(v.digest)),
        lambda v: replace(v, key=replace(v.key, data=flipped(v.key.data))),
        lambda v: replace(v, key=replace(v.key, nonce=flipped(v.key.nonce))),
        lambda v: replace(v, key=SEALER.seal("db", 1, VALUE, NOON).key),
    ],
)
def test_what_was_altered_does_not_open(tamper: Callable[[SecretVersion], SecretVersion]) -> None:
    with pytest.raises(FailedPrecondition) as error:
        SEALER.open("db", tamper(SEALED))

    assert str(error.value) == (
        "secret db version 1 cannot be opened: it is not what was stored, or damaged"
    )
    assert error.value.__cause__ is None


def test_a_version_does_not_open_in_the_place_of_another() -> None:
    with pytest.raises(FailedPrecondition, match="secret db version 2 cannot be opened"):
        SEALER.open("db", replace(SEALED, number=2))
    with pytest.raises(FailedPrecondition, match="secret api version 1 cannot be opened"):
        SEALER.open("api", SEALED)


def test_a_key_of_another_cluster_opens_nothing() -> None:
    with pytest.raises(FailedPrecondition, match="the hash key of secrets cannot be opened"):
        Sealer("c2", KEYS)
    strange = Sealer("c1", sealing.new_keys("c1", NOON))
    with pytest.raises(FailedPrecondition, match="its key is not in the cluster"):
        strange.open("db", SEALED)


@pytest.mark.parametrize("shown", [KEYS, SEALED, a_state(secrets=[a_secret()])])
def test_keys_and_values_are_in_no_representation(shown: object) -> None:
    text = repr(shown)

    for hidden in (KEYS.keys[0].key, SEALED.data, SEALED.key.data, SEALED.digest, b"sealed"):
        assert repr(hidden)[2:-1] not in text


def test_a_state_is_checked_as_a_whole() -> None:
    secret = replace(a_secret(), versions=(SEALED,))
    state = replace(a_state(secrets=[secret]), secret_keys=KEYS)
    altered = replace(secret, versions=(replace(SEALED, data=flipped(SEALED.data)),))

    assert sealing.damaged(state) == sealing.damaged(a_state()) == ()
    assert sealing.damaged(replace(state, secrets={"api": secret, "db": altered})) == (
        "secret api version 1 cannot be opened: it is not what was stored, or damaged",
        "secret db version 1 cannot be opened: it is not what was stored, or damaged",
    )
    assert sealing.damaged(replace(state, secret_keys=None)) == (
        "there are secrets, and no key for them",
    )
    other = replace(KEYS, hash_key=replace(KEYS.hash_key, data=flipped(KEYS.hash_key.data)))
    assert sealing.damaged(replace(state, secret_keys=other)) == (
        "the hash key of secrets cannot be opened: it is not what was stored, or damaged",
    )


def test_keys_come_from_chance_alone() -> None:
    drawn: list[int] = []

    def chance(count: int) -> bytes:
        drawn.append(count)
        return bytes([len(drawn)]) * count

    keys: SecretKeys = sealing.new_keys("c1", NOON, chance)

    assert sorted(drawn) == [8, 12, 32, 32]
    assert keys.keys[0].key == bytes([drawn.index(32) + 1]) * 32
