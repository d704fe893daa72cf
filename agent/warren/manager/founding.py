"""The first entry of a cluster's log, by its first manager at its first start.

`bootstrap.create` left the command in a file. The file goes when the command is applied, so a start
that was cut off before that is simply repeated.
"""

import asyncio
import logging
from datetime import timedelta

from warren.api import convert
from warren.bootstrap import node_files
from warren.bootstrap.create import BOOTSTRAP_FILE
from warren.manager.cluster import ManagerContext
from warren.model.errors import WarrenError

logger = logging.getLogger(__name__)

PAUSE = timedelta(seconds=1)


async def found_cluster(context: ManagerContext) -> None:
    """Called when this manager leads; does nothing where there is a cluster."""
    path = node_files.raft_path(context.config) / BOOTSTRAP_FILE
    if not path.exists():
        return
    command = convert.command_from_bytes(path.read_bytes())
    while context.store.state.cluster is None:
        try:
            await context.store.commit(command)
            logger.info("cluster %s created", context.membership.cluster)
        except WarrenError as error:
            logger.warning("could not create cluster %s: %s", context.membership.cluster, error)
            await asyncio.sleep(PAUSE.total_seconds())
    path.unlink()
