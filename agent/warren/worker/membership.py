"""node.json: what this host is in its cluster. Its presence means that the host is a member.

Written last when a cluster is created or joined. The worker refreshes `managers` in it, so that a
node whose managers have all moved still finds them after a restart, and `roles`, when the cluster
has promoted or demoted the node and has certified it.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from warren.files import write_whole
from warren.model.assignments import ManagerAddress
from warren.model.errors import InvalidInput
from warren.model.nodes import NodeRole

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """The part of node.json that the worker needs."""

    cluster_id: str
    node_id: str
    name: str
    mesh_port: int
    managers: tuple[ManagerAddress, ...]
    roles: tuple[NodeRole, ...] = ()
    mesh_address: str = ""


def load(path: Path) -> Membership | None:
    """This host's membership; None if it is in no cluster. InvalidInput if the file is damaged."""
    try:
        values = json.loads(path.read_text())
        return Membership(
            cluster_id=values["cluster_id"],
            node_id=values["node_id"],
            name=values["name"],
            mesh_port=values["mesh_port"],
            managers=tuple(_manager(entry) for entry in values["managers"]),
            roles=tuple(NodeRole(role) for role in values.get("roles", ())),
            mesh_address=values.get("mesh_address", ""),
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"is damaged: {error!r}", path=str(path)) from error


def refresh_managers(path: Path, managers: Sequence[ManagerAddress]) -> None:
    """Note where the managers are now. An assignment without any teaches nothing."""
    try:
        values = json.loads(path.read_text())
        entries = [asdict(manager) for manager in managers]
        if entries and values.get("managers") != entries:
            write_whole(path, json.dumps({**values, "managers": entries}, indent=1).encode())
    except (OSError, ValueError, AttributeError) as error:
        log.warning("cannot note the managers in %s: %s", path, error)


def write_roles(path: Path, roles: Sequence[NodeRole]) -> None:
    """Note what this host is from now on; its certificate says so already."""
    values = json.loads(path.read_text())
    values["roles"] = [role.value for role in roles]
    write_whole(path, json.dumps(values, indent=1).encode())


def _manager(entry: dict[str, Any]) -> ManagerAddress:
    return ManagerAddress(
        node_id=entry["node_id"], name=entry["name"], api=entry["api"], raft=entry["raft"]
    )
