"""The calls that the manager in memory has answered by the real API: services' changes, rollouts.

Time passes while somebody looks: then the leader decides again, as it would at its wake-up times.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

from warren.api import warren_pb2
from warren.core import assignment
from warren.manager.authorization import OPERATOR, Caller
from warren.manager.autolock_api import AutolockApi
from warren.manager.cluster import ManagerContext
from warren.manager.configs_api import ConfigsApi
from warren.manager.planning import Planning
from warren.manager.resealer import Resealer
from warren.manager.rollouts_api import RolloutsApi
from warren.manager.secret_keys_api import SecretKeysApi
from warren.manager.secrets_api import SecretsApi
from warren.manager.services_api import ServicesApi
from warren.manager.sessions import Sessions
from warren.manager.volumes_api import VolumesApi
from warren.model.assignments import ManagerAddress
from warren.model.rollouts import RolloutState
from warren.model.views import MemberView
from warren.state import commands
from warren.state.cluster import ClusterState
from warren.store.locking import Keyring
from warren.store.log import LogMember, LogMetrics
from warren.testing.builders import counting_ids
from warren.testing.fake_log import FakeLog

USER = "alice"
MANAGERS = ("m1", "m2", "m3")
"""The first leads."""
_CALLER = Caller(name=USER, roles=frozenset({OPERATOR}))
_ENDED = tuple(
    warren_pb2.RolloutState.Value(f"ROLLOUT_STATE_{state.name}")
    for state in RolloutState
    if state.ended
)


class FakeApi:
    """The part of `FakeManager` that is the manager's own code."""

    state: ClusterState
    breaks_watches = 0
    """So many streams of rollouts end after their first message, as when a leader dies."""
    _answer: Callable[..., Any]
    _propose: Callable[..., int]
    _tick: Callable[[], None]
    _wait_for_change: Callable[[], None]

    def __init__(self) -> None:
        self.keyrings = {name: Keyring() for name in MANAGERS}
        context = cast(ManagerContext, _Context(self))
        self._services, self._rollouts = ServicesApi(context), RolloutsApi(context)
        self._secrets, self._configs = SecretsApi(context), ConfigsApi(context)
        self._secret_keys = SecretKeysApi(context)
        self._autolock = AutolockApi(context, self._ask_member, self._unlock_member)
        self._resealer = Resealer(context)
        self._volumes = VolumesApi(context, Sessions())
        self._new_rollout_id = counting_ids()

    def ApplyService(self, request: Any, context: Any) -> Any:  # noqa: N802 - names of RPCs
        return self._real("ApplyService", self._services.apply_service, request, context)

    def DeleteService(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._real("DeleteService", self._services.delete_service, request, context)

    def ApplySecret(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._real("ApplySecret", self._secrets.apply_secret, request, context)

    def GetSecret(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._real("GetSecret", self._secrets.get_secret, request, context)

    def DeleteSecret(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._real("DeleteSecret", self._secrets.delete_secret, request, context)

    def ListSecrets(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._real("ListSecrets", self._secrets.list_secrets, request, context)

    def RotateSecretKeys(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._real(
            "RotateSecretKeys", self._secret_keys.rotate_secret_keys, request, context
        )

    def GetSecretKeys(self, request: Any, context: Any) -> Any:  # noqa: N802
        """While somebody looks, the leader goes on."""
        asyncio.run(self._resealer.step())
        return self._real("GetSecretKeys", self._secret_keys.get_secret_keys, request, context)

    def GetAutolock(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._real("GetAutolock", self._autolock.get_autolock, request, context)

    def ApplyAutolock(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._real("ApplyAutolock", self._autolock.apply_autolock, request, context)

    def Unlock(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._real("Unlock", self._autolock.unlock, request, context)

    def restart_managers(self, *names: str) -> None:
        """They have forgotten what only their memory had."""
        self.keyrings |= {name: Keyring() for name in names}

    def locked(self) -> list[str]:
        """Managers that are."""
        keys = self.state.secret_keys
        return [name for name, ring in self.keyrings.items() if ring.is_locked(keys)]

    async def _ask_member(self, manager: ManagerAddress) -> MemberView:
        locked = manager.name in self.locked()
        return MemberView(node_id=manager.node_id, answered=True, locked=locked)

    async def _unlock_member(
        self, manager: ManagerAddress, request: warren_pb2.UnlockRequest
    ) -> None:
        assert self.state.secret_keys is not None
        self.keyrings[manager.name].unlock("c1", self.state.secret_keys, request.key)

    def ApplyConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._real("ApplyConfig", self._configs.apply_config, request, context)

    def GetConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._real("GetConfig", self._configs.get_config, request, context)

    def DeleteConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._real("DeleteConfig", self._configs.delete_config, request, context)

    def ListConfigs(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._real("ListConfigs", self._configs.list_configs, request, context)

    def ApplyVolume(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._real("ApplyVolume", self._volumes.apply_volume, request, context)

    def GetVolume(self, request: Any, context: Any) -> Any:  # noqa: N802
        """While somebody looks, nodes delete the data of what is removed."""
        found = self.state.volumes.get(request.name)
        if found is not None and found.removing:
            self._propose(commands.ForgetVolume(name=found.spec.name, id=found.id))
        return self._real("GetVolume", self._volumes.get_volume, request, context)

    def ListVolumes(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._real("ListVolumes", self._volumes.list_volumes, request, context)

    def DeleteVolume(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._real("DeleteVolume", self._volumes.delete_volume, request, context)

    def ReleaseVolume(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._real("ReleaseVolume", self._volumes.release_volume, request, context)

    def GetRollout(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._real("GetRollout", self._rollouts.get_rollout, request, context)

    def ListRollouts(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._real("ListRollouts", self._rollouts.list_rollouts, request, context)

    def GetHistory(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._real("GetHistory", self._rollouts.get_history, request, context)

    def PromoteRollout(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._real("PromoteRollout", self._rollouts.promote_rollout, request, context)

    def PauseRollout(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._real("PauseRollout", self._rollouts.pause_rollout, request, context)

    def ResumeRollout(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._real("ResumeRollout", self._rollouts.resume_rollout, request, context)

    def AbortRollout(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._real("AbortRollout", self._rollouts.abort_rollout, request, context)

    def RollBackService(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._real("RollBackService", self._rollouts.roll_back_service, request, context)

    def WatchRollout(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        sent, name = None, "WatchRollout"
        while context.is_active():
            self._tick()
            view = self._real(name, self._rollouts.get_rollout, request, context)
            if view != sent:
                yield view
                sent, name = view, ""
                if self.breaks_watches:
                    self.breaks_watches -= 1
                    return
            if view.rollout.state in _ENDED:
                return
            self._wait_for_change()

    def _real(
        self,
        name: str,
        handler: Callable[[Any, Caller], Coroutine[Any, Any, Any]],
        request: Any,
        context: Any,
    ) -> Any:
        return self._answer(name, context, lambda: asyncio.run(handler(request, _CALLER)))


class _Context:
    """What the API needs of a `ManagerContext`, and of its store."""

    def __init__(self, manager: FakeApi) -> None:
        self._manager = manager
        self.store = self
        self.planning = Planning()
        self.membership = SimpleNamespace(node_id=MANAGERS[0])

    @property
    def keyring(self) -> Keyring:
        return self._manager.keyrings[MANAGERS[0]]

    def managers(self) -> tuple[ManagerAddress, ...]:
        assert self.state.cluster is not None
        spec = self.state.cluster.spec
        return tuple(assignment.manager_address(spec, node) for node in self.state.managers())

    async def metrics(self) -> LogMetrics:
        log = FakeLog(node_id=MANAGERS[0])
        log.seat(*(LogMember(node_id=each.node_id, address=each.raft) for each in self.managers()))
        return await log.metrics()

    def wake(self) -> None:
        """Nobody waits."""

    @property
    def state(self) -> ClusterState:
        return self._manager.state

    def now(self) -> datetime:
        return datetime.now(UTC)

    def new_id(self) -> str:
        return self._manager._new_rollout_id()

    async def read(self, *, stale: bool) -> ClusterState:
        return self.state

    async def barrier(self) -> ClusterState:
        return self.state

    async def propose(self, command: commands.Command) -> "_Committed":
        return await self.commit(command)

    async def commit(self, command: commands.Command, *, key: str = "") -> "_Committed":
        return _Committed(index=self._manager._propose(command))


@dataclass(frozen=True)
class _Committed:
    index: int
