"""Membership on disk: node.json, the certificates beside it, and how they are written.

node.json is written last and removed first: a host that has it is a member, with everything else
in place. Both daemons read these files; the worker refreshes `managers`, the manager also.
"""

import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from warren.config import Config
from warren.files import write_whole
from warren.model.assignments import ManagerAddress
from warren.model.clusters import ClusterSpec
from warren.model.errors import AlreadyExists, FailedPrecondition
from warren.model.nodes import Node, NodeRole
from warren.model.services import Secret

RESTORED_MARK = "restored"
"""File in the state directory: which backup this host's cluster was restored from, here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """What a host knows of its own membership: the content of node.json."""

    cluster_id: str
    cluster: str
    """The cluster's name."""
    node_id: str
    name: str
    roles: tuple[NodeRole, ...]
    mesh_address: str
    api_port: int
    join_port: int
    raft_port: int
    mesh_port: int
    managers: tuple[ManagerAddress, ...]
    """Where managers answered when last heard."""

    @property
    def raft_address(self) -> str:
        """This node's name in Raft, if it is a manager."""
        return f"{self.mesh_address}:{self.raft_port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A node's end of mutual TLS. All PEM."""

    ca_certificate: str
    certificate: str
    key: Secret


def membership_of(
    node: Node,
    cluster_id: str,
    spec: ClusterSpec,
    managers: Iterable[ManagerAddress],
) -> Membership:
    """The membership of a node."""
    return Membership(
        cluster_id=cluster_id,
        cluster=spec.name,
        node_id=node.id,
        name=node.spec.name,
        roles=node.spec.roles,
        mesh_address=node.mesh.address,
        api_port=spec.api_port,
        join_port=spec.join_port,
        raft_port=spec.raft_port,
        mesh_port=spec.mesh_port,
        managers=tuple(managers),
    )


def read_membership(config: Config) -> Membership | None:
    """None: this host is in no cluster. FailedPrecondition: node.json cannot be understood."""
    path = membership_path(config)
    try:
        return _membership_from(json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise FailedPrecondition(f"{path} cannot be understood: {error}") from error


def write_membership(config: Config, membership: Membership) -> None:
    """Write node.json, whole or not at all."""
    values = asdict(membership)
    values["roles"] = [role.value for role in membership.roles]
    write_whole(membership_path(config), (json.dumps(values, indent=2) + "\n").encode())


def write_managers(config: Config, managers: Iterable[ManagerAddress]) -> None:
    """Refresh the managers in node.json; an unchanged list touches nothing."""
    membership = read_membership(config)
    managers = tuple(managers)
    if membership is not None and managers and membership.managers != managers:
        write_membership(config, replace(membership, managers=managers))


def refuse_member(config: Config) -> None:
    """AlreadyExists when this host is in a cluster."""
    membership = read_membership(config)
    if membership is not None:
        message = f"this host is already node {membership.name} of cluster {membership.cluster}"
        raise AlreadyExists(message)


def read_credentials(config: Config) -> Credentials:
    """This node's certificate, key, and the CA's certificate."""
    directory = pki_path(config)
    try:
        return Credentials(
            ca_certificate=(directory / "ca.crt").read_text(),
            certificate=(directory / "node.crt").read_text(),
            key=Secret((directory / "node.key").read_text()),
        )
    except OSError as error:
        raise FailedPrecondition(f"cannot read this node's certificate: {error}") from error


def install(
    config: Config,
    membership: Membership,
    credentials: Credentials,
    raft_files: dict[str, bytes] | None = None,
) -> None:
    """Make this host a member: all files, node.json last. What a crash leaves is overwritten."""
    staging = config.state_dir / ".joining"
    config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.rmtree(staging, ignore_errors=True)
    for directory in (staging, staging / "pki", staging / "raft"):
        directory.mkdir(mode=0o700)
    write_whole(staging / "pki/ca.crt", credentials.ca_certificate.encode(), mode=0o644)
    write_whole(staging / "pki/node.crt", credentials.certificate.encode(), mode=0o644)
    write_whole(staging / "pki/node.key", credentials.key.encode())
    for name, data in (raft_files or {}).items():
        write_whole(staging / "raft" / name, data)
    for name in ("pki", "raft"):
        shutil.rmtree(config.state_dir / name, ignore_errors=True)
        (staging / name).rename(config.state_dir / name)
    staging.rmdir()
    write_membership(config, membership)


def membership_path(config: Config) -> Path:
    """node.json."""
    return config.state_dir / "node.json"


def pki_path(config: Config) -> Path:
    """Directory of ca.crt, node.crt and node.key."""
    return config.state_dir / "pki"


def raft_path(config: Config) -> Path:
    """Directory of the replicated log, on managers."""
    return config.state_dir / "raft"


def _membership_from(values: dict[str, Any]) -> Membership:
    """Without what only another version of Warren knows: upgrades leave the file as it is."""
    known = {field.name for field in fields(Membership)}
    return Membership(
        **{
            **{name: value for name, value in values.items() if name in known},
            "roles": tuple(NodeRole(role) for role in values["roles"]),
            "managers": tuple(ManagerAddress(**manager) for manager in values["managers"]),
        }
    )
