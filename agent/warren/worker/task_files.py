"""Secrets and configs that this node's tasks refer to: told by managers, placed before each start.
Some secrets are for pulls, and placed nowhere: images ask for them.

What was told is kept by the driver, secrets in memory alone. So a restart of the agent, with
managers or without, loses nothing; a reboot without managers loses the secrets, and a task that has
some waits for a manager to tell them again.
"""

import logging
from collections.abc import Callable, Iterable

from warren.api import convert, warren_pb2
from warren.core import file_references, placeholders
from warren.core.placeholders import NodeFacts
from warren.drivers.ports import Mount, PlacedFile
from warren.drivers.ports import TaskFiles as Driver
from warren.model import registries
from warren.model.errors import FailedPrecondition, WarrenError
from warren.model.secrets import ConfigReference, FileKey, FileKind, Reference, TaskFile
from warren.model.services import RegistryAuth, TaskTemplate
from warren.model.tasks import Task
from warren.state import references
from warren.worker.news import News

log = logging.getLogger(__name__)

_UNTOLD = "no manager has told it since this host was started"
_LOCKED = "the managers are locked (warren cluster unlock)"


class TaskFiles:
    """Of one node."""

    def __init__(self, driver: Driver, node: Callable[[], NodeFacts]) -> None:
        self._driver = driver
        self._node = node
        self._known = {file.key: file for file in driver.kept()}
        self._for_pulls = _newest(self._known)
        """By name, the version of each secret that is pulled with, if it is pulled with. Of those
        that were kept, the newest, until a manager says which."""
        self._locked = frozenset[FileKey]()
        """What the manager could tell if it were unlocked."""
        self._news = News()

    def take(self, message: warren_pb2.TaskFiles) -> None:
        """A manager tells some, before the tasks that refer to them."""
        for each in message.files:
            file = convert.from_message(each, TaskFile)
            if file.error:
                log.warning("%s", file.error)
            else:
                self._keep(file)
            self._known[file.key] = file
            self._note_for_pulls(file)
        self._locked |= {convert.from_message(each, FileKey) for each in message.locked}
        self._locked -= self._known.keys()
        self._news.tell()

    def retain(self, tasks: Iterable[Task]) -> None:
        """Forget what none of these tasks can need."""
        templates = [task.template for task in tasks if not task.status.state.terminal]
        placeable = frozenset[FileKey]().union(*map(references.keys_of, templates))
        names = {template.registry_secret for template in templates}
        self._for_pulls = {name: key for name, key in self._for_pulls.items() if name in names}
        pulled = {key for key in self._locked if key.name in names}
        self._locked &= placeable | pulled
        for key in self._known.keys() - placeable - set(self._for_pulls.values()):
            self._forget(key)

    def credentials(self, template: TaskTemplate) -> RegistryAuth:
        """What to pull the template's image with. FailedPrecondition: its secret does not say."""
        name = template.registry_secret
        file = self._known[self._for_pulls[name]]
        if file.error:
            raise FailedPrecondition(file.error)
        answer = registries.credentials(file.data, template.image)
        if isinstance(answer, str):
            message = f"image {template.image} cannot be pulled: secret {name} {answer}"
            raise FailedPrecondition(message)
        return answer

    def missing_credentials(self, template: TaskTemplate) -> str:
        """What a pull must wait for, as a sentence; empty: nothing."""
        name = template.registry_secret
        if not name or self._for_pulls.get(name) in self._known:
            return ""
        why = _LOCKED if name in {key.name for key in self._locked} else _UNTOLD
        return f"waits for secret {name}, to pull {template.image}: {why}"

    async def wait_credentials(self, template: TaskTemplate, say: Callable[[str], None]) -> None:
        """Until they are not missing; says why they are, each time that it is something else."""
        await self._news.wait_complete(lambda: self.missing_credentials(template), say)

    def missing(self, template: TaskTemplate) -> str:
        """What a start must wait for, as a sentence; empty: nothing."""
        for reference in references.all_of(template):
            key = references.key_of(reference)
            if key not in self._known:
                return f"waits for {key}: {_LOCKED if key in self._locked else _UNTOLD}"
        return ""

    async def wait(self, template: TaskTemplate, say: Callable[[str], None]) -> None:
        """Until nothing is missing; says what is, each time that it is something else."""
        await self._news.wait_complete(lambda: self.missing(template), say)

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

    def _note_for_pulls(self, file: TaskFile) -> None:
        """A manager says which version is pulled with by now. The one before goes at once: of one
        that tasks are given as a file, it would have said before that it is only that."""
        before = self._for_pulls.get(file.key.name)
        if file.for_pulls:
            self._for_pulls[file.key.name] = file.key
            if before is not None and before != file.key:
                self._forget(before)
        elif before == file.key:
            del self._for_pulls[file.key.name]

    def _forget(self, key: FileKey) -> None:
        self._known.pop(key, None)
        try:
            self._driver.drop(key)
        except WarrenError as error:
            log.warning("%s", error)

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


def _newest(keys: Iterable[FileKey]) -> dict[str, FileKey]:
    """Of each secret."""
    secrets = (key for key in keys if key.kind is FileKind.SECRET)
    return {key.name: key for key in sorted(secrets, key=lambda key: key.number)}
