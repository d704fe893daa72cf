"""Makes this host the first manager of a cluster that is restored from a backup.

The cluster is the same: its id, CA, settings, services and their secrets. Its hosts are new: each
gets a new node id, so that nothing that an old host still has on its disk can take part again. A
host that will be back under its old name keeps its place in the mesh, labels and availability; all
other nodes are gone. Every task is lost with its host, so the services are scheduled anew. Join
tokens are not restored, as nobody knows who has read them since; the secret that managers share is
a new one.
"""

import shutil
import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from warren.bootstrap import backups, certificates, join, node_files
from warren.bootstrap.certificates import Authority
from warren.bootstrap.create import NODE_ID_DIGITS, check_host, new_id
from warren.bootstrap.node_files import Credentials, Membership
from warren.config import Config
from warren.core import allocator, assignment
from warren.files import write_whole
from warren.model.clusters import Cluster
from warren.model.errors import FailedPrecondition, InvalidInput, WarrenError
from warren.model.nodes import Node, NodeDescription, NodeMesh, NodeRole, NodeSpec, NodeStatus
from warren.model.services import Secret
from warren.model.tasks import Task, TaskState
from warren.model.views import BackupHead
from warren.model.volumes import Volume
from warren.state import versions
from warren.state.cluster import ClusterState
from warren.store import idempotency, store
from warren.store.raft import renewal
from warren.store.raft.disks import RealDisk
from warren.store.raft.journal import Identity


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A host that will be in the restored cluster."""

    name: str
    roles: tuple[NodeRole, ...]
    public_key: str
    """Of its mesh interface."""
    address: str
    """Underlay address."""


def restore_cluster(
    config: Config, archive: Path, passphrase: Secret, founder: str, hosts: Sequence[Host]
) -> Membership:
    """Make this host, `founder` among `hosts`, the restored cluster's first manager.

    AlreadyExists when it is in a cluster; InvalidInput names what is wrong with the backup.
    """
    node_files.refuse_member(config)
    checked, backed_up = backups.read(archive, passphrase)
    head = checked.head
    if head.commands_version > versions.COMMANDS_VERSION:
        raise FailedPrecondition(f"the backup was made by Warren {head.warren}: use that, or newer")
    now = datetime.now(UTC)
    state = restored_state(backed_up, hosts, now, lambda: new_id(NODE_ID_DIGITS))
    cluster, node = _cluster(state), state.node_named(founder)
    if node is None or NodeRole.MANAGER not in node.spec.roles:
        raise InvalidInput("must be a manager among the hosts", path="name")
    check_host(config, node.spec)
    managers = (assignment.manager_address(cluster.spec, node),)
    membership = node_files.membership_of(node, cluster.id, cluster.spec, managers)
    credentials = _credentials(cluster, node, now)
    files = _log_files(config, membership, state, gone=sorted(backed_up.nodes))
    mark = config.state_dir / node_files.RESTORED_MARK
    write_whole(mark, f"{identity_of(head)}\n".encode())
    node_files.install(config, membership, credentials, files)
    return membership


def living(state: ClusterState, addresses: Sequence[str] = ()) -> tuple[str, ...]:
    """Where a manager of the backed-up cluster answers: at its old managers' addresses, or these.

    Whoever shows the cluster's CA counts, with or without a majority: it may find one yet.
    """
    cluster = _cluster(state)
    known = (node.description.address for node in state.managers())
    asked = tuple(dict.fromkeys(each for each in (*known, *addresses) if each))
    wanted = certificates.digest(cluster.ca_certificate)

    def answers(address: str) -> bool:
        try:
            chain = join.served_chain(f"{address}:{cluster.spec.join_port}")
        except WarrenError:
            return False
        return any(sha256(each).digest() == wanted for each in chain)

    with ThreadPoolExecutor(max_workers=16) as pool:
        found = list(pool.map(answers, asked))
    return tuple(address for address, alive in zip(asked, found, strict=True) if alive)


def identity_of(head: BackupHead) -> str:
    """Names one backup, also in a copy of it under another passphrase."""
    return f"{head.cluster_id} {head.index} {head.created_at:%Y-%m-%dT%H:%M:%S.%fZ}"


def restored_state(
    before: ClusterState, hosts: Sequence[Host], now: datetime, new_node_id: Callable[[], str]
) -> ClusterState:
    """The state that the restored cluster begins with. Pure, but for the ids that it is given."""
    cluster = _cluster(before)
    index = before.index + 1
    kept = [before.node_named(host.name) for host in hosts]
    used = [node.mesh for node in kept if node is not None]
    nodes = {}
    for host, old in zip(hosts, kept, strict=True):
        if old is not None:
            address, subnet = old.mesh.address, old.mesh.subnet
        else:
            address, subnet = allocator.allocate_mesh(cluster.spec, used)
        mesh = NodeMesh(
            public_key=host.public_key,
            endpoint=f"{host.address}:{cluster.spec.mesh_port}",
            address=address,
            subnet=subnet,
        )
        used.append(mesh)
        spec = old.spec if old is not None else NodeSpec(name=host.name)
        node = Node(
            id=new_node_id(),
            version=index,
            spec=replace(spec, roles=host.roles),
            description=NodeDescription(address=host.address),
            mesh=mesh,
            status=NodeStatus(since=now),
            joined_at=now,
        )
        nodes[node.id] = node
    return replace(
        before,
        index=index,
        cluster=cluster,
        nodes=nodes,
        tasks=_lost(before, now, index),
        tokens={},
        volumes=_on_new_nodes(before, nodes.values()),
    )


def _on_new_nodes(before: ClusterState, nodes: Iterable[Node]) -> dict[str, Volume]:
    """A host that has the name of a node that was may well have its disk. Where there is none of
    the name, the volume stays where it was, until it is released."""
    ids = {node.spec.name: node.id for node in nodes}
    return {
        name: replace(volume, node_id=ids.get(volume.node_name, volume.node_id))
        for name, volume in before.volumes.items()
    }


def _lost(before: ClusterState, now: datetime, index: int) -> dict[str, Task]:
    tasks = {}
    for task in before.tasks.values():
        if task.node_id and not task.status.state.terminal:
            status = replace(
                task.status,
                state=TaskState.LOST,
                since=now,
                message="its host was replaced when the cluster was restored",
                address="",
            )
            task = replace(task, status=status, version=index)
        tasks[task.id] = task
    return tasks


def _cluster(state: ClusterState) -> Cluster:
    assert state.cluster is not None, "checked when the backup was read"
    return state.cluster


def _credentials(cluster: Cluster, node: Node, now: datetime) -> Credentials:
    authority = Authority(
        cluster_id=cluster.id, certificate=cluster.ca_certificate, key=cluster.ca_key
    )
    key = certificates.new_key()
    certificate = certificates.sign_node(
        authority,
        certificates.signing_request(key, node.spec.name),
        node_id=node.id,
        name=node.spec.name,
        roles=[role.value for role in node.spec.roles],
        now=now,
    )
    return Credentials(ca_certificate=cluster.ca_certificate, certificate=certificate, key=key)


def _log_files(
    config: Config, membership: Membership, state: ClusterState, *, gone: Sequence[str]
) -> dict[str, bytes]:
    """The files of a log that begins with `state`."""
    directory = config.state_dir / ".restoring"
    shutil.rmtree(directory, ignore_errors=True)
    disk = RealDisk(directory)
    try:
        renewal.found_from_state(
            disk,
            Identity(cluster_id=membership.cluster_id, node_id=membership.node_id),
            membership.raft_address,
            idempotency.first_snapshot(store.pieces(state), versions.version_of(state)),
            removed=gone,
            new_disk_id=uuid.uuid4().hex,
        )
        return {name: disk.read(name) for name in disk.names()}
    finally:
        disk.close()
        shutil.rmtree(directory, ignore_errors=True)
