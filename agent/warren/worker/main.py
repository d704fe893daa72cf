"""`warren-worker`: reads the configuration, chooses the drivers, runs until SIGTERM.

Logs to standard error, one line per event; journald adds the time. Ends with 78 (EX_CONFIG) on a
host that is in no cluster: its unit is conditional on node.json, so this is for people.
"""

import argparse
import asyncio
import logging
import signal
import sys
from pathlib import Path

from warren import config as configuration
from warren.config import Config
from warren.drivers import service_manager
from warren.model.errors import WarrenError
from warren.worker import membership, network, traffic
from warren.worker.membership import Membership
from warren.worker.worker import Drivers, Worker

log = logging.getLogger("warren.worker")

EX_CONFIG = 78


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="warren-worker", description="Runs this node's tasks.")
    parser.add_argument("--config", type=Path, default=configuration.DEFAULT_PATH)
    sys.exit(run(parser.parse_args().config))


def run(config_path: Path) -> int:
    """The exit status."""
    try:
        config = configuration.load(config_path)
        member = membership.load(config.state_dir / "node.json")
    except WarrenError as error:
        print(f"warren-worker: {error}", file=sys.stderr)
        return EX_CONFIG
    if member is None:
        print("warren-worker: this host is not a member of a cluster yet", file=sys.stderr)
        return EX_CONFIG
    logging.basicConfig(
        level=config.log_level.upper(),
        format=f"%(levelname)s node {member.name}: %(message)s",
        stream=sys.stderr,
    )
    asyncio.run(_serve(config, member))
    return 0


async def _serve(config: Config, member: Membership) -> None:
    stop = asyncio.Event()

    def begin_stop() -> None:
        service_manager.notify("STOPPING=1")
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, begin_stop)
    worker = Worker(config, member, _drivers(config, member))
    service_manager.notify("READY=1")
    log.info("worker of cluster %s started", member.cluster_id)
    await worker.run(stop)
    log.info("worker stopped, its tasks go on")


def _drivers(config: Config, member: Membership) -> Drivers:
    """Imported here, so that what needs no drivers does not pay for them."""
    from warren.drivers.cni import CniNetwork
    from warren.drivers.containerd import Containerd
    from warren.drivers.host_mounts import SystemMounts
    from warren.drivers.nftables import Nftables
    from warren.drivers.ports import MountDrivers
    from warren.drivers.probes import Probes
    from warren.drivers.task_files import HostTaskFiles
    from warren.drivers.unbound import Unbound
    from warren.drivers.volumes import of_host
    from warren.drivers.wireguard import WireGuard

    mounts = SystemMounts()
    runtime = Containerd(
        config.runtime_endpoint,
        cluster_id=member.cluster_id,
        cgroup_parent=config.cgroup_parent,
    )
    return Drivers(
        runtime=runtime,
        prober=Probes(runtime),
        network=network.Drivers(
            mesh=WireGuard(
                config.mesh_interface,
                userspace=config.mesh_driver == "userspace",
                key_path=config.mesh_key_path,
                underlay_address=config.advertise_address,
            ),
            task_network=CniNetwork(config.cni_config_dir),
        ),
        traffic=traffic.Drivers(balancer=Nftables(), resolver=Unbound() if config.dns else None),
        files=HostTaskFiles(config.run_dir, config.state_dir),
        mounts=MountDrivers(
            volumes=of_host(config.volumes_dir, config.mounts_dir, mounts),
            mounts=mounts,
            mounts_dir=config.mounts_dir,
            bind_paths=config.bind_paths,
        ),
    )
