"""The latest status of each task, and which of them the manager of this session has not been told.

The executor puts, the session takes. Only the latest status of a task is kept, so that a slow
connection costs intermediate states and never memory.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping

from warren.model.tasks import TaskStatus

log = logging.getLogger(__name__)

BLIND_SECONDS_MAX = 5.0
"""How long after a start of the agent a container runtime that does not answer holds others up."""


class Reporter:
    """Statuses on their way to the manager."""

    def __init__(self, *, changed: Callable[[], None] = lambda: None) -> None:
        self._changed = changed
        self._expected: set[str] = set()
        self._complete = asyncio.Event()
        self._complete.set()
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
        self._meet(task_id)
        self._changed()

    def expect(self, task_ids: Iterable[str]) -> None:
        """At its start, the agent knows nothing yet of these tasks, which may well run."""
        self._expected = set(task_ids) - self._latest.keys()
        if self._expected:
            self._complete.clear()

    async def wait_complete(self) -> None:
        """Until something is known of each of those tasks; not for ever."""
        try:
            async with asyncio.timeout(BLIND_SECONDS_MAX):
                await self._complete.wait()
        except TimeoutError:
            log.warning("what became of %d tasks is not known yet", len(self._expected))
            self._complete.set()

    def _meet(self, task_id: str) -> None:
        self._expected.discard(task_id)
        if not self._expected:
            self._complete.set()

    def forget(self, task_id: str) -> None:
        """The task is gone from this node; nobody wants to hear of it any more."""
        self._latest.pop(task_id, None)
        self._unsent.pop(task_id, None)
        self._meet(task_id)
        self._changed()

    def begin_session(self) -> Mapping[str, TaskStatus]:
        """A manager that may know nothing listens now: tell it everything."""
        self._unsent = dict.fromkeys(self._latest)
        return self.take()

    async def wait_unsent(self) -> None:
        """Until there is something to take."""
        await self._something.wait()

    def take(self) -> Mapping[str, TaskStatus]:
        """What the manager has not been told, and from now on has."""
        taken = {task_id: self._latest[task_id] for task_id in self._unsent}
        self._unsent.clear()
        self._something.clear()
        return taken
