"""`warren-mesh`: keeps a WireGuard mesh on a host that is in no cluster.

What the mesh is, a file says: /etc/warren/mesh.json, which the module warren_mesh writes. It is
looked at several times a second, as the interface is, so a change of either is followed at once.
The same driver as a node's worker does the work. Ends with 78 (EX_CONFIG) when there is no file.
"""

import argparse
import asyncio
import json
import logging
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warren.drivers import service_manager
from warren.drivers.ports import MeshConfig
from warren.drivers.wireguard import WireGuard
from warren.model.assignments import Peer
from warren.model.errors import InvalidInput, WarrenError
from warren.model.nodes import NodeMesh
from warren.worker.mesh import WATCH_SECONDS, MeshUpkeep

log = logging.getLogger("warren.mesh")

DEFAULT_PATH = Path("/etc/warren/mesh.json")
KEY_PATH = Path("/var/lib/warren/mesh.key")
EX_CONFIG = 78


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainMesh:
    """A mesh without a cluster, as one host has it."""

    interface: str
    userspace: bool
    underlay_address: str
    config: MeshConfig

    def driver(self) -> WireGuard:
        """What carries it out."""
        return WireGuard(
            self.interface,
            userspace=self.userspace,
            key_path=KEY_PATH,
            underlay_address=self.underlay_address,
        )


def parse(values: Mapping[str, Any]) -> PlainMesh:
    """The mesh that the file describes. InvalidInput if it cannot be one."""
    try:
        config = MeshConfig(
            address=values["address"],
            mesh_network=values["network"],
            task_network="",
            subnet=values["subnet"],
            listen_port=values["listen_port"],
            mtu=values["mtu"],
            keepalive_s=values["keepalive"],
            peers=tuple(
                Peer(
                    node_id=peer["name"],
                    name=peer["name"],
                    public_key=peer["public_key"],
                    endpoint=peer["endpoint"],
                    address=peer["address"],
                    subnet=peer["subnet"],
                )
                for peer in values["peers"]
            ),
        )
        return PlainMesh(
            interface=values["interface"],
            userspace=values["driver"] == "userspace",
            underlay_address=values["underlay_address"],
            config=config,
        )
    except (KeyError, TypeError) as error:
        raise InvalidInput(f"is damaged: {error!r}", path=str(DEFAULT_PATH)) from error


def load(path: Path) -> PlainMesh:
    """What the file says. InvalidInput if there is none, or if it is damaged."""
    try:
        return parse(json.loads(path.read_text()))
    except FileNotFoundError as error:
        raise InvalidInput("is not there", path=str(path)) from error
    except ValueError as error:
        raise InvalidInput(f"is damaged: {error}", path=str(path)) from error


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="warren-mesh", description="Keeps a WireGuard mesh.")
    parser.add_argument("--config", type=Path, default=DEFAULT_PATH)
    path = parser.parse_args().config
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        mesh = load(path)
    except WarrenError as error:
        print(f"warren-mesh: {error}", file=sys.stderr)
        sys.exit(EX_CONFIG)
    asyncio.run(_serve(path, mesh))


async def _serve(path: Path, mesh: PlainMesh) -> None:
    """Until SIGTERM. The interface stays."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    upkeep = MeshUpkeep(mesh.driver(), interface=mesh.interface)
    upkeep.want(mesh.config, _own(mesh.config))
    async with asyncio.TaskGroup() as group:
        parts = [
            group.create_task(upkeep.run()),
            group.create_task(_follow(path, mesh, upkeep, stop)),
        ]
        service_manager.notify("READY=1")
        await stop.wait()
        for part in parts:
            part.cancel()


async def _follow(path: Path, mesh: PlainMesh, upkeep: MeshUpkeep, stop: asyncio.Event) -> None:
    """What the file says now is wanted. With another interface or driver, the service begins anew:
    systemd starts it again."""
    seen = _stamp(path)
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        stamp = _stamp(path)
        if stamp == seen:
            continue
        seen = stamp
        try:
            now = load(path)
        except WarrenError as error:
            log.warning("%s: going on as before", error)
            continue
        one, other = ((m.interface, m.userspace, m.underlay_address) for m in (mesh, now))
        if one != other:
            stop.set()
        upkeep.want(now.config, _own(now.config))


def _stamp(path: Path) -> tuple[int, int]:
    with suppress(OSError):
        status = path.stat()
        return status.st_ino, status.st_mtime_ns
    return 0, 0


def _own(config: MeshConfig) -> NodeMesh:
    """Nobody asks this host for another key."""
    return NodeMesh(public_key="", endpoint="", address=config.address, subnet=config.subnet)


if __name__ == "__main__":
    main()
