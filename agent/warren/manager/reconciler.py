"""The leader's loop: look at the state, ask `core/reconcile.py`, propose, wait for the next change.

It is woken by a change of the state, by what a worker says that the decision `awaits`, or when its
`wake_at` has come; it never polls. It runs only while this manager leads (`leadership.py`).
"""

import asyncio
import logging
from dataclasses import replace
from datetime import datetime, timedelta

from warren.core.decisions import Decision
from warren.core.reconcile import Reconciliation
from warren.manager.cluster import ManagerContext
from warren.manager.contacts import Contacts
from warren.model.errors import WarrenError
from warren.model.nodes import NodeState
from warren.state.cluster import ClusterState
from warren.state.commands import Batch
from warren.store.watch import wait_any_newer

logger = logging.getLogger(__name__)

COMMANDS_MAX = 500
"""In one log entry. The rest is decided again from the state that the first ones leave."""
PAUSE = timedelta(seconds=1)
"""After a failure, or after commands that changed nothing: a defect must not become a busy loop."""


class Reconciler:
    """Carries decisions into the log."""

    def __init__(self, context: ManagerContext, contacts: Contacts) -> None:
        self._context = context
        self._contacts = contacts
        self._reconciliation = Reconciliation()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            changes = self._context.store.changes.count
            news = self._contacts.news.count
            state = self._context.store.state
            decision = self._decide(state)
            if not decision.commands:
                await self._wait(changes, news, decision.wake_at)
            elif not await self._carry_out(state, decision):
                await asyncio.sleep(PAUSE.total_seconds())

    def _decide(self, state: ClusterState) -> Decision:
        ready = (n.id for n in state.nodes.values() if n.status.state is NodeState.READY)
        now = self._context.now()
        decision = self._reconciliation.decide(
            state,
            now,
            self._context.new_id,
            self._contacts.times(now),
            self._contacts.carried(),
            unheard=frozenset(ready) - self._contacts.reported(),
        )
        self._contacts.awaited = decision.awaits
        return decision

    async def _carry_out(self, state: ClusterState, decision: Decision) -> bool:
        """Propose; answers whether it brought the cluster any further."""
        commands = decision.commands[:COMMANDS_MAX]
        try:
            await self._context.store.propose(Batch(commands=commands))
        except WarrenError as error:
            logger.warning("could not commit %d decisions: %s", len(commands), error)
            return False
        if replace(self._context.store.state, index=state.index) == state:
            logger.error("decisions changed nothing, the first is %r", commands[0])
            return False
        return True

    async def _wait(self, changes: int, news: int, wake_at: datetime | None) -> None:
        """Until there is something new to look at."""
        timeout = None
        if wake_at is not None:
            timeout = max(0.0, (wake_at - self._context.now()).total_seconds())
        store = self._context.store
        await wait_any_newer((store.changes, changes), (self._contacts.news, news), timeout=timeout)
