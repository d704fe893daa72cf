"""Secrets and configs that this node's tasks refer to: told by managers, placed before each start.

What was told is kept by the driver, secrets in memory alone. So a restart of the agent, with
managers or without, loses nothing; a reboot without managers loses the secrets, and a task that has
some waits for a manager to tell them again. So does one of which a manager says that it is locked.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable

from warren.api import convert, warren_pb2
from warren.core import file_references, placeholders
from warren.core.placeholders import NodeFacts
from warren.drivers.ports import Mount, PlacedFile
from warren.drivers.ports import TaskFiles as Driver
from warren.model.errors import FailedPrecondition, WarrenError
from warren.model.secrets import ConfigReference, FileKey, Reference, TaskFile
from warren.model.services import TaskTemplate
from warren.model.tasks import Task
from warren.state import references

log = logging.getLogger(__name__)


class TaskFiles:
    """Of one node."""

    def __init__(self, driver: Driver, node: Callable[[], NodeFacts]) -> None:
        self._driver = driver
        self._node = node
        self._known = {file.key: file for file in driver.kept()}
        self._locked = frozenset[FileKey]()
        """What the manager could tell if it were unlocked."""
        self._news = asyncio.Event()

    def take(self, message: warren_pb2.TaskFiles) -> None:
        """A manager tells some, before the tasks that refer to them."""
        for each in message.files:
            file = convert.from_message(each, TaskFile)
            if file.error:
                log.warning("%s", file.error)
            else:
                self._keep(file)
            self._known[file.key] = file
        self._locked |= {convert.from_message(each, FileKey) for each in message.locked}
        self._locked -= self._known.keys()
        self._news.set()
        self._news = asyncio.Event()

    def retain(self, tasks: Iterable[Task]) -> None:
        """Forget what none of these tasks can need."""
        living = (task for task in tasks if not task.status.state.terminal)
        needed = frozenset[FileKey]().union(*(references.keys_of(t.template) for t in living))
        self._locked &= needed
        for key in self._known.keys() - needed:
            del self._known[key]
            try:
                self._driver.drop(key)
            except WarrenError as error:
                log.warning("%s", error)

    def missing(self, template: TaskTemplate) -> str:
        """What a start must wait for, as a sentence; empty: nothing."""
        for reference in references.all_of(template):
            key = references.key_of(reference)
            if key in self._locked:
                return f"waits for {key}: the managers are locked (warren cluster unlock)"
            if key not in self._known:
                return f"waits for {key}: no manager has told it since this host was started"
        return ""

    async def wait(self, template: TaskTemplate, say: Callable[[str], None]) -> None:
        """Until nothing is missing; says what is, each time that it is something else."""
        said = ""
        while missing := self.missing(template):
            if missing != said:
                say(missing)
            said = missing
            await self._news.wait()

    def place(self, task: Task) -> tuple[Mount, ...]:
        """Have the task's files, and answer how its container gets them. FailedPrecondition,
        DriverError: a file cannot be had as it shall be."""
        files = [self._placed(task, each) for each in references.all_of(task.template)]
        return self._driver.place(task.id, files) if files else ()

    def remove(self, task_id: str) -> None:
        """The task is gone, and its files with it."""
        try:
            self._driver.remove(task_id)
        except WarrenError as error:
            log.warning("%s", error)

    def task_ids(self) -> frozenset[str]:
        """Tasks for which something is placed."""
        return self._driver.task_ids()

    def _keep(self, file: TaskFile) -> None:
        """A host that cannot keep it has it until the agent ends."""
        try:
            self._driver.keep(file)
        except WarrenError as error:
            log.warning("%s", error)

    def _placed(self, task: Task, reference: Reference) -> PlacedFile:
        file = self._known[references.key_of(reference)]
        if file.error:
            raise FailedPrecondition(file.error)
        data = file.data
        if isinstance(reference, ConfigReference) and reference.template:
            data = self._filled(file, task)
        return PlacedFile(
            path=file_references.path_of(reference),
            data=data,
            uid=reference.uid,
            gid=reference.gid,
            mode=int(reference.mode, 8),
        )

    def _filled(self, file: TaskFile, task: Task) -> bytes:
        node = self._node()
        try:
            return placeholders.fill(file.data, task, node)
        except KeyError as error:
            message = f"{file.key} asks for {error.args[0]}, which {node.name} does not have"
            raise FailedPrecondition(message) from None
