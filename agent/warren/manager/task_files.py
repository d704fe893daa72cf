"""The secrets and configs that one worker is told: those that its tasks refer to, and no others.

A secret that images are pulled with is told in its newest version, and again when there is a newer
one: no task has to be touched for that.

Opened here, in the leader's memory, for the one connection that they are sent through. What cannot
be opened is told with its reason, which becomes the reason why its task does not start. A manager
that is locked names secrets only, and tells them once it is unlocked.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

from warren.api import convert, warren_pb2
from warren.core.assignment import Assignments
from warren.model.errors import FailedPrecondition, WarrenError
from warren.model.secrets import (
    ConfigVersion,
    FileKey,
    FileKind,
    SecretKeys,
    SecretVersion,
    TaskFile,
    VersionedSecret,
)
from warren.model.tasks import Task
from warren.state import references
from warren.state.cluster import ClusterState
from warren.store.locking import Keyring
from warren.store.sealing import Sealer

logger = logging.getLogger(__name__)

_LOCKED = "locked"
"""In the place of what tells a value."""


class Opener:
    """Opens secrets of the newest state. Shared by all sessions."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._keys: SecretKeys | None = None
        self._sealer: Sealer | None = None

    def is_locked(self, state: ClusterState) -> bool:
        """This manager cannot open secrets until it is unlocked."""
        return self._keyring.is_locked(state.secret_keys)

    def newest(self, state: ClusterState, name: str) -> bytes:
        """The secret's newest value. FailedPrecondition if it cannot be opened."""
        return self._of(state).open(name, state.secrets[name].newest)

    def file(self, state: ClusterState, key: FileKey) -> TaskFile:
        """The version, open."""
        version = references.version(state, key)
        try:
            if isinstance(version, ConfigVersion):
                return TaskFile(key=key, data=version.data)
            if isinstance(version, SecretVersion):
                return TaskFile(key=key, data=self._of(state).open(key.name, version))
            raise FailedPrecondition(f"there is no {key}")
        except WarrenError as error:
            logger.error("%s", error)
            return TaskFile(key=key, data=b"", error=str(error))

    def _of(self, state: ClusterState) -> Sealer:
        if state.cluster is None or state.secret_keys is None:
            raise FailedPrecondition("the cluster has no key for its secrets")
        if self._sealer is None or self._keys is not state.secret_keys:
            opened = self._keyring.require_opened(state.cluster.id, state.secret_keys)
            self._sealer = Sealer(state.cluster.id, opened)
            self._keys = state.secret_keys
        return self._sealer


@dataclass(frozen=True, slots=True)
class _Told:
    identity: object
    """Tells the value: of a secret that was removed and made anew it is another, of one that was
    resealed the same."""
    for_pulls: bool


class Provision:
    """What one session has been told."""

    def __init__(self, opener: Opener, node_id: str) -> None:
        self._opener = opener
        self._node_id = node_id
        self._tasks: Mapping[str, Task] | None = None
        self._secrets: Mapping[str, VersionedSecret] = {}
        self._was_locked = False
        self._told: dict[FileKey, _Told] = {}

    def news(self, newest: Assignments) -> tuple[warren_pb2.ManagerMessage, ...]:
        """To be sent before the tasks of that state: each file in a message of its own, so that
        none is too large."""
        state = newest.state
        tasks = newest.tasks.tasks_on.get(self._node_id, {})
        is_locked = self._opener.is_locked(state)
        pulled_alike = state.secrets is self._secrets or not self._pulls()
        if tasks is self._tasks and is_locked == self._was_locked and pulled_alike:
            return ()
        self._tasks, self._secrets, self._was_locked = tasks, state.secrets, is_locked
        templates = [t.template for t in tasks.values() if not t.status.state.terminal]
        keys = frozenset[FileKey]().union(*map(references.keys_of, templates))
        pulls = {references.pull_key(state, template) for template in templates} - {None}
        keys = keys.union(filter(None, pulls))
        needed = {key: self._telling(state, key, for_pulls=key in pulls) for key in keys}
        new = [key for key, told in needed.items() if self._told.get(key) != told]
        self._told = needed
        return tuple(
            self._message(state, key, for_pulls=needed[key].for_pulls)
            for key in sorted(new, key=lambda key: (key.kind.value, key.name, key.number))
        )

    def _pulls(self) -> bool:
        return any(told.for_pulls for told in self._told.values())

    def _message(
        self, state: ClusterState, key: FileKey, *, for_pulls: bool
    ) -> warren_pb2.ManagerMessage:
        if self._is_locked(key):
            told = warren_pb2.TaskFiles(locked=[convert.to_message(key)])
            return warren_pb2.ManagerMessage(files=told)
        file = replace(self._opener.file(state, key), for_pulls=for_pulls)
        message = convert.to_message(file)
        return warren_pb2.ManagerMessage(files=warren_pb2.TaskFiles(files=[message]))

    def _telling(self, state: ClusterState, key: FileKey, *, for_pulls: bool) -> _Told:
        if self._is_locked(key):
            return _Told(identity=_LOCKED, for_pulls=for_pulls)
        version = references.version(state, key)
        identity = version.digest if isinstance(version, SecretVersion) else version
        return _Told(identity=identity, for_pulls=for_pulls)

    def _is_locked(self, key: FileKey) -> bool:
        return self._was_locked and key.kind is FileKind.SECRET
