"""Versions of the command set: which one a manager needs to know to apply a command.

Managers of two versions of Warren run side by side while a cluster is upgraded, and all must make
the same of the log. So a command, and a field of what commands carry, that older managers lack is
listed here with the version it came with; `store/` puts that into the log with the command,
proposes it only when all members know it, and lets a member that does not know it stop. What of a
state such commands leave behind is listed, too: a log that begins with a state has no commands that
would say it. What was listed once is never changed: another meaning is another command.
"""

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

from warren.model.nodes import NodeDescription
from warren.model.rollouts import Rollout, UpdatePolicy
from warren.model.secrets import (
    ConfigReference,
    KeyEncryptionKey,
    KeyLock,
    SecretKeys,
    SecretReference,
    VersionedConfig,
    VersionedSecret,
)
from warren.model.services import Revision, ServiceSpec, TaskTemplate
from warren.model.tasks import Task
from warren.model.volumes import MountSpec, Volume
from warren.state.cluster import ClusterState
from warren.state.commands import (
    AddSecretKey,
    Command,
    ForgetVolume,
    LockSecretKeys,
    PutConfig,
    PutSecret,
    PutVolume,
    RecordAnalysis,
    ReleaseVolume,
    RemoveConfig,
    RemoveSecret,
    RemoveVolume,
    ResealSecrets,
    SetRollout,
    SetSecretKeys,
    StartRollout,
)

COMMANDS_VERSION = 4
"""The newest that this manager knows: raised together with an addition below."""
SINCE: Mapping[type, int] = {
    StartRollout: 2,
    SetRollout: 2,
    RecordAnalysis: 2,
    Rollout: 2,
    Revision: 2,
    SetSecretKeys: 3,
    AddSecretKey: 3,
    ResealSecrets: 3,
    PutSecret: 3,
    RemoveSecret: 3,
    PutConfig: 3,
    RemoveConfig: 3,
    SecretReference: 3,
    ConfigReference: 3,
    SecretKeys: 3,
    VersionedSecret: 3,
    VersionedConfig: 3,
    PutVolume: 4,
    RemoveVolume: 4,
    ForgetVolume: 4,
    ReleaseVolume: 4,
    MountSpec: 4,
    Volume: 4,
    LockSecretKeys: 4,
    KeyLock: 4,
}
"""Commands, and other types inside of them or of the state, that came after version 1."""
FIELDS_SINCE: Mapping[tuple[type, str], int] = {
    (ServiceSpec, "update"): 2,
    (UpdatePolicy, "pin"): 3,
    (ServiceSpec, "mode"): 3,
    (Task, "node"): 3,
    (StartRollout, "started_because"): 3,
    (StartRollout, "slots_before"): 3,
    (Rollout, "started_because"): 3,
    (Rollout, "slots_before"): 3,
    (NodeDescription, "volume_drivers"): 4,
    (NodeDescription, "bind_paths"): 4,
    (KeyEncryptionKey, "locked"): 4,
    (SecretKeys, "lock"): 4,
    (ServiceSpec, "registry_secret"): 4,
    (TaskTemplate, "registry_secret"): 4,
}
"""Fields that came after their type; they count only where they are not at their default."""


def version_of(value: Command | ClusterState) -> int:
    """The oldest command set that knows all of it."""
    return _newest(value)


def _newest(value: object) -> int:
    if isinstance(value, Mapping):
        return max((_newest(item) for item in value.values()), default=1)
    if isinstance(value, tuple | frozenset):
        return max((_newest(item) for item in value), default=1)
    if not is_dataclass(value) or isinstance(value, type):
        return 1
    newest = SINCE.get(type(value), 1)
    for field in fields(value):
        inside = getattr(value, field.name)
        since = FIELDS_SINCE.get((type(value), field.name), 1)
        if since > newest and inside != _default(field):
            newest = since
        newest = max(newest, _newest(inside))
    return newest


def _default(field: "Field[Any]") -> object:
    return field.default if field.default_factory is MISSING else field.default_factory()
