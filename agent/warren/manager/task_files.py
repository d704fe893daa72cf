"""The secrets and configs that one worker is told: those that its tasks refer to, and no others.

Opened here, in the leader's memory, for the one connection that they are sent through. What cannot
be opened is told with its reason, which becomes the reason why its task does not start.
"""

import logging
from collections.abc import Mapping

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


class Provision:
    """What one session has been told."""

    def __init__(self, opener: Opener, node_id: str) -> None:
        self._opener = opener
        self._node_id = node_id
        self._tasks: Mapping[str, Task] | None = None
        self._was_locked = False
        self._told: dict[FileKey, object] = {}
        """What tells the value: of a secret that was removed and made anew it is another, of one
        that was resealed the same."""

    def news(self, newest: Assignments) -> tuple[warren_pb2.ManagerMessage, ...]:
        """To be sent before the tasks of that state: each file in a message of its own, so that
        none is too large. While this manager is locked, secrets are named only."""
        tasks = newest.tasks.tasks_on.get(self._node_id, {})
        is_locked = self._opener.is_locked(newest.state)
        if tasks is self._tasks and is_locked == self._was_locked:
            return ()
        self._tasks, self._was_locked = tasks, is_locked
        living = (task for task in tasks.values() if not task.status.state.terminal)
        keys = frozenset[FileKey]().union(*(references.keys_of(t.template) for t in living))
        needed = {key: self._identity(newest.state, key) for key in keys}
        new = [key for key, identity in needed.items() if self._told.get(key, "") != identity]
        self._told = needed
        return tuple(
            self._message(newest.state, key)
            for key in sorted(new, key=lambda key: (key.kind.value, key.name, key.number))
        )

    def _message(self, state: ClusterState, key: FileKey) -> warren_pb2.ManagerMessage:
        if self._is_locked(key):
            told = warren_pb2.TaskFiles(locked=[convert.to_message(key)])
        else:
            told = warren_pb2.TaskFiles(files=[convert.to_message(self._opener.file(state, key))])
        return warren_pb2.ManagerMessage(files=told)

    def _identity(self, state: ClusterState, key: FileKey) -> object:
        version = references.version(state, key)
        if self._is_locked(key):
            return _LOCKED
        return version.digest if isinstance(version, SecretVersion) else version

    def _is_locked(self, key: FileKey) -> bool:
        return self._was_locked and key.kind is FileKind.SECRET
