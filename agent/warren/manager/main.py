"""`warren-manager`: reads the configuration and the membership, runs until SIGTERM.

Logs to standard error, one line per event; journald adds the time. Ends with 78 (EX_CONFIG) where
a person must do something first, with 1 where a restart may help.
"""

import argparse
import asyncio
import json
import logging
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

from warren import config as configuration
from warren.bootstrap import certificates, node_files, recover
from warren.bootstrap.create import BOOTSTRAP_FILE
from warren.bootstrap.node_files import Membership
from warren.config import Config
from warren.drivers import service_manager
from warren.manager.cluster import ManagerContext
from warren.manager.manager import Manager
from warren.model.errors import FailedPrecondition, Unavailable, WarrenError
from warren.model.nodes import NodeRole
from warren.state.versions import COMMANDS_VERSION
from warren.store.raft.engine import RaftConfig, RaftLog
from warren.store.raft.tls import TlsFiles
from warren.store.raft.transport import Contact
from warren.store.store import Store

logger = logging.getLogger("warren.manager")

EX_CONFIG = 78


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        prog="warren-manager", description="Takes part in managing a Warren cluster."
    )
    parser.add_argument("--config", type=Path, default=configuration.DEFAULT_PATH)
    parser.add_argument(
        "--inspect",
        action="store_true",
        help="say what the log on this host's disk holds, as JSON; the daemon must be stopped",
    )
    options = parser.parse_args()
    sys.exit(inspect(options.config) if options.inspect else run(options.config))


def inspect(config_path: Path) -> int:
    """Print what is on the disk; changes nothing. The exit status."""
    try:
        found = recover.inspect(configuration.load(config_path))
    except WarrenError as error:
        return _complain(str(error))
    print(json.dumps(recover.report(found), indent=2))
    return 0


def run(config_path: Path) -> int:
    """The exit status."""
    try:
        config = configuration.load(config_path)
        membership = node_files.read_membership(config)
    except WarrenError as error:
        return _complain(str(error))
    if membership is None:
        return _complain("this host is not a member of a cluster yet")
    if NodeRole.MANAGER not in membership.roles:
        return _complain(f"node {membership.name} is a worker of cluster {membership.cluster}")
    logging.basicConfig(
        level=config.log_level.upper(),
        format=f"%(levelname)s manager {membership.name}: %(message)s",
        stream=sys.stderr,
    )
    try:
        _check_clock(config)
        return asyncio.run(_serve(config, membership))
    except WarrenError as error:
        logger.error("%s", error)
        return EX_CONFIG if isinstance(error, FailedPrecondition) else 1


def _check_clock(config: Config) -> None:
    """A clock that is behind the node's own certificate would find no certificate valid."""
    now = datetime.now(UTC)
    since = certificates.valid_since((node_files.pki_path(config) / "node.crt").read_text())
    if now < since:
        raise Unavailable(
            f"this host's clock is wrong: it says {now:%Y-%m-%d %H:%M:%S} UTC, and the node's "
            f"certificate is valid since {since:%Y-%m-%d %H:%M:%S} UTC; set the clock"
        )


async def _serve(config: Config, membership: Membership) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    failures: list[str] = []

    def begin_stop() -> None:
        service_manager.notify("STOPPING=1")
        stop.set()

    def fail(reason: str) -> None:
        logger.critical("the replicated log cannot go on: %s", reason)
        failures.append(reason)
        loop.call_soon_threadsafe(stop.set)

    def ready() -> None:
        service_manager.notify("READY=1")
        logger.info("serving cluster %s, member %s", membership.cluster, membership.raft_address)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, begin_stop)
    engine = RaftLog(_engine_config(config, membership), on_failure=fail)
    context = ManagerContext(config=config, membership=membership, store=Store(engine))
    await Manager(context).run(stop, ready)
    logger.info("manager stopped")
    if not failures:
        return 0
    return EX_CONFIG if engine.needs_a_person else 1


def _engine_config(config: Config, membership: Membership) -> RaftConfig:
    pki, raft = node_files.pki_path(config), node_files.raft_path(config)
    return RaftConfig(
        directory=raft,
        cluster_id=membership.cluster_id,
        node_id=membership.node_id,
        address=membership.raft_address,
        tls=TlsFiles(ca=pki / "ca.crt", certificate=pki / "node.crt", key=pki / "node.key"),
        contacts=tuple(
            Contact(node_id=manager.node_id, address=manager.raft)
            for manager in membership.managers
        ),
        bootstrap=(raft / BOOTSTRAP_FILE).exists(),
        commands_version=COMMANDS_VERSION,
    )


def _complain(message: str) -> int:
    print(f"warren-manager: {message}", file=sys.stderr)
    return EX_CONFIG
