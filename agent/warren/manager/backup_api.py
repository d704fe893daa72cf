"""Control, backup: the whole state, as a stream, to an operator.

It holds the key of the cluster's CA and every secret, so it is given to operators only, in their
own connection, and no manager writes it anywhere: whoever asked encrypts it before it is stored.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator

import warren
from warren.api import convert, warren_pb2
from warren.manager.authorization import Caller
from warren.manager.cluster import ManagerContext, cluster_of
from warren.model.views import BackupHead
from warren.state import versions
from warren.state.cluster import ClusterState
from warren.store import store

logger = logging.getLogger(__name__)

PART_BYTES = 256 << 10


class BackupApi:
    """The handler; its name is that of the RPC."""

    def __init__(self, context: ManagerContext) -> None:
        self._context = context

    async def backup(
        self, request: warren_pb2.BackupRequest, caller: Caller
    ) -> AsyncGenerator[warren_pb2.BackupPart, None]:
        """Of one moment: a state is immutable, so writes go on while it is sent."""
        state = await self._context.store.barrier()
        head = self._head(state)
        logger.info("backup of state %s begun for %s", state.index, caller.name)
        yield warren_pb2.BackupPart(head=convert.to_message(head))
        parts = _parts(store.pieces(state))
        while (part := await asyncio.to_thread(next, parts, b"")) != b"":
            yield warren_pb2.BackupPart(data=part)
        logger.info("backup of state %s given to %s", state.index, caller.name)

    def _head(self, state: ClusterState) -> BackupHead:
        cluster = cluster_of(state)
        return BackupHead(
            cluster=cluster.spec.name,
            cluster_id=cluster.id,
            created_at=self._context.now(),
            index=state.index,
            nodes=len(state.nodes),
            services=len(state.services),
            commands_version=versions.COMMANDS_VERSION,
            warren=warren.__version__,
        )


def _parts(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in fewer messages."""
    waiting = bytearray()
    for piece in pieces:
        waiting += piece
        if len(waiting) >= PART_BYTES:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)
