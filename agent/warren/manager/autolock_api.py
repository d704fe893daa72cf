"""Control and Managers, autolock: Get, Apply, Unlock.

Who asks brings the key of the lock, made from the passphrase on his own machine. The leader takes
it and passes it on to the other managers, each of which keeps it in its memory. No manager passes
it on unasked: one that starts is locked until somebody comes who knows the passphrase.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

from warren.api import convert, warren_pb2
from warren.core import autolock
from warren.manager import secret_keys_api
from warren.manager.authorization import Caller
from warren.manager.cluster import ManagerContext, cluster_of
from warren.manager.members_api import AskMember, ask_nobody, members_of
from warren.model.assignments import ManagerAddress
from warren.model.errors import Conflict, FailedPrecondition, Unavailable, WarrenError
from warren.model.secrets import KeyLock, SecretKeys
from warren.state.cluster import ClusterState
from warren.state.commands import LockSecretKeys
from warren.store import locking, sealing
from warren.store.locking import OpenLock

logger = logging.getLogger(__name__)

UnlockMember = Callable[[ManagerAddress, warren_pb2.UnlockRequest], Awaitable[None]]

CATCH_UP = timedelta(seconds=2)
"""For which a manager waits for the log to bring the lock that it was given the key of."""


async def unlock_nobody(manager: ManagerAddress, request: warren_pb2.UnlockRequest) -> None:
    """For a manager that has no way to the others."""


class AutolockApi:
    """Handlers; the names are those of the RPCs."""

    def __init__(
        self,
        context: ManagerContext,
        ask_member: AskMember = ask_nobody,
        unlock_member: UnlockMember = unlock_nobody,
    ) -> None:
        self._context = context
        self._ask_member = ask_member
        self._unlock_other = unlock_member

    async def get_autolock(
        self, request: warren_pb2.GetAutolockRequest, caller: Caller
    ) -> warren_pb2.AutolockView:
        return await self._view(await self._context.read(stale=request.stale))

    async def apply_autolock(
        self, request: warren_pb2.ApplyAutolockRequest, caller: Caller
    ) -> warren_pb2.AutolockView:
        """Another lock, or none; refused by a leader that is locked. Repeated, it is done once."""
        lock = convert.from_message(request.lock, KeyLock) if request.HasField("lock") else None
        await secret_keys_api.ensure(self._context)
        state = await self._context.store.barrier()
        keys = _keys_of(state)
        stored = keys.lock.id if keys.lock is not None else ""
        if stored != (lock.id if lock is not None else ""):
            if stored != request.expected:
                raise Conflict("autolock was changed meanwhile: look at it, then try again")
            await self._change(state, keys, lock, request.key, caller)
        if lock is not None:
            self._unlock_here(request.key)
            await self._pass_on(warren_pb2.UnlockRequest(lock_id=lock.id, key=request.key))
        return await self._view(self._context.store.state)

    async def unlock(
        self, request: warren_pb2.UnlockRequest, caller: Caller
    ) -> warren_pb2.AutolockView:
        state = await self._context.store.barrier()
        keys = _keys_of(state)
        if keys.lock is None:
            raise FailedPrecondition("autolock is off: no manager is locked")
        if keys.lock.id != request.lock_id:
            raise Conflict("the passphrase was changed meanwhile: try again")
        self._unlock_here(request.key)
        await self._pass_on(request)
        return await self._view(state)

    async def unlock_member(
        self, request: warren_pb2.UnlockRequest, caller: Caller
    ) -> warren_pb2.UnlockResponse:
        """This manager alone, once it knows of that lock."""
        store = self._context.store
        try:
            async with asyncio.timeout(CATCH_UP.total_seconds()):
                while not _is_lock(store.state, request.lock_id):
                    await store.changes.wait_newer(store.changes.count)
        except TimeoutError:
            raise Unavailable("this manager does not know of that lock yet") from None
        self._unlock_here(request.key)
        return warren_pb2.UnlockResponse()

    async def _change(
        self,
        state: ClusterState,
        keys: SecretKeys,
        lock: KeyLock | None,
        key: bytes,
        caller: Caller,
    ) -> None:
        cluster_id, ring = cluster_of(state).id, self._context.keyring
        opened = ring.require_opened(cluster_id, keys)
        command = LockSecretKeys(keys=opened.keys, expected=keys.lock.id if keys.lock else "")
        if lock is not None:
            kek = sealing.new_kek(lock.id, self._context.now())
            sealed = locking.locked_up(cluster_id, opened, OpenLock(lock=lock, key=key), kek)
            command = LockSecretKeys(lock=lock, keys=sealed.keys, expected=command.expected)
            ring.expect(lock.id, key)
        await self._context.store.commit(command, key=caller.key())
        is_new = "" if keys.lock is None else ", with another passphrase"
        did = "off" if lock is None else f"on{is_new}"
        logger.info("autolock is %s, by %s", did, caller.name)

    def _unlock_here(self, key: bytes) -> None:
        state = self._context.store.state
        self._context.keyring.unlock(cluster_of(state).id, _keys_of(state), key)
        self._context.store.wake()

    async def _pass_on(self, request: warren_pb2.UnlockRequest) -> None:
        """To all others at once. Who does not answer is seen to be so afterwards."""
        own = self._context.membership.node_id
        others = [each for each in self._context.managers() if each.node_id != own]
        await asyncio.gather(*(self._tell(manager, request) for manager in others))

    async def _tell(self, manager: ManagerAddress, request: warren_pb2.UnlockRequest) -> None:
        try:
            async with asyncio.timeout(2 * CATCH_UP.total_seconds()):
                await self._unlock_other(manager, request)
        except (WarrenError, TimeoutError) as error:
            logger.warning("%s was not unlocked: %s", manager.name, error or "no answer in time")

    async def _view(self, state: ClusterState) -> warren_pb2.AutolockView:
        members = await members_of(self._context, self._ask_member)
        view: warren_pb2.AutolockView = convert.to_message(autolock.view(state, members))
        return view


def _keys_of(state: ClusterState) -> SecretKeys:
    if state.secret_keys is None:
        raise FailedPrecondition("autolock is off: no manager is locked")
    return state.secret_keys


def _is_lock(state: ClusterState, lock_id: str) -> bool:
    keys = state.secret_keys
    return keys is not None and keys.lock is not None and keys.lock.id == lock_id
