"""Commands: every change that can be made to the replicated state.

Each is proposed by one component, named in its docstring; times and ids are chosen by the proposer.
The wire form is `warren.v1.Command` (a oneof of the same names).
"""

from dataclasses import dataclass
from datetime import datetime

from warren.model.clusters import Cluster, ClusterSpec, JoinToken
from warren.model.nodes import HeldPort, Node, NodeDescription, NodeSpec, NodeStatus
from warren.model.rollouts import AnalysisRecord, Rollout
from warren.model.secrets import (
    ConfigSpec,
    ConfigVersion,
    KeyEncryptionKey,
    KeyLock,
    SecretKeys,
    SecretSpec,
    SecretVersion,
    WrappedKey,
)
from warren.model.services import ServiceSpec
from warren.model.tasks import DesiredState, Task, TaskStatus
from warren.model.volumes import VolumeSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateCluster:
    """The first command of a log. By the first manager."""

    cluster: Cluster
    node: Node


@dataclass(frozen=True, slots=True, kw_only=True)
class PutClusterSpec:
    """Change settings. By the API."""

    spec: ClusterSpec
    expected_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PutService:
    """Create or change a service. By the API. `expected_version` 0: it must not exist."""

    spec: ServiceSpec
    expected_version: int
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveService:
    """Mark a service as removing. By the API."""

    name: str
    expected_version: int
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetService:
    """Drop a removing service of which no task lives, and its ended tasks. By the reaper."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AddNode:
    """Admit a node. By the API, after it checked a join token."""

    node: Node


@dataclass(frozen=True, slots=True, kw_only=True)
class PutNodeSpec:
    """Change what the user wants of a node. By the API."""

    node_id: str
    spec: NodeSpec
    expected_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SetNodeDescription:
    """Record what a host is. By the dispatcher, for its worker."""

    node_id: str
    description: NodeDescription


@dataclass(frozen=True, slots=True, kw_only=True)
class SetNodeStatus:
    """Record whether a node is there. By the leader's node loop."""

    node_id: str
    status: NodeStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class SetNodePublicKey:
    """Record a node's new mesh key or endpoint. By the dispatcher, for its worker."""

    node_id: str
    public_key: str
    endpoint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetNodeSeenAddress:
    """Record where a node's worker comes from. By the dispatcher."""

    node_id: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestKeyRotation:
    """Ask a node for a new mesh key. By the API. Asked for again while under way: nothing new."""

    node_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferNodeKey:
    """Make known which mesh key a node will use next. By the dispatcher, for its worker."""

    node_id: str
    public_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowKeySwitch:
    """Let a node use the key that it offered, as its peers know it. By the leader."""

    node_id: str
    public_key: str
    """The key that was offered when this was decided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishKeyRotation:
    """Record that a node uses the key that it offered. By the dispatcher, for its worker."""

    node_id: str
    public_key: str
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SetHeldPorts:
    """Record which published ports a node leaves to its host. By the dispatcher, for its worker."""

    node_id: str
    ports: tuple[HeldPort, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveNode:
    """Forget a node; its tasks are lost. By the API."""

    node_id: str
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateTask:
    """A new task, PENDING. By the orchestrator."""

    task: Task


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignTask:
    """Give a pending task its node. By the scheduler."""

    task_id: str
    node_id: str
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SetTaskDesired:
    """Say what is wanted of a task. By the orchestrator; STOPPED after DRAINING by the drainer."""

    task_id: str
    desired: DesiredState
    now: datetime | None = None
    """Given with DRAINING."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawTask:
    """Note that no node that answers sends the draining task connections. By the drainer."""

    task_id: str
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SetServiceVip:
    """Give a service its virtual address, once. By the leader, before its first task."""

    name: str
    vip: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetTaskStatus:
    """Record what a task is. By its worker; PENDING by the scheduler; LOST by the node loop."""

    task_id: str
    status: TaskStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaceTask:
    """Have another task take the place of one, which then stops. By the API."""

    task_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveTask:
    """Forget an ended task. By the reaper."""

    task_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AddJoinToken:
    """By the API."""

    token: JoinToken


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveJoinToken:
    """By the API, and by the reaper when it has expired."""

    token_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRollout:
    """Change a service, and have its tasks be of another revision. By the API. A rollout that is
    under way is superseded."""

    spec: ServiceSpec
    expected_version: int
    revision: int = 0
    """One that is kept, whose template `spec` has; 0: a new one."""
    rollout_id: str
    started_by: str = ""
    started_because: str = ""
    slots_before: int = 0
    """See `Rollout`."""
    rollback: bool = False
    """It is a way back: see `Rollout.rollback`."""
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SetRollout:
    """The next step of a rollout. By the leader, and by the API for users' acts.

    Where it turns back, the service's spec has the template of `from_revision` again.
    """

    service: str
    rollout: Rollout
    expected_version: int
    """Of the rollout."""
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordAnalysis:
    """What came of one analysis of a rollout. By the leader."""

    service: str
    rollout_id: str
    record: AnalysisRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class SetSecretKeys:
    """What secrets are sealed with, before the first of them. By the API. AlreadyExists where
    there are some."""

    keys: SecretKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class AddSecretKey:
    """A new key-encryption key: from now on it wraps what is new, and the leader reseals what is
    there. By the API. Refused while that goes on for another."""

    key: KeyEncryptionKey


