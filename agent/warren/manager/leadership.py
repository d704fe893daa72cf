"""Starts the leader's loops when this manager wins the lead, and ends them when it loses it.

A term is a leadership of its own: loops of one never go on in the next, so that what they assumed
(which workers were heard) is assumed anew.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from warren.core.nodes import first_contacts
from warren.manager.cluster import ManagerContext
from warren.manager.contacts import Contacts

logger = logging.getLogger(__name__)


class Leadership:
    """Runs `loops` while this manager leads."""

    def __init__(
        self,
        context: ManagerContext,
        contacts: Contacts,
        loops: Sequence[Callable[[], Awaitable[None]]],
    ) -> None:
        self._context = context
        self._contacts = contacts
        self._loops = loops

    async def run(self) -> None:
        """Until cancelled. An error in a loop ends the daemon: it is restarted, another leads."""
        while True:
            term = await self._wait_lead()
            logger.info("leading since term %d", term)
            async with asyncio.TaskGroup() as group:
                now = self._context.now()
                self._contacts.reset(first_contacts(self._context.store.state, now))
                loops = [group.create_task(_forever(loop)) for loop in self._loops]
                await self._wait_end(term)
                for loop in loops:
                    loop.cancel()
            logger.info("following since term %d", self._context.store.status.term)

    async def _wait_lead(self) -> int:
        store = self._context.store
        while not store.status.is_leader:
            await store.changes.wait_newer(store.changes.count)
        return store.status.term

    async def _wait_end(self, term: int) -> None:
        store = self._context.store
        while store.status.is_leader and store.status.term == term:
            await store.changes.wait_newer(store.changes.count)


async def _forever(loop: Callable[[], Awaitable[None]]) -> None:
    await loop()
