"""The leader's loop that has the data of removed volumes deleted on their nodes.

What is to be done stands in the state alone: a volume that is being removed is forgotten once its
node has said that nothing is left of it, so the next leader goes on where this one stopped. A node
that is away is asked when it is back.
"""

import asyncio
import logging
from collections.abc import Mapping
from datetime import timedelta

from warren.manager.cluster import ManagerContext
from warren.manager.sessions import Sessions
from warren.model.errors import WarrenError
from warren.model.volumes import Volume
from warren.state.commands import ForgetVolume

logger = logging.getLogger(__name__)

PATIENCE = timedelta(minutes=10)
"""For one volume: a million files take their time."""
PAUSE = timedelta(seconds=2)
"""Before a node is asked again, or looked for."""


class VolumeRemover:
    """Ends removals."""

    def __init__(self, context: ManagerContext, sessions: Sessions) -> None:
        self._context = context
        self._sessions = sessions
        self._told: dict[str, str] = {}
        """Why a volume, by its id, was not deleted, as last told."""

    async def run(self) -> None:
        """Until cancelled."""
        store = self._context.store
        async with asyncio.TaskGroup() as group:
            under_way: dict[str, asyncio.Task[None]] = {}
            looked: Mapping[str, Volume] = {}
            while True:
                count = store.changes.count
                known, looked = looked, store.state.volumes
                for volume in looked.values() if looked is not known else ():
                    job = under_way.get(volume.id)
                    if volume.removing and (job is None or job.done()):
                        under_way[volume.id] = group.create_task(self._remove(volume))
                await store.changes.wait_newer(count)

    async def _remove(self, volume: Volume) -> None:
        """Until the data is gone, or the volume is no longer to be removed."""
        name = volume.spec.name
        while self._context.store.state.volumes.get(name) == volume:
            if await self.step(volume):
                return
            await asyncio.sleep(PAUSE.total_seconds())

    async def step(self, volume: Volume) -> bool:
        """Ask its node once, and forget it; False where that has to be tried again."""
        name = volume.spec.name
        session = self._sessions.get(volume.node_id)
        if session is None:
            return False
        try:
            await session.delete_volume(volume, PATIENCE)
            await self._context.store.propose(ForgetVolume(name=name, id=volume.id))
        except WarrenError as error:
            if self._told.get(volume.id) != str(error):
                logger.warning("volume %s on %s: %s", name, volume.node_name, error)
            self._told[volume.id] = str(error)
            return False
        self._told.pop(volume.id, None)
        logger.info("the data of volume %s on %s is deleted", name, volume.node_name)
        return True
