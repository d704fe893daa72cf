"""One look per second at all instances on the host, shared by all tasks.

Runtimes offer no events that can be relied on, so exits are found by looking. A look tells a task
nothing if it began before the task's own last action ended: looks are numbered, and whoever acts
asks for one with a higher number.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from warren.drivers.ports import Runtime
from warren.model.errors import WarrenError
from warren.model.instances import Instance
from warren.worker.news import News

log = logging.getLogger(__name__)

INTERVAL = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was there."""

    number: int = 0
    """Grows with each look begun, failed ones too; 0: none yet."""
    instances: Mapping[str, tuple[Instance, ...]] = field(default_factory=dict)
    """By task id."""


class Observer:
    """Looks at the runtime, and tells when it has seen something."""

    def __init__(self, runtime: Runtime, seen: Callable[[], None]) -> None:
        self._runtime = runtime
        self._seen = seen
        self._asked = asyncio.Event()
        self._news = News()
        self._answering = True
        self._gone: dict[str, int] = {}
        """Tasks of which nothing is left, with the look that may still have seen something."""
        self.last = Look()
        """The last look that succeeded."""
        self.begun = 0
        """Number of the last look that was begun."""

    def ask(self) -> None:
        """Look now rather than within the second."""
        self._asked.set()

    def forget(self, task_id: str) -> None:
        """Nothing is left of the task: looks begun before now do not count for it."""
        self._gone[task_id] = self.begun
        remaining = {key: value for key, value in self.last.instances.items() if key != task_id}
        self.last = Look(number=self.last.number, instances=remaining)

    async def wait_look(self, number: int) -> None:
        """Until a look after that number has succeeded."""
        while self.last.number <= number:
            await self._news.wait()

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            self._asked.clear()
            await self._look()
            try:
                async with asyncio.timeout(INTERVAL.total_seconds()):
                    await self._asked.wait()
            except TimeoutError:
                continue

    async def _look(self) -> None:
        self.begun += 1
        number = self.begun
        try:
            instances = await self._runtime.instances()
        except WarrenError as error:
            if self._answering:
                log.warning("the container runtime does not answer, waiting for it: %s", error)
            self._answering = False
            return
        if not self._answering:
            log.info("the container runtime answers again")
        self._answering = True
        seen = [i for i in instances if self._gone.get(i.task_id, 0) < number]
        self._gone = {key: last for key, last in self._gone.items() if last >= number}
        self.last = Look(number=number, instances=_by_task(seen))
        self._news.tell()
        self._seen()


def _by_task(instances: Iterable[Instance]) -> Mapping[str, tuple[Instance, ...]]:
    found = defaultdict(list)
    for instance in instances:
        found[instance.task_id].append(instance)
    return {task_id: tuple(group) for task_id, group in found.items()}
