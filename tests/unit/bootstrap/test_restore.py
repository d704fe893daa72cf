"""The first manager of a restored cluster, and the state that it begins with."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from warren.api import convert, warren_pb2
from warren.bootstrap import backups, certificates, node_files, restore
from warren.bootstrap.node_files import Membership
from warren.bootstrap.restore import Host
from warren.config import Config
from warren.manager.task_files import Opener
from warren.model.errors import AlreadyExists, FailedPrecondition, InvalidInput
from warren.model.nodes import Availability, NodeDescription, NodeMesh, NodeRole, NodeState
from warren.model.secrets import FileKey, FileKind
from warren.model.services import Secret
from warren.model.tasks import TaskState
from warren.model.views import BackupHead
from warren.state import invariants, versions
from warren.state.cluster import ClusterState
from warren.store import backup, locking, passphrases, sealing
from warren.store.idempotency import Remembering, TooNew
from warren.store.locking import Keyring
from warren.store.passphrases import Cost
from warren.store.raft import inspection
from warren.store.raft.disks import RealDisk
from warren.store.raft.journal import Identity
from warren.store.raft.snapshot_files import SnapshotFiles
from warren.testing.builders import (
    NOON,
    a_config,
    a_node,
    a_secret,
    a_service,
    a_state,
    a_task,
    a_token,
    a_volume,
    at,
    counting_ids,
)

BOTH = (NodeRole.MANAGER, NodeRole.WORKER)
PASSPHRASE = Secret("correct horse battery")
AUTHORITY = certificates.create_authority("c1", "demo", datetime.now(UTC))
M1 = Host(name="m1", roles=BOTH, public_key="new key of m1", address="198.51.100.1")
M9 = Host(name="m9", roles=BOTH, public_key="key of m9", address="198.51.100.9")


def a_backed_up_state() -> ClusterState:
    """m1, drained, in a zone; m2 with a task that runs; a service and a join token."""
    m1 = a_node("m1", roles=BOTH, labels={"zone": "north"}, availability=Availability.PAUSE)
    state = a_state(
        nodes=[m1, a_node("m2", roles=BOTH)],
        services=[a_service("web")],
        tasks=[
            a_task(1, "m2", state=TaskState.RUNNING),
            a_task(2, "m2", state=TaskState.FAILED),
            a_task(3),
        ],
        tokens=[a_token()],
        name="demo",
    )
    assert state.cluster is not None
    cluster = replace(state.cluster, ca_certificate=AUTHORITY.certificate, ca_key=AUTHORITY.key)
    return replace(state, cluster=cluster)


def restored(*hosts: Host) -> ClusterState:
    return restore.restored_state(a_backed_up_state(), hosts, at(60), counting_ids())


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write(tmp_path / "demo.backup")


def write(path: Path, *, commands_version: int = 1, state: ClusterState | None = None) -> Path:
    state = state or a_backed_up_state()
    head = BackupHead(
        cluster="demo",
        cluster_id="c1",
        created_at=NOON,
        index=state.index,
        nodes=2,
        services=1,
        commands_version=commands_version,
        warren="9.9.9",
    )
    data = convert.to_message(state).SerializeToString()
    parts = backup.write(head, [data], PASSPHRASE, chance=bytes(23), cost=passphrases.CHEAP)
    path.write_bytes(b"".join(parts))
    return path


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "lib").mkdir()
    return Config(state_dir=tmp_path / "lib", advertise_address="198.51.100.1")


def test_a_host_of_the_same_name_keeps_its_place_and_what_is_wanted_of_it() -> None:
    (node,) = restored(M1).nodes.values()

    old = a_backed_up_state().nodes["m1"]
    assert node.mesh == NodeMesh(
        public_key="new key of m1",
        endpoint="198.51.100.1:51820",
        address=old.mesh.address,
        subnet=old.mesh.subnet,
    )
    assert node.spec == old.spec
    assert node.id == "00001"
    assert node.description == NodeDescription(address="198.51.100.1")
    assert node.status.state is NodeState.UNKNOWN


def test_a_volume_is_on_the_host_of_its_node_s_name_or_where_it_was() -> None:
    here, gone = a_volume("here", node="m1"), a_volume("gone", node="m3")
    before = replace(a_backed_up_state(), volumes={"here": here, "gone": gone})

    after = restore.restored_state(before, [M1], at(60), counting_ids())

    assert after.volumes == {"here": replace(here, node_id="00001"), "gone": gone}


def test_a_new_host_gets_a_place_that_no_other_has() -> None:
    state = restored(M9, M1)

    m9, m1 = state.nodes.values()
    assert m1.mesh.address == "10.86.0.1"
    assert m9.mesh.address not in ("", "10.86.0.1")
    assert invariants.check(state) == ()


def test_tasks_are_lost_with_their_hosts_but_ended_and_waiting_ones_stay() -> None:
    state = restored(M1)

    assert [
        (t.slot, t.status.state) for t in sorted(state.tasks.values(), key=lambda t: t.slot)
    ] == [
        (1, TaskState.LOST),
        (2, TaskState.FAILED),
        (3, TaskState.PENDING),
    ]


def test_services_stay_and_tokens_do_not() -> None:
    before, after = a_backed_up_state(), restored(M1)

    assert after.services == before.services
    assert after.tokens == {}
    assert before.cluster is not None
    assert after.cluster is not None
    assert after.cluster == before.cluster


def test_the_host_becomes_a_manager_that_leads_a_log_of_one(config: Config, archive: Path) -> None:
    made = restore.restore_cluster(config, archive, PASSPHRASE, "m1", [M1, M9])

    assert node_files.read_membership(config) == made
    assert (made.cluster_id, made.cluster, made.name) == ("c1", "demo", "m1")
    identity = Identity(cluster_id="c1", node_id=made.node_id)
    disk = RealDisk(node_files.raft_path(config))
    log = inspection.read(disk, identity)
    files = SnapshotFiles(disk, "c1")
    state = files.open()
    disk.close()
    assert log is not None
    assert log.configuration.voters == {made.node_id}
    assert log.configuration.removed == ("m1", "m2")
    assert b"web" in state
    assert sorted(path.name for path in config.state_dir.iterdir()) == [
        "node.json",
        "pki",
        "raft",
        "restored",
    ]


def test_its_certificate_is_of_the_old_authority(config: Config, archive: Path) -> None:
    made = restore.restore_cluster(config, archive, PASSPHRASE, "m1", [M1])

    credentials = node_files.read_credentials(config)
    subject = certificates.subject_of(credentials.certificate)
    assert credentials.ca_certificate == AUTHORITY.certificate
    assert (subject.name, subject.roles) == (made.node_id, ("manager", "worker"))


def test_a_member_is_not_restored_over(config: Config, archive: Path) -> None:
    restore.restore_cluster(config, archive, PASSPHRASE, "m1", [M1])

    with pytest.raises(AlreadyExists, match="this host is already node m1 of cluster demo"):
        restore.restore_cluster(config, archive, PASSPHRASE, "m1", [M1])


def test_a_wrong_passphrase_leaves_the_host_bare(config: Config, archive: Path) -> None:
    with pytest.raises(InvalidInput, match="the passphrase is not the one"):
        restore.restore_cluster(config, archive, Secret("wrong horse battery"), "m1", [M1])

    assert list(config.state_dir.iterdir()) == []


def test_the_founder_must_be_a_manager(config: Config, archive: Path) -> None:
    worker = replace(M1, roles=(NodeRole.WORKER,))

    with pytest.raises(InvalidInput, match="name: must be a manager among the hosts"):
        restore.restore_cluster(config, archive, PASSPHRASE, "m1", [worker])


def test_a_backup_of_a_newer_warren_is_refused(config: Config, tmp_path: Path) -> None:
    newer = write(tmp_path / "newer.backup", commands_version=99)

    with pytest.raises(FailedPrecondition, match=r"was made by Warren 9\.9\.9: use that, or newer"):
        restore.restore_cluster(config, newer, PASSPHRASE, "m1", [M1])


def test_a_backup_is_known_again_in_its_copy(archive: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    backups.rewrap(archive, PASSPHRASE, copy)

    names = {restore.identity_of(backups.check(path).head) for path in (archive, copy)}

    assert names == {"c1 100 2026-06-01T12:00:00.000000Z"}


def test_the_log_that_it_begins_says_who_can_read_it(config: Config, tmp_path: Path) -> None:
    """The backup says what its maker knew; what counts is what is in it."""
    state = replace(a_backed_up_state(), configs={"nginx": a_config()})
    path = write(tmp_path / "configs.backup", commands_version=4, state=state)

    made = restore.restore_cluster(config, path, PASSPHRASE, "m1", [M1])

    with pytest.raises(TooNew, match="effect of commands of version 3 and this manager knows 2"):
        stored(config, made, version=2)
    assert stored(config, made, version=3).configs == state.configs


def test_a_secret_that_was_altered_is_named_and_the_rest_comes_back(
    config: Config, tmp_path: Path
) -> None:
    keys = sealing.new_keys("c1", NOON)
    sealer = sealing.Sealer("c1", keys)
    version = sealer.seal("db", 1, b"value", NOON)
    altered = replace(a_secret(), versions=(replace(version, data=version.data[::-1]),))
    api = sealer.seal("api", 1, b"other", NOON)
    whole = replace(a_secret("api"), versions=(api,))
    state = replace(a_backed_up_state(), secret_keys=keys, secrets={"db": altered, "api": whole})
    path = write(tmp_path / "bad.backup", state=state)

    checked, _ = backups.read(path, PASSPHRASE)
    made = restore.restore_cluster(config, path, PASSPHRASE, "m1", [M1])

    reason = "secret db version 1 cannot be opened: it is not what was stored, or damaged"
    assert checked.damaged == backups.check(path, PASSPHRASE).damaged == (reason,)
    back = stored(config, made)
    assert back.secret_keys is not None
    opener = Opener(Keyring())
    files = [opener.file(back, secret_key(name)) for name in ("api", "db")]
    assert [(file.data, file.error) for file in files] == [(b"other", ""), (b"", reason)]


def test_secrets_under_autolock_come_back_locked(config: Config, tmp_path: Path) -> None:
    keys = sealing.new_keys("c1", NOON)
    version = sealing.Sealer("c1", keys).seal("db", 1, b"value", NOON)
    passphrase = Secret("correct horse")
    opened = locking.new_lock("c1", passphrase, NOON, cost=Cost(log_n=1, r=1, p=1))
    locked = locking.locked_up("c1", keys, opened, sealing.new_kek("k2", NOON))
    secret = replace(a_secret(), versions=(version,))
    state = replace(a_backed_up_state(), secret_keys=locked, secrets={"db": secret})
    path = write(tmp_path / "locked.backup", state=state)

    checked = backups.check(path, PASSPHRASE)
    back = stored(config, restore.restore_cluster(config, path, PASSPHRASE, "m1", [M1]))

    assert (checked.locked, checked.damaged) == (True, ())
    ring, found = Keyring(), back.secret_keys
    assert found is not None
    assert found.lock is not None
    assert ring.is_locked(found)
    ring.unlock("c1", found, locking.open_lock("c1", found.lock, passphrase).key)
    assert Opener(ring).file(back, secret_key("db")).data == b"value"


def secret_key(name: str) -> FileKey:
    return FileKey(kind=FileKind.SECRET, name=name, number=1)


def stored(
    config: Config, made: Membership, version: int = versions.COMMANDS_VERSION
) -> ClusterState:
    """The state that the restored manager begins with, read by one that knows `version`."""
    disk = RealDisk(node_files.raft_path(config))
    assert inspection.read(disk, Identity(cluster_id="c1", node_id=made.node_id)) is not None
    data = SnapshotFiles(disk, "c1").open()
    disk.close()
    machine = FakeMachine()
    Remembering(machine, version).restore(data)
    message = warren_pb2.ClusterState.FromString(machine.snapshot_bytes)
    return convert.from_message(message, ClusterState)


class FakeMachine:
    """Remembers what it was to become."""

    snapshot_bytes = b""

    def restore(self, snapshot: bytes) -> None:
        self.snapshot_bytes = snapshot

    def apply(self, command: bytes) -> bytes:
        raise NotImplementedError

    def snapshot(self) -> Iterator[bytes]:
        raise NotImplementedError
