"""Control, the keys that secrets are sealed with: Get, Rotate; and how they come to be.

Whether they are under a lock, and who can open that, is `autolock.py`'s subject.
"""

import logging

from warren.api import convert, warren_pb2
from warren.core import secrets
from warren.manager.authorization import Caller
from warren.manager.cluster import ManagerContext, cluster_of
from warren.model.errors import AlreadyExists
from warren.state.commands import AddSecretKey, SetSecretKeys
from warren.store import sealing

logger = logging.getLogger(__name__)


async def ensure(context: ManagerContext) -> None:
    """Made by whoever needs them first; another may have been quicker."""
    state = context.store.state
    if state.secret_keys is not None:
        return
    keys = sealing.new_keys(cluster_of(state).id, context.now())
    try:
        await context.store.commit(SetSecretKeys(keys=keys))
    except AlreadyExists:
        return


class SecretKeysApi:
    """Handlers of what concerns the keys that secrets are sealed with."""

    def __init__(self, context: ManagerContext) -> None:
        self._context = context

    async def get_secret_keys(
        self, request: warren_pb2.GetSecretKeysRequest, caller: Caller
    ) -> warren_pb2.SecretKeysView:
        state = await self._context.read(stale=request.stale)
        view: warren_pb2.SecretKeysView = convert.to_message(secrets.keys_view(state))
        return view

    async def rotate_secret_keys(
        self, request: warren_pb2.RotateSecretKeysRequest, caller: Caller
    ) -> warren_pb2.RotateSecretKeysResponse:
        """Asks only. A cluster without secrets has no key that could be old; one under way is
        gone on with, whoever asked for it."""
        state, now = await self._context.store.barrier(), self._context.now()
        if state.secret_keys is None:
            return warren_pb2.RotateSecretKeysResponse(changed=False)
        newest = state.secret_keys.keys[-1]
        name = caller.mark or self._context.new_id()
        under_way = len(state.secret_keys.keys) > 1 or newest.id == name
        old = now - newest.created_at >= request.older_than.ToTimedelta()
        if old and not under_way and not request.dry_run:
            kek = self._context.keyring.sealed(
                cluster_of(state).id, state.secret_keys, sealing.new_kek(name, now)
            )
            await self._context.store.commit(AddSecretKey(key=kek), key=caller.key())
            logger.info("%s asked for a new key of secrets", caller.name)
        view = secrets.keys_view(self._context.store.state)
        return warren_pb2.RotateSecretKeysResponse(
            changed=old or under_way, view=convert.to_message(view)
        )
