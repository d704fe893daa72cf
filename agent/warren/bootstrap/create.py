"""Creates a cluster on this host, which becomes its first manager.

Everything is written to disk here; the manager daemon, once started, makes the first entry of the
log of `raft/bootstrap.pb` and deletes that file.
"""

import base64
import secrets
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network

from warren.api import convert
from warren.bootstrap import certificates, host_routes, node_files
from warren.bootstrap.node_files import Credentials, Membership
from warren.config import Config
from warren.core import allocator, assignment
from warren.model.clusters import Cluster, ClusterSpec
from warren.model.constraints import DNS_LABEL
from warren.model.errors import InvalidInput
from warren.model.nodes import Node, NodeDescription, NodeMesh, NodeRole, NodeSpec, NodeStatus
from warren.state import commands

BOOTSTRAP_FILE = "bootstrap.pb"
NODE_ID_DIGITS = 10


def create_cluster(
    config: Config, spec: ClusterSpec, node: NodeSpec, public_key: str
) -> Membership:
    """Create a cluster of this one manager. `public_key` is the host's WireGuard key.

    AlreadyExists when the host is in a cluster; InvalidInput names the setting.
    """
    node_files.refuse_member(config)
    _check(config, spec, node)
    now = datetime.now(UTC)
    cluster_id, node_id = new_id(16), new_id(NODE_ID_DIGITS)
    authority = certificates.create_authority(cluster_id, spec.name, now)
    key = certificates.new_key()
    certificate = certificates.sign_node(
        authority,
        certificates.signing_request(key, node.name),
        node_id=node_id,
        name=node.name,
        roles=[role.value for role in node.roles],
        now=now,
    )
    member = _first_node(config, spec, node, node_id=node_id, public_key=public_key, now=now)
    command = commands.CreateCluster(
        cluster=Cluster(
            id=cluster_id,
            spec=spec,
            created_at=now,
            ca_certificate=authority.certificate,
            ca_key=authority.key,
        ),
        node=member,
    )
    addresses = (assignment.manager_address(spec, member),)
    membership = node_files.membership_of(member, cluster_id, spec, addresses)
    node_files.install(
        config,
        membership,
        Credentials(ca_certificate=authority.certificate, certificate=certificate, key=key),
        {BOOTSTRAP_FILE: convert.command_to_bytes(command)},
    )
    return membership


def new_id(length: int) -> str:
    """Random lower-case base32 of `length` digits."""
    data = secrets.token_bytes(length)
    return base64.b32encode(data).decode().lower()[:length]


def _first_node(
    config: Config,
    spec: ClusterSpec,
    node: NodeSpec,
    *,
    node_id: str,
    public_key: str,
    now: datetime,
) -> Node:
    address, subnet = allocator.allocate_mesh(spec, ())
    return Node(
        id=node_id,
        spec=node,
        description=NodeDescription(address=config.advertise_address),
        mesh=NodeMesh(
            public_key=public_key,
            endpoint=f"{config.advertise_address}:{spec.mesh_port}",
            address=address,
            subnet=subnet,
        ),
        status=NodeStatus(since=now),
        joined_at=now,
    )


def _check(config: Config, spec: ClusterSpec, node: NodeSpec) -> None:
    check_host(config, node)
    if NodeRole.MANAGER not in node.roles:
        raise InvalidInput("the first node must be a manager", path="roles")
    if refusal := DNS_LABEL.check(spec.name):
        raise InvalidInput(refusal, path="cluster.name")
    allocator.check_networks(spec)
    advertised = IPv4Address(config.advertise_address)
    for key in ("mesh_network", "task_network", "vip_network"):
        network = IPv4Network(getattr(spec, key))
        if advertised in network:
            message = f"{network} holds this host's own address {advertised}"
            raise InvalidInput(message, path=f"cluster.{key}")
    allocator.check_routes(spec, host_routes.read(host_routes.TABLE))


def check_host(config: Config, node: NodeSpec) -> None:
    """What every new member must have, whether it creates or joins."""
    if refusal := DNS_LABEL.check(node.name):
        raise InvalidInput(refusal, path="name")
    if not node.roles:
        raise InvalidInput("must name manager, worker, or both", path="roles")
    try:
        IPv4Address(config.advertise_address)
    except ValueError as error:
        message = f"{config.advertise_address!r} is not an IPv4 address of this host"
        raise InvalidInput(message, path="advertise_address") from error
