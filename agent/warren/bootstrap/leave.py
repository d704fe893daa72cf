"""Ends membership on this host. The cluster is told by whoever removes the node from it."""

import shutil

from warren.bootstrap import node_files
from warren.bootstrap.node_files import RESTORED_MARK
from warren.config import Config


def leave(config: Config) -> bool:
    """Remove what membership left on disk, and secrets from memory; answers whether there was any.

    Daemons must be stopped. node.json goes first, so that a host cut off in the middle is a member
    no more.
    """
    path = node_files.membership_path(config)
    was_member = path.exists()
    path.unlink(missing_ok=True)
    (config.state_dir / RESTORED_MARK).unlink(missing_ok=True)
    for name in (".joining", "pki", "raft", "worker"):
        shutil.rmtree(config.state_dir / name, ignore_errors=True)
    for name in ("files", "tasks"):
        shutil.rmtree(config.run_dir / name, ignore_errors=True)
    return was_member
