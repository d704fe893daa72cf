"""The latest status of each task, and which of them the manager of this session has not been told.

The executor puts, the session takes. Only the latest status of a task is kept, so that a slow
connection costs intermediate states and never memory.
"""

import asyncio
from collections.abc import Mapping

from warren.model.tasks import TaskStatus


class Reporter:
    """Statuses on their way to the manager."""

    def __init__(self) -> None:
        self._latest: dict[str, TaskStatus] = {}
        self._unsent: dict[str, None] = {}
        self._something = asyncio.Event()

    @property
    def latest(self) -> Mapping[str, TaskStatus]:
        """What is known of each task, whether sent or not."""
        return self._latest

    def put(self, task_id: str, status: TaskStatus) -> None:
        """Note the status; it is sent if it differs from the one before."""
        if self._latest.get(task_id) == status:
            return
        self._latest[task_id] = status
        self._unsent[task_id] = None
        self._something.set()

    def forget(self, task_id: str) -> None:
        """The task is gone from this node; nobody wants to hear of it any more."""
        self._latest.pop(task_id, None)
        self._unsent.pop(task_id, None)

    def begin_session(self) -> None:
        """A manager that may know nothing listens now: tell it everything."""
        self._unsent = dict.fromkeys(self._latest)
        if self._unsent:
            self._something.set()

    async def wait_unsent(self) -> None:
        """Until there is something to take."""
        await self._something.wait()

    def take(self) -> Mapping[str, TaskStatus]:
        """What the manager has not been told, and from now on has."""
        taken = {task_id: self._latest[task_id] for task_id in self._unsent}
        self._unsent.clear()
        self._something.clear()
        return taken
