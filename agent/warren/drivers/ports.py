"""The Protocols that drivers implement: all that a worker can do to the world.

The verified fakes in `testing/` pass the same contract tests as the real drivers. Every method is
idempotent, so that a worker that died in the middle may repeat it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from warren.model.assignments import Peer, ServiceTraffic
from warren.model.instances import Instance as Instance
from warren.model.instances import InstanceState as InstanceState
from warren.model.nodes import HeldPort as HeldPort
from warren.model.rollouts import Analysis
from warren.model.secrets import FileKey, TaskFile
from warren.model.services import HealthCheck, PullPolicy, RegistryAuth
from warren.model.tasks import Task
from warren.model.volumes import Volume, VolumeUsage


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A file or directory of the host in a container."""

    source: Path
    target: str
    read_only: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class StartOrder:
    """All that is needed to start one attempt."""

    task: Task
    attempt: int
    node_name: str
    log_path: Path
    """Host path of the log file; its directory is made by the driver."""
    sandbox_id: str = ""
    """Of the attempt before: used again if it is alive, so that the task keeps its address."""
    dns_servers: tuple[str, ...] = ()
    """Empty: those of the host."""
    dns_domain: str = ""
    """Names without a dot are looked up in it."""
    mounts: tuple[Mount, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecOutput:
    """What a command run in a container left behind."""

    stdout: bytes
    stderr: bytes
    exit_code: int


class Runtime(Protocol):
    """A container runtime. Raises RuntimeUnavailable (transient), ImageUnavailable, DriverError."""

    async def version(self) -> str:
        """`containerd 1.7.24`."""

    async def instances(self) -> tuple[Instance, ...]:
        """Every instance of this cluster on the host, dead ones too."""

    async def ensure_image(self, image: str, policy: PullPolicy, auth: RegistryAuth | None) -> str:
        """Have the image here, and answer its digest. ImageUnavailable says why it cannot be."""

    async def start(self, order: StartOrder) -> Instance:
        """Sandbox (that of the order, or a new one), container, start. What a failed start made is
        removed before it raises."""

    async def stop(self, instance: Instance, *, signal: str, grace: timedelta) -> None:
        """Stop signal (empty: the image's), grace, kill. The dead container stays."""

    async def remove(self, instance: Instance) -> None:
        """Remove the container; sandbox and network with the last one in it. Nothing to remove is
        fine. Logs stay."""

    async def execute(
        self, instance: Instance, command: Sequence[str], timeout: timedelta
    ) -> ExecOutput:
        """Run a command in a running instance and wait. DeadlineExceeded when it takes longer."""

    async def reopen_log(self, instance: Instance) -> None:
        """Go on in a new file at the order's log path, after the old one was renamed. DriverError
        if the instance is not running."""

    async def close(self) -> None:
        """Let go of connections; touches no container."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshConfig:
    """What the mesh interface should be."""

    address: str
    """This node's mesh address."""
    mesh_network: str
    task_network: str
    """Routed into the mesh, but for this node's own subnet; empty: there is none, and only what
    peers have is routed."""
    subnet: str = ""
    """This node's own part of the task network: what no task answers for there is unreachable.
    Without a task network, a network behind this host."""
    listen_port: int
    peers: tuple[Peer, ...]
    mtu: int = 0
    """Of the interface; 0: what the underlay leaves."""
    keepalive_s: int = 25
    """How often to send to a silent peer; 0: never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerStatus:
    """A peer as the device knows it; during a rotation there may be two of one node."""

    public_key: str
    endpoint: str
    allowed_ips: tuple[str, ...]
    latest_handshake: datetime | None
    received_bytes: int = 0
    sent_bytes: int = 0


class Mesh(Protocol):
    """The WireGuard interface of this host, with its address and routes."""

    async def public_key(self) -> str:
        """Base64. The private key is made here if there is none, and never leaves the host."""

    async def next_public_key(self) -> str:
        """Of the key that this host will use next. Made beside the other if there is none."""

    async def switch_key(self) -> None:
        """The next key, if there is one, is the key from the next `apply` on."""

    async def mtu(self) -> int:
        """What the underlay leaves for packets of the mesh."""

    async def apply(self, config: MeshConfig) -> None:
        """Make it so, peer by peer: what is right already is not touched.

        To be called every few seconds, too: a peer that does not answer is tried at another of
        its endpoints. Peers that cannot be had are named in a DriverError, after all others were
        carried out.
        """

    async def peers(self) -> tuple[PeerStatus, ...]:
        """What the device says."""

    async def close(self) -> None:
        """Let go of sockets; the interface stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BalancerConfig:
    """What the rules of a host depend on, apart from the services."""

    node_id: str
    """Its own endpoints are local: ports in mode HOST, hairpins."""
    vip_network: str
    task_network: str
    mesh_interface: str
    gateway: str = ""
    """This host's address on the task network: the source of its own connections to virtual
    addresses."""
    ends_connections: bool = False
    """A task that is neither an endpoint nor draining is no more, unless it answers: who has a
    connection to it is told by a reset, as soon as it sends something."""


class Balancer(Protocol):
    """Virtual addresses and published ports in the kernel of this host."""

    @property
    def layout(self) -> str:
        """How the rules are written down on this host; empty before the first `apply`."""

    async def apply(
        self, config: BalancerConfig, services: Mapping[str, ServiceTraffic]
    ) -> tuple[HeldPort, ...]:
        """Make it so. Only the services that are not the same objects as at the last call are
        looked at; what changes, changes in one transaction; open connections go on, those to tasks
        that drain, too.

        To be called every few seconds, too: rules that somebody removed come back. A published
        port that a process of this host holds is left to it, and answered.
        """

    async def close(self) -> None:
        """Let go; the rules stay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """What came of one health check."""

    healthy: bool
    output: str = ""
    """What was wrong; one line, at most 500 characters."""
    known: bool = True
    """False: nothing was learnt of the task, because the container runtime does not answer."""


class Prober(Protocol):
    """Carries health checks out against a task's own address. Never raises: trouble is a result."""

    async def probe(self, check: HealthCheck, instance: Instance, port: int) -> ProbeResult:
        """One check, bounded by its timeout. `port` stands for a port of 0 in the check."""

    async def close(self) -> None:
        """Let go of connections."""


class Examiner(Protocol):
    """Carries the analyses of rollouts out, from a manager. Never raises: trouble is a result."""

    async def examine(self, analysis: Analysis, address: str, port: int) -> ProbeResult:
        """One http or prometheus analysis, bounded by its timeout. `address` is the task's, and
        `port` stands for a port of 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolverConfig:
    """What the name server of a host depends on, apart from the services."""

    domain: str
    listen: tuple[str, ...]
    """Addresses it answers on."""
    allow: tuple[str, ...]
    """Networks that may ask."""
    forwarders: tuple[str, ...] = ()
    """Empty: those of the host's own resolv.conf."""


class Resolver(Protocol):
    """The name server of this host: services by name, everything else forwarded."""

    async def apply(self, config: ResolverConfig, names: Mapping[str, tuple[str, ...]]) -> None:
        """Make it so; `names` are the records of each service, as `core/dns.py` writes them. What
        is the same object as at the last call is not looked at. A name changes as a whole: no
        question is answered from half of a change."""

    async def close(self) -> None:
        """Let go; it goes on answering."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedFile:
    """A file as a task sees it."""

    path: str
    """In the container, whole."""
    data: bytes = field(repr=False)
    uid: int = 0
    gid: int = 0
    mode: int = 0o400


class TaskFiles(Protocol):
    """Secrets and configs on this host: what its tasks may need, and what is placed for them.

    Secrets, and all that is placed, are in memory only; DriverError where they would not be.
    """

    def kept(self) -> tuple[TaskFile, ...]:
        """What a worker before this one has kept. After a reboot, no secrets."""

    def keep(self, file: TaskFile) -> None:
        """For workers to come."""

    def drop(self, key: FileKey) -> None:
        """Keep it no longer."""

    def place(self, task_id: str, files: Sequence[PlacedFile]) -> tuple[Mount, ...]:
        """Have these files for the task; answers how its containers get them. A container that has
        them already keeps them, so this may be repeated while one runs."""

    def remove(self, task_id: str) -> None:
        """All that was placed for the task is gone."""

    def task_ids(self) -> frozenset[str]:
        """Tasks for which something is placed."""


class VolumeDriver(Protocol):
    """Volumes of one kind on this host. Raises DriverError.

    One that is not Warren's own is a class named by an entry point of the group
    `warren.volume_drivers`, which is called with the directory that its volumes may be under. It is
    right when `warren.testing.volume_contract` holds for it.
    """

    async def mount(self, volume: Volume) -> Path:
        """Have the volume here, made if there is none, and answer its directory. What is in it
        stays as it is, its owner and mode too."""

    async def unmount(self, volume: Volume) -> None:
        """No task of this host has it any more. What is in it stays."""

    async def delete(self, volume: Volume) -> None:
        """Its data is gone for good, as far as it is the driver's to delete. Only called when a
        user has removed the volume."""

    async def measure(self, volume: Volume) -> VolumeUsage | None:
        """How large it is. None: nothing of it is here."""


class HostMounts(Protocol):
    """File systems mounted on this host, where its container runtime sees them."""

    async def mount(self, kind: str, source: str, target: Path, options: Sequence[str]) -> None:
        """Have it mounted there; a mount that is there already stays as it is."""

    async def unmount(self, target: Path) -> None:
        """Nothing is mounted there, and the directory is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MountDrivers:
    """All that gives tasks of this host their directories."""

    volumes: Mapping[str, VolumeDriver]
    """By name."""
    mounts: HostMounts
    mounts_dir: Path
    """Where the memory of tasks is mounted."""
    bind_paths: tuple[str, ...] = ()
    """What the host's owner lets tasks mount, with all below."""


class TaskNetwork(Protocol):
    """Addresses for tasks on this host."""

    async def configure(self, subnet: str, mtu: int) -> None:
        """Write the CNI configuration for `subnet`, if it differs, and switch on IP forwarding."""