@dataclass(frozen=True, slots=True, kw_only=True)
class LockSecretKeys:
    """The key-encryption keys under a lock, under another one, or under none. By the API.

    Conflict unless `expected` is the lock that there is, and `keys` begin with those that there
    are: only what seals them is another. A new key may follow, which the leader reseals for.
    """

    lock: KeyLock | None = None
    keys: tuple[KeyEncryptionKey, ...]
    expected: str = ""
    """Id of the lock that is replaced; empty: there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResealedSecret:
    """A version of a secret with the same value, sealed anew."""

    name: str
    version: SecretVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class ResealSecrets:
    """Some versions sealed with new data keys under the newest key-encryption key. By the leader.

    What was removed or resealed meanwhile is passed over. Keys that wrap nothing any more go.
    """

    secrets: tuple[ResealedSecret, ...] = ()
    hash_key: WrappedKey | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PutSecret:
    """Create or change a secret. By the API. `expected_version` 0: it must not exist.

    A new version begins a rollout of every service that follows it, in the same step: none can
    miss it, and none begins it twice.
    """

    spec: SecretSpec
    value: SecretVersion | None = None
    """None: the newest stays."""
    expected_version: int
    mark: str = ""
    """In the ids of the rollouts."""
    by: str = ""
    """Who begins them."""
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveSecret:
    """Remove a secret that nobody uses. By the API. `expected_version` 0: any."""

    name: str
    expected_version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PutConfig:
    """The same as `PutSecret`, of a config."""

    spec: ConfigSpec
    value: ConfigVersion | None = None
    expected_version: int
    mark: str = ""
    by: str = ""
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveConfig:
    """Remove a config that nobody uses. By the API. `expected_version` 0: any."""

    name: str
    expected_version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PutVolume:
    """Create or change a volume. By the API. `expected_version` 0: it must not exist."""

    spec: VolumeSpec
    id: str
    """Of a new one; one that exists keeps its own."""
    expected_version: int
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveVolume:
    """Remove a volume that nobody uses: its data is deleted on its node, and then it is forgotten.
    One that is on no node goes at once. By the API. `expected_version` 0: any."""

    name: str
    expected_version: int = 0
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetVolume:
    """Drop a removing volume whose data is gone. By the leader."""

    name: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseVolume:
    """Have a volume be on no node, and begin anew under another id; or on that node, with what is
    there. By the API. `expected_version` 0: any."""

    name: str
    id: str
    node: str = ""
    expected_version: int = 0
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Several commands as one entry. Each is applied or rejected on its own."""

    commands: "tuple[Command, ...]"


TaskCommand = (
    CreateTask
    | AssignTask
    | SetTaskDesired
    | WithdrawTask
    | SetTaskStatus
    | ReplaceTask
    | RemoveTask
)
"""Those that change one task, and nothing else; to assign one may fix where volumes are, too."""

Command = (
    CreateCluster
    | PutClusterSpec
    | PutService
    | RemoveService
    | ForgetService
    | AddNode
    | PutNodeSpec
    | SetNodeDescription
    | SetNodeStatus
    | SetNodePublicKey
    | RemoveNode
    | CreateTask
    | AssignTask
    | SetTaskDesired
    | SetTaskStatus
    | RemoveTask
    | AddJoinToken
    | RemoveJoinToken
    | Batch
    | WithdrawTask
    | SetServiceVip
    | SetNodeSeenAddress
    | RequestKeyRotation
    | OfferNodeKey
    | AllowKeySwitch
    | FinishKeyRotation
    | SetHeldPorts
    | ReplaceTask
    | StartRollout
    | SetRollout
    | RecordAnalysis
    | SetSecretKeys
    | PutSecret
    | RemoveSecret
    | PutConfig
    | RemoveConfig
    | AddSecretKey
    | ResealSecrets
    | PutVolume
    | RemoveVolume
    | ForgetVolume
    | ReleaseVolume
    | LockSecretKeys
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """The command changed the state, or found it already so."""

    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """The command was refused; the state is unchanged but for its index."""

    index: int
    reason: str
    """Name of a class in `model.errors`: `NotFound`, `Conflict`, `AlreadyExists`, …"""
    message: str


Outcome = Applied | Rejected
