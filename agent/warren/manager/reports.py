"""Status reports of workers, on their way into the log.

While one entry is being committed, newer reports gather and go into the next together: under load
entries grow in size, not in number, and only the newest status of a task is written. A state that a
task only passes through waits a moment for the one that follows, so that a start is mostly one
entry, which every manager writes, and the leader decides on and tells the workers of.
"""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta

from warren.manager.cluster import ManagerContext
from warren.model.errors import WarrenError
from warren.model.tasks import TaskState, TaskStatus
from warren.state.commands import Batch, SetTaskStatus

logger = logging.getLogger(__name__)

PAUSE = timedelta(seconds=0.5)
BATCH_MAX = 500
PASSING = (TaskState.PREPARING, TaskState.STARTING, TaskState.STOPPING)
PASSING_WAIT = timedelta(milliseconds=500)
"""Longer than most starts and stops take. Who waits for all to be written waits for none of it."""


class Reports:
    """Filled by sessions, emptied by the leader's loop `run`."""

    def __init__(self, context: ManagerContext) -> None:
        self._context = context
        self._statuses: dict[str, TaskStatus] = {}
        self._arrived = asyncio.Event()
        self._written = asyncio.Event()
        self._written.set()
        self._urgent = asyncio.Event()

    def add(self, node_id: str, statuses: Mapping[str, TaskStatus]) -> None:
        """Take what a node says of its own tasks; what it says of others' is none of its business.

        A task that has ended in the state stays as it is, and an unchanged status is not written.
        """
        tasks = self._context.store.state.tasks
        for task_id, status in statuses.items():
            task = tasks.get(task_id)
            if task is None or task.node_id != node_id or task.status.state.terminal:
                continue
            if task.status == status and task_id not in self._statuses:
                continue
            self._statuses[task_id] = status
            self._written.clear()
            self._arrived.set()
            if status.state not in PASSING:
                self._urgent.set()

    async def wait_written(self) -> None:
        """Until the state has all that was taken, which is written now."""
        if not self._written.is_set():
            self._urgent.set()
        await self._written.wait()

    async def run(self) -> None:
        """Until cancelled. Workers tell everything again to the next leader."""
        try:
            while True:
                await self._arrived.wait()
                await self._wait_urgent()
                self._arrived.clear()
                while self._statuses:
                    await self._write_some()
                self._written.set()
        finally:
            self._statuses.clear()
            self._written.set()

    async def _wait_urgent(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(PASSING_WAIT.total_seconds()):
                await self._urgent.wait()
        self._urgent.clear()

    async def _write_some(self) -> None:
        taken = dict(list(self._statuses.items())[:BATCH_MAX])
        for task_id in taken:
            del self._statuses[task_id]
        commands = tuple(
            SetTaskStatus(task_id=task_id, status=status) for task_id, status in taken.items()
        )
        try:
            await self._context.store.propose(Batch(commands=commands))
        except WarrenError as error:
            logger.warning("could not commit %d task statuses: %s", len(taken), error)
            self._statuses = {**taken, **self._statuses}
            await asyncio.sleep(PAUSE.total_seconds())
