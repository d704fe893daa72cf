"""What the API answers: stored objects together with what can be computed from them.

Views are computed by the managers at each read (`core/views.py`) and never stored.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from warren.model.clusters import ClusterSpec
from warren.model.nodes import Node, NodeMesh, NodeRole, NodeState
from warren.model.rollouts import Pin, Rollout, Strategy
from warren.model.secrets import ConfigSpec, KeyLock, SecretSpec
from warren.model.services import Bytes, Revision, Service, ServiceMode, ServiceSpec
from warren.model.tasks import Task
from warren.model.volumes import Volume, VolumeSpec, VolumeUsage


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStatus:
    """How far a service is. All counts are of tasks."""

    desired: int
    running: int
    """Ready tasks of any revision: they run, and are healthy where there is a check."""
    up_to_date: int
    """Ready tasks of the current revision."""
    failing: int
    """Wanted tasks of the current revision that are not ready because they failed or are
    unhealthy, or that failed for good."""
    converged: bool
    """`desired` tasks of the current revision are ready, and there are no others."""
    converged_since: datetime | None = None
    """Start of the youngest task's run, while converged."""
    reason: str = ""
    """One line: why it has not converged, in the user's words."""
    warnings: tuple[str, ...] = ()
    """What it does not get although it runs: a published port that a node's host holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailingTask:
    """A task of the new revision that speaks against it."""

    name: str
    task_id: str
    node: str
    message: str
    """What it did wrong, with `(3 times)` and the like."""
    last_log: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutView:
    """A rollout with what can be seen of it. Counts are of tasks, but for `replicas`."""

    service: str
    rollout: Rollout
    image_before: str = ""
    image_after: str = ""
    replicas: int = 0
    tasks_new: int = 0
    """Wanted tasks of the new revision; `ready_new` of them are ready."""
    ready_new: int = 0
    tasks_old: int = 0
    ready_old: int = 0
    served: int = 0
    """Slots with a ready task: the capacity."""
    min_healthy: int = 0
    """Slots that it leaves served."""
    weight: int | None = None
    """Share of the traffic that the new revision has at this moment, in percent; None: there is no
    task ready that could have any."""
    waiting_for: str = ""
    """One line: what has to happen next."""
    until: datetime | None = None
    """When what it waits for comes by itself, if time alone brings it."""
    deadline: datetime | None = None
    """Without progress until then, the revision is bad."""
    failing: tuple[FailingTask, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionView:
    """A revision that is kept, and what came of it."""

    revision: Revision
    current: bool = False
    """The service shall have this one."""
    tasks: int = 0
    """Wanted tasks of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceHistory:
    """A service's kept revisions and its newest rollouts, both newest first."""

    service: str
    revisions: tuple[RevisionView, ...] = ()
    rollouts: tuple[Rollout, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanMove:
    """One slot in one step of a plan. `node` is where its new task goes, `from_node` where the old
    one is; either may be empty."""

    slot: int
    node: str = ""
    from_node: str = ""
    action: str = ""
    """`start`: a task beside the old ones, or in an empty slot. `replace`: the new one first.
    `stop_first`: the old one first. `stop`: only an end. `wait`: it cannot be placed."""
    message: str = ""
    """Why it waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanStep:
    """What happens together."""

    title: str
    """`batch 1`, `step 1`, `new set`, `smoke check`, `switch`, `finish`, `old set`."""
    weight: int | None = None
    """Share of the traffic that the new revision has after it, where it is divided."""
    moves: tuple[PlanMove, ...] = ()
    served: int = 0
    """Fewest slots with a ready task on the way."""
    waits_for: str = ""
    """What comes before the next step: `2m`, `promote`, `smoke check`, …"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutPlan:
    """How a rollout will go if all new tasks run: what the deciders do, told beforehand."""

    strategy: Strategy
    from_revision: int
    to_revision: int
    replicas: int
    steps: tuple[PlanStep, ...] = ()
    lowest: int = 0
    """Fewest slots with a ready task on the way."""
    min_healthy: int = 0
    room: str = ""
    """`cpus 2.1 of 4, memory 1.2 of 6 GiB free on 4 nodes: enough`."""
    enough: bool = True
    """There is room for every task of it."""
    blocks: tuple[str, ...] = ()
    """What would keep it from its end."""
    pin: Pin | None = None
    """Who reaches the new tasks from the first on."""
    mode: ServiceMode = ServiceMode.REPLICATED
    """GLOBAL: each slot is a node, the move's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutActed:
    """Answer to promote, pause, resume, abort and rollback; the same for a dry run."""

    changed: bool
    view: RolloutView
    plan: tuple[str, ...] = ()
    """Of a rollback to an earlier revision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceView:
    """A service with its tasks: wanted ones first, by slot, then history, newest first."""

    service: Service
    status: ServiceStatus
    tasks: tuple[Task, ...] = ()
    node_names: tuple[str, ...] = ()
    """Name of the node of each task, in the order of `tasks`; empty text where unassigned, and
    `(removed node <id>)` where the node has left the cluster."""
    rollout: RolloutView | None = None
    """The newest one, also when it has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberView:
    """A manager as a member of the replicated log."""

    node_id: str
    voter: bool = False
    """It counts for majorities; False while it catches up, or after a demotion."""
    answered: bool = False
    """The figures below are its own; otherwise only `lag` is known, by the leader."""
    term: int = 0
    last_index: int = 0
    """Newest entry of its log."""
    commit_index: int = 0
    applied_index: int = 0
    lag: int = 0
    """Entries that the leader has and it has not, as the leader knows."""
    snapshot_index: int = 0
    snapshot_bytes: int = 0
    journal_bytes: int = 0
    sync_p50: timedelta = timedelta()
    """Of the last thousand syncs of its journal."""
    sync_p99: timedelta = timedelta()
    elections_won: int = 0
    """Since its daemon started."""
    locked: bool = False
    """It cannot open secrets until it is unlocked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """A node with what runs on it."""

    node: Node
    leader: bool = False
    reachable: bool = False
    """It is in Raft contact with the leader; meaningful for managers."""
    tasks: int = 0
    """Wanted tasks."""
    reserved_cpus: float = 0.0
    reserved_memory: Bytes = Bytes(0)
    member: MemberView | None = None
    """Only of managers, and only when it was asked for (`GetClusterRequest.members`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterView:
    """The cluster at a glance."""

    id: str
    spec: ClusterSpec
    version: int
    created_at: datetime
    leader: str = ""
    """Name of the leading manager."""
    managers: tuple[NodeView, ...] = ()
    nodes: int = 0
    nodes_ready: int = 0
    services: int = 0
    tasks_running: int = 0
    term: int = 0
    index: int = 0
    ca_digest: str = ""
    """SHA-256 of the CA certificate (DER), hexadecimal."""
    warren: str = ""
    """Version of the answering manager."""
    autolock: bool = False
    """A manager that starts is locked until it is given the passphrase."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshLink:
    """The way from one node to another through the mesh, as the first measured it."""

    source: str
    """Name of the node, as `target`."""
    target: str
    reachable: bool = False
    latency: timedelta = timedelta()
    """There and back, the shortest of a few; 0 when it is not reachable."""
    mtu: int = 0
    """The largest packet that passes."""
    handshake_age: timedelta | None = None
    """None: there never was one."""
    endpoint: str = ""
    """Where packets to the target go."""
    received_bytes: int = 0
    sent_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshNodeView:
    """A node's part in the mesh."""

    name: str
    mesh: NodeMesh
    state: NodeState
    mtu: int = 0
    """What its underlay leaves; 0: not known."""
    trouble: str = ""
    """Why it measured nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshView:
    """The mesh, measured from every node to every other. Nodes by name; links by source, target."""

    mtu: int
    """That all nodes use."""
    nodes: tuple[MeshNodeView, ...] = ()
    links: tuple[MeshLink, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One difference between two specs, as text for people; secrets are `(hidden)`."""

    path: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceApplied:
    """Answer to an Apply of a service; the same for a dry run."""

    changed: bool
    before: ServiceSpec | None
    after: ServiceSpec
    changes: tuple[Change, ...] = ()
    plan: tuple[str, ...] = ()
    """Lines that say what happens to tasks: which slot, on which node, in which order."""
    version: int = 0
    revision: int = 0
    rollout: str = ""
    """Id of the rollout that the change began, or that is under way; empty: there is none."""
    rollout_plan: RolloutPlan | None = None
    """Where the change begins a rollout: what `plan` says, as data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretVersionView:
    """A version of a secret; never its value."""

    number: int
    created_at: datetime
    size: int
    services: tuple[str, ...] = ()
    """Those that have it, or could go back to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretView:
    """A secret as reads answer it."""

    spec: SecretSpec
    version: int
    created_at: datetime
    updated_at: datetime
    versions: tuple[SecretVersionView, ...]
    """By number; the last is the newest."""
    services: tuple[str, ...] = ()
    """Those that need it: while there are some, it cannot be removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretKeysView:
    """What secrets are sealed with; never a key."""

    id: str
    """Of the newest key-encryption key."""
    created_at: datetime
    versions: int
    """Of all secrets."""
    left: int
    """Of what is sealed, what is still wrapped by an older key: a rotation is under way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerLock:
    """A manager under autolock."""

    name: str
    answered: bool
    """If not, whether it is locked is not known."""
    locked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AutolockView:
    """Whether autolock is on, and who is locked."""

    cluster_id: str
    lock: KeyLock | None = None
    """None: it is off. Without the passphrase it opens nothing."""
    managers: tuple[ManagerLock, ...] = ()
    """By name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigVersionView:
    """A version of a config."""

    number: int
    created_at: datetime
    data: bytes = field(repr=False)
    services: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigView:
    """A config as reads answer it."""

    spec: ConfigSpec
    version: int
    created_at: datetime
    updated_at: datetime
    versions: tuple[ConfigVersionView, ...]
    services: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretApplied:
    """Answer to an Apply of a secret; the same for a dry run."""

    changed: bool
    before: SecretSpec | None
    after: SecretSpec
    changes: tuple[Change, ...] = ()
    version: int = 0
    number: int = 0
    """Of the newest version."""
    rollouts: Mapping[str, str] = field(default_factory=dict)
    """Ids of the rollouts that the new version begins, by service."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigApplied:
    """Answer to an Apply of a config; the same for a dry run."""

    changed: bool
    before: ConfigSpec | None
    after: ConfigSpec
    changes: tuple[Change, ...] = ()
    version: int = 0
    number: int = 0
    rollouts: Mapping[str, str] = field(default_factory=dict)
    data_before: bytes = field(default=b"", repr=False)
    data_after: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeView:
    """A volume with who has it, and how large it is."""

    volume: Volume
    services: tuple[str, ...] = ()
    """Those that use it, by name: they keep it from being removed."""
    tasks: tuple[str, ...] = ()
    """Names of the tasks that have it now."""
    usage: VolumeUsage | None = None
    """As its node answers; None: it was not asked, does not answer, or nothing is there yet."""
    trouble: str = ""
    """Why no task can have it now, and what helps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeApplied:
    """Answer to an Apply of a volume, and to its dry run."""

    changed: bool
    before: VolumeSpec | None
    after: VolumeSpec
    changes: tuple[Change, ...] = ()
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinTokenView:
    """A join token without its secret; `token` is filled only in the answer to its creation."""

    id: str
    role: NodeRole
    created_at: datetime
    expires_at: datetime
    token: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupHead:
    """What a backup is of. It can be read without the passphrase, so it holds no secret."""

    cluster: str
    """The cluster's name."""
    cluster_id: str
    created_at: datetime
    index: int
    """Of the state in it: every command up to that one is."""
    nodes: int
    services: int
    commands_version: int
    """Of the newest command set that the manager knew which gave it."""
    warren: str
    """Version of that manager."""
