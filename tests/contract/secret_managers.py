"""Three managers in this process, as far as secrets go: a real log over loopback, the API, the
resealer. For tests and figures of rotations that must outlive their leader."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from warren.api import convert, warren_pb2
from warren.bootstrap.node_files import Membership
from warren.config import Config
from warren.core import secrets
from warren.manager.authorization import ROOT
from warren.manager.autolock_api import AutolockApi
from warren.manager.cluster import ManagerContext
from warren.manager.resealer import Resealer
from warren.manager.secret_keys_api import SecretKeysApi
from warren.manager.secrets_api import SecretsApi
from warren.model.secrets import SecretSpec
from warren.state.commands import CreateCluster
from warren.state.versions import COMMANDS_VERSION
from warren.store.locking import OpenLock
from warren.store.log import LogMember
from warren.store.raft.engine import RaftLog
from warren.store.raft.raft_state import Timing
from warren.store.sealing import Sealer
from warren.store.store import Store
from warren.testing.builders import a_cluster, a_node

from tests.contract.raft_members import CLUSTER, a_config, a_pki, address, node_id

TIMEOUT = timedelta(seconds=60)
SLOW = Timing(heartbeat=0.2, election_min=4.0, election_max=8.0, quorum_check=5.0, hush=1.0)
"""For a machine that has other things to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretManager:
    """One of them."""

    log: RaftLog
    context: ManagerContext

    def open(self, name: str) -> list[bytes]:
        """All versions of a secret, as this manager can open them."""
        state = self.context.store.state
        assert state.secret_keys is not None
        keys = self.context.keyring.require_opened(CLUSTER, state.secret_keys)
        return [Sealer(CLUSTER, keys).open(name, v) for v in state.secrets[name].versions]

    def left(self) -> int:
        """What is still to be sealed anew."""
        return secrets.keys_view(self.context.store.state).left

    async def put(self, name: str, value: bytes) -> None:
        request = warren_pb2.ApplySecretRequest(
            spec=convert.to_message(SecretSpec(name=name)), value=value
        )
        await SecretsApi(self.context).apply_secret(request, ROOT)

    async def rotate(self) -> None:
        await SecretKeysApi(self.context).rotate_secret_keys(
            warren_pb2.RotateSecretKeysRequest(), ROOT
        )

    async def lock(self, opened: OpenLock) -> None:
        request = warren_pb2.ApplyAutolockRequest(
            lock=convert.to_message(opened.lock), key=opened.key
        )
        await AutolockApi(self.context).apply_autolock(request, ROOT)

    async def unlock(self, opened: OpenLock) -> None:
        request = warren_pb2.UnlockRequest(lock_id=opened.lock.id, key=opened.key)
        await AutolockApi(self.context).unlock_member(request, ROOT)

    async def reseal(self) -> None:
        """As the leader's loop does, until nothing is left; waits for others' steps."""
        resealer, store = Resealer(self.context), self.context.store
        while self.left():
            count = store.changes.count
            if not await resealer.step():
                await store.changes.wait_newer(count)


@asynccontextmanager
async def three_managers(
    directory: Path, port: int, timing: Timing = SLOW
) -> AsyncIterator[list[SecretManager]]:
    """A cluster of three; the first leads."""
    pki = a_pki(directory / "pki")
    made = []
    for number in (1, 2, 3):
        config = a_config(directory, number, pki, port=port, timing=timing)
        log = RaftLog(replace(config, commands_version=COMMANDS_VERSION), on_failure=_fail)
        membership = cast(Membership, SimpleNamespace(node_id=node_id(number), managers=()))
        context = ManagerContext(config=Config(), membership=membership, store=Store(log))
        made.append(SecretManager(log=log, context=context))
    try:
        for manager in made:
            await manager.context.store.start()
        first = made[0].context.store
        await wait_until(first, lambda: first.status.is_leader)
        cluster = replace(a_cluster(), id=CLUSTER)
        await first.commit(CreateCluster(cluster=cluster, node=a_node(node_id(1))))
        for number in (2, 3):
            member = LogMember(node_id=node_id(number), address=address(number, port))
            await first.add_member(member, TIMEOUT)
        yield made
    finally:
        for manager in made:
            await manager.context.store.stop()


def _fail(reason: str) -> None:
    raise AssertionError(reason)


async def wait_until(store: Store, condition: Callable[[], bool]) -> None:
    """Looked at whenever the store has something new."""
    async with asyncio.timeout(TIMEOUT.total_seconds()):
        while not condition():
            await store.changes.wait_newer(store.changes.count)
