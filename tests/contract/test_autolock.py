"""Autolock and the rotation of keys on managers that are real processes, killed on the way.

Slow (seconds each), bounded by deadlines, on loopback addresses only.
"""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from warren.api import convert, warren_pb2
from warren.bootstrap import autolock, node_files
from warren.client import Client, rotations
from warren.model.errors import FailedPrecondition, InvalidInput, WarrenError
from warren.model.secrets import KeyEncryptionKey, SecretKeys, SecretReference, SecretSpec
from warren.model.services import Secret, ServiceSpec
from warren.state.cluster import ClusterState
from warren.store import locking, passphrases
from warren.store.passphrases import Cost
from warren.store.sealing import Sealer

from tests.contract.manager_processes import Host, form, hosts, members, wait_until

PASSPHRASE, OTHER = Secret("correct horse 41"), Secret("battery staple 7")
EVERYONE = ["m1", "m2", "m3"]
PATIENCE = timedelta(minutes=2)
COUNT = 150
"""Secrets: three commands of a rotation."""


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passphrases, "USUAL", Cost(log_n=1, r=1, p=1))


@pytest.fixture
def three(tmp_path: Path) -> Iterator[list[Host]]:
    """A cluster of three managers."""
    with hosts(tmp_path, 3) as made:
        first = form(made)
        wait_until(lambda: members(first.cluster()) == EVERYONE, "three members", deadline=120)
        yield made


def put(client: Client, count: int) -> None:
    for number in range(count):
        client.apply_secret(SecretSpec(name=f"s{number}"), ("name",), b"value %d" % number)


def state_of(client: Client) -> ClusterState:
    """As a backup has it."""
    _, pieces = client.backup(timeout=60)
    return convert.from_message(warren_pb2.ClusterState.FromString(b"".join(pieces)), ClusterState)


def keys_in(state: ClusterState, passphrase: Secret) -> list[bytes]:
    """The key-encryption keys, open."""
    return [key.key for key in _sealer_keys(state, passphrase).keys]


def values_in(state: ClusterState, passphrase: Secret) -> list[bytes]:
    """The newest value of each secret, by number."""
    assert state.cluster is not None
    sealer = Sealer(state.cluster.id, _sealer_keys(state, passphrase))
    names = sorted(state.secrets, key=lambda name: int(name[1:]))
    return [sealer.open(name, state.secrets[name].newest) for name in names]


def _sealer_keys(state: ClusterState, passphrase: Secret) -> SecretKeys:
    assert state.cluster is not None
    keys = state.secret_keys
    assert keys is not None
    assert keys.lock is not None
    ring = locking.Keyring()
    opened = locking.open_lock(state.cluster.id, keys.lock, passphrase)
    ring.unlock(state.cluster.id, keys, opened.key)
    return ring.require_opened(state.cluster.id, keys)


def files_with(host: Host, data: bytes) -> list[str]:
    """Names of the log's files on a manager's disk that hold the bytes."""
    directory = node_files.raft_path(host.config)
    return [path.name for path in directory.rglob("*") if path.is_file() and holds(path, data)]


def holds(path: Path, data: bytes) -> bool:
    try:
        return data in path.read_bytes()
    except FileNotFoundError:
        return False


def locked(host: Host) -> tuple[str, ...] | None:
    """Who is locked; None before all answer."""
    try:
        with host.client(timeout=20) as client:
            view = client.get_autolock()
    except WarrenError:
        return None
    return None if autolock.silent(view) else autolock.locked(view)


def test_managers_that_start_are_locked_and_no_disk_has_a_key_that_opens(
    three: list[Host],
) -> None:
    first = three[0]
    with first.client(timeout=60) as client:
        put(client, 3)
        (before,) = [key.key for key in _keys(state_of(client))]
        autolock.turn_on(client, PASSPHRASE)
        rotations.wait_resealed(client, timeout=PATIENCE)
        (key,) = keys_in(state_of(client), PASSPHRASE)
    assert [bool(files_with(host, before)) for host in three] == [True] * 3, "or it could not fail"
    assert [files_with(host, key) for host in three] == [[], [], []]

    for host in three:
        host.kill()
    for host in three:
        host.start()
    wait_until(lambda: locked(first) == tuple(EVERYONE), "all are locked", deadline=120)
    with first.client(timeout=60) as client:
        with pytest.raises(FailedPrecondition, match="the leader is locked"):
            client.apply_secret(SecretSpec(name="s0"), ("name",), b"another")
        spec = ServiceSpec(name="web", image="web:1", secrets=(SecretReference(name="s0"),))
        assert client.apply_service(spec, ["image", "secrets"]).changed
        with pytest.raises(InvalidInput, match=r"^unlock key: is not the one"):
            autolock.unlock(client, OTHER)
        assert autolock.unlock(client, PASSPHRASE) == tuple(EVERYONE)
        assert client.apply_secret(SecretSpec(name="s0"), ("name",), b"another").number == 2
    assert locked(three[2]) == ()


def test_a_rotation_outlives_its_leader_and_a_passphrase_its_manager(three: list[Host]) -> None:
    with three[0].client(timeout=60) as client:
        put(client, COUNT)
        autolock.turn_on(client, PASSPHRASE)
        rotations.wait_resealed(client, timeout=PATIENCE)
        leader = next(host for host in three if host.name == client.get_cluster().leader)
    others = [host for host in three if host is not leader]
    with others[0].client(timeout=60) as client:
        client.rotate_secret_keys()
        left = client.get_secret_keys().left
        leader.kill()
        rotations.wait_resealed(client, timeout=PATIENCE)
        autolock.change(client, PASSPHRASE, OTHER)
        rotations.wait_resealed(client, timeout=PATIENCE)
        values = values_in(state_of(client), OTHER)
    leader.start()
    wait_until(lambda: locked(others[0]) == (leader.name,), "it is locked alone", deadline=120)
    with leader.client(timeout=60) as client:
        unlocked = autolock.unlock(client, OTHER)

    assert left > 0, "it was not over yet"
    assert values == [b"value %d" % number for number in range(COUNT)]
    assert unlocked == (leader.name,)


def _keys(state: ClusterState) -> tuple[KeyEncryptionKey, ...]:
    assert state.secret_keys is not None
    return state.secret_keys.keys
