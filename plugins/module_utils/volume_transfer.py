# Copyright (c) The Warren authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What warren_volume_backup and warren_volume_restore share on the node: their arguments, and where
things are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.warren.core.plugins.module_utils import membership

if TYPE_CHECKING:
    from warren.bootstrap.volume_spool import Spool

SHARED: dict[str, Any] = {
    "volume": {"type": "dict", "required": True},
    "passphrase": {"type": "str", "no_log": True},
    "passphrase_file": {"type": "path", "no_log": False},
    "config": {"type": "path", "default": membership.CONFIG_PATH},
}
"""What a user gives; both halves of the modules take it."""
ARGUMENTS: dict[str, Any] = {
    **SHARED,
    "number": {"type": "int", "default": 0},
    "key": {"type": "str", "no_log": True},
}


def places(params: dict[str, Any]) -> tuple[Spool, Path]:
    """The spool of the volume, and its directory on this node."""
    from warren.bootstrap import volume_places
    from warren.model.errors import FailedPrecondition

    config, volume = membership.read_config(params["config"]), params["volume"]
    here = membership.read_membership(params["config"])
    if here and here["name"] != volume["node"]:
        raise FailedPrecondition(
            f"volume {volume['name']} is on {volume['node']}, and this host is {here['name']}"
        )
    spool = volume_places.spool_of(config, volume["name"])
    return spool, config.volumes_dir / str(volume["directory"])
