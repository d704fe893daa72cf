"""The leader's loop that seals secrets anew when they got another key-encryption key.

A few versions a command, so that other changes go on. How far it is stands in the state alone: what
is wrapped by an older key is still to be done, so the next leader goes on there. A version that
cannot be opened is passed over and named in the log; until it is removed, its key stays. A leader
that is locked waits until it is unlocked.
"""

import asyncio
import logging
from itertools import islice

from warren.core import secrets
from warren.manager.cluster import ManagerContext
from warren.model.errors import WarrenError
from warren.model.secrets import FileKey, FileKind, SecretKeys
from warren.state.cluster import ClusterState
from warren.state.commands import ResealedSecret, ResealSecrets
from warren.store.sealing import Sealer

logger = logging.getLogger(__name__)

VERSIONS_MAX = 50
BYTES_MAX = 1 << 20
"""Of the values in one command."""
_PAUSE = 1.0
"""Seconds before a command that was not stored is tried again."""


class Resealer:
    """Goes on with rotations."""

    def __init__(self, context: ManagerContext) -> None:
        self._context = context
        self._broken: set[FileKey] = set()

    async def run(self) -> None:
        """Until cancelled."""
        store = self._context.store
        while True:
            count = store.changes.count
            try:
                done = await self.step()
            except WarrenError as error:
                logger.warning("could not store secrets that were sealed anew: %s", error)
                await asyncio.sleep(_PAUSE)
                continue
            if not done:
                await store.changes.wait_newer(count)

    async def step(self) -> bool:
        """Some versions more; False when there is nothing left that can be done."""
        state = self._context.store.state
        keys = state.secret_keys
        if keys is None or len(keys.keys) < 2:
            self._broken.clear()
            return False
        if self._context.keyring.is_locked(keys):
            return False
        chosen = _bounded(state, self._broken)
        command = await asyncio.to_thread(self._resealed, state, keys, chosen)
        if command.secrets or command.hash_key is not None:
            await self._context.store.propose(command)
            return True
        return bool(chosen)

    def _resealed(
        self, state: ClusterState, keys: SecretKeys, chosen: tuple[ResealedSecret, ...]
    ) -> ResealSecrets:
        """Beside the loop: a megabyte takes some milliseconds."""
        assert state.cluster is not None
        try:
            opened = self._context.keyring.require_opened(state.cluster.id, keys)
            sealer = Sealer(state.cluster.id, opened)
        except WarrenError as error:
            self._pass_over(chosen, error)
            return ResealSecrets()
        done = []
        for each in chosen:
            try:
                version = sealer.reseal(each.name, each.version)
            except WarrenError as error:
                self._pass_over((each,), error)
            else:
                done.append(ResealedSecret(name=each.name, version=version))
        is_old = keys.hash_key.kek != keys.keys[-1].id
        return ResealSecrets(
            secrets=tuple(done), hash_key=sealer.rewrapped_hash_key() if is_old else None
        )

    def _pass_over(self, chosen: tuple[ResealedSecret, ...], error: WarrenError) -> None:
        logger.error("%s", error)
        for each in chosen:
            number = each.version.number
            self._broken.add(FileKey(kind=FileKind.SECRET, name=each.name, number=number))


def _bounded(state: ClusterState, broken: set[FileKey]) -> tuple[ResealedSecret, ...]:
    """The next few, and one at least."""
    chosen: list[ResealedSecret] = []
    size = 0
    for each in islice(secrets.outdated(state, broken), VERSIONS_MAX):
        size += each.version.size
        if chosen and size > BYTES_MAX:
            break
        chosen.append(each)
    return tuple(chosen)
