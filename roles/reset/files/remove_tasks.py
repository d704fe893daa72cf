"""Stops and removes every container of the cluster on this host, with its network and mounts.

Run by the reset role under the agent's own Python, while containerd still runs.
"""

import asyncio
from datetime import timedelta
from pathlib import Path

from warren import config as configuration
from warren.bootstrap import node_files
from warren.drivers.containerd import Containerd

try:
    from warren.drivers import host_mounts
except ImportError:  # the agent here is older, and mounts nothing
    host_mounts = None


async def main() -> None:
    config = configuration.load()
    member = node_files.read_membership(config)
    if member is None:
        return
    runtime = Containerd(
        config.runtime_endpoint, cluster_id=member.cluster_id, cgroup_parent=config.cgroup_parent
    )
    try:
        for instance in await runtime.instances():
            await runtime.stop(instance, signal="", grace=timedelta(seconds=5))
            await runtime.remove(instance)
    finally:
        await runtime.close()
    if host_mounts is not None:
        await leave_mounts(config.mounts_dir)


async def leave_mounts(directory: Path) -> None:
    """Nothing is deleted in what was mounted: it is the data of other hosts."""
    mounts = host_mounts.SystemMounts(systemd=False)
    for point in sorted(host_mounts.mounted(), reverse=True):
        if Path(point).is_relative_to(directory):
            await mounts.unmount(Path(point))
    remove_empty(directory)


def remove_empty(directory: Path) -> None:
    """With all below; what is not empty ends it."""
    for left in sorted(directory.rglob("*"), reverse=True):
        left.rmdir()
    if directory.exists():
        directory.rmdir()


asyncio.run(main())
