# Copyright (c) The Warren authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""This host's own membership in a cluster, for the modules that run on nodes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    from warren import config as configuration
    from warren.bootstrap import node_files
except ImportError:  # told by module_utils/warren.py
    pass

if TYPE_CHECKING:
    from warren.bootstrap.node_files import Membership
    from warren.config import Config

CONFIG_PATH = "/etc/warren/warren.toml"


def read_config(path: str = CONFIG_PATH) -> Config:
    """The agent's configuration on this host; defaults when there is none."""
    return configuration.load(Path(path))


def read_membership(path: str = CONFIG_PATH) -> dict[str, Any]:
    """What this host knows of its membership; empty when it is no member."""
    membership = node_files.read_membership(read_config(path))
    return shown(membership) if membership else {}


def shown(membership: Membership) -> dict[str, Any]:
    """A membership without its secret."""
    return {
        "cluster": membership.cluster,
        "cluster_id": membership.cluster_id,
        "name": membership.name,
        "node_id": membership.node_id,
        "roles": [role.value for role in membership.roles],
        "mesh_address": membership.mesh_address,
        "managers": [manager.api for manager in membership.managers],
    }
