"""Stops and removes every container of the cluster on this host, with its network.

Run by the reset role under the agent's own Python, while containerd still runs.
"""

import asyncio
from datetime import timedelta

from warren import config as configuration
from warren.bootstrap import node_files
from warren.drivers.containerd import Containerd


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


asyncio.run(main())
