"""Says when this manager is locked, and gives the lead to one that is not.

A locked leader does all but what needs secrets: tasks with secrets wait, and a rotation of keys. So
as soon as another manager is unlocked, the lead goes there; nothing else depends on it.
"""

import asyncio
import logging
from datetime import timedelta

from warren.core import autolock
from warren.manager.cluster import ManagerContext
from warren.manager.members_api import AskMember, members_of
from warren.model.errors import WarrenError

logger = logging.getLogger(__name__)

LOOK_AGAIN = timedelta(seconds=1)
"""Between two looks of a locked leader for a manager that is not."""
HAND_OVER = timedelta(seconds=1)


class LockWatch:
    """Says when this manager is locked, and gives the lead away while it is."""

    def __init__(self, context: ManagerContext, ask_member: AskMember) -> None:
        self._context = context
        self._ask_member = ask_member

    async def run(self) -> None:
        """Until cancelled."""
        store, was_locked = self._context.store, False
        while True:
            count = store.changes.count
            is_locked = self._is_locked()
            if is_locked and not was_locked:
                logger.warning("locked: secrets wait for warren cluster unlock")
            if was_locked and not is_locked:
                logger.info("unlocked")
            was_locked = is_locked
            if not (is_locked and self._context.leads()):
                await store.changes.wait_newer(count)
            elif not await self.hand_over():
                await asyncio.sleep(LOOK_AGAIN.total_seconds())

    async def hand_over(self) -> bool:
        """Give the lead to a manager that is unlocked; answers whether it is gone."""
        members = await members_of(self._context, self._ask_member)
        to = autolock.successor(members, self._context.membership.node_id)
        if not to or not self._is_locked():
            return False
        try:
            await self._context.store.transfer_leadership(to, HAND_OVER)
        except WarrenError as error:
            logger.warning("locked, and could not hand the lead over: %s", error)
            return False
        logger.info("locked: handed the lead over to %s, which is not", to)
        return True

    def _is_locked(self) -> bool:
        return self._context.keyring.is_locked(self._context.store.state.secret_keys)
