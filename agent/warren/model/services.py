"""Services: what the user declares.

A `ServiceSpec` is written by users alone; the system never edits it. Its task template is the part
that, when changed, makes a new revision; `replicas`, `ports` and `labels` change in place, and the
mode is for life.
Field names are those of the manifest and of the Ansible module.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from enum import Enum
from operator import attrgetter
from typing import Annotated, NewType

from warren.model.checks import ExecCheck as ExecCheck
from warren.model.checks import HealthCheck as HealthCheck
from warren.model.checks import HttpCheck as HttpCheck
from warren.model.checks import TcpCheck as TcpCheck
from warren.model.constraints import DNS_LABEL, NotEmpty, Pattern, Range
from warren.model.rollouts import Rollout, UpdatePolicy
from warren.model.secrets import ConfigReference as ConfigReference
from warren.model.secrets import SecretReference as SecretReference

Bytes = NewType("Bytes", int)
"""A size in bytes; manifests write `256MiB`."""

Secret = NewType("Secret", str)
"""Text that is never shown: reads answer `(hidden)` instead."""

HIDDEN = "(hidden)"
_SECRET_NAME = Pattern(rf"({DNS_LABEL.regex})?", "the name of a secret")


class Protocol(Enum):
    """Transport protocol of a port."""

    TCP = "tcp"
    UDP = "udp"


class PortMode(Enum):
    """MESH: every node answers and balances over all tasks. HOST: only a node that runs one."""

    MESH = "mesh"
    HOST = "host"


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A port of the service's tasks. `published` 0 means: not published outside the cluster."""

    target: Annotated[int, Range(1, 65535)]
    published: Annotated[int, Range(0, 65535)] = 0
    protocol: Protocol = Protocol.TCP
    mode: PortMode = PortMode.MESH
    name: Annotated[str, Pattern(r"([a-z0-9]([a-z0-9-]*[a-z0-9])?)?", "a DNS label")] = ""


class ServiceMode(Enum):
    """REPLICATED: so many tasks, on whichever nodes. GLOBAL: one on each node that may have it."""

    REPLICATED = "replicated"
    GLOBAL = "global"


class Affinity(Enum):
    """NONE: each new connection to a virtual address goes to any task, by weight. SOURCE: those of
    one client address go to the same task, as long as the set of tasks stays the same."""

    NONE = "none"
    SOURCE = "source"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceLimits:
    """Most that a task may use. Zero means: no limit."""

    memory: Bytes = Bytes(0)
    cpus: Annotated[float, Range(0, 1024)] = 0.0
    pids: Annotated[int, Range(0, 4_194_304)] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceReservations:
    """What the scheduler sets aside for a task on its node."""

    memory: Bytes = Bytes(0)
    cpus: Annotated[float, Range(0, 1024)] = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """A reservation may not exceed its limit."""

    limits: ResourceLimits = ResourceLimits()
    reservations: ResourceReservations = ResourceReservations()


class RestartCondition(Enum):
    """When a task whose process ended is started again."""

    ANY = "any"
    ON_FAILURE = "on_failure"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """Restart on the same node: wait `delay`, then twice that, … up to `max_delay`.

    `max_attempts` restarts within `window` and the task has failed for good; 0 means no end.
    A run that lasts longer than `window` clears the count and the delay.
    """

    condition: RestartCondition = RestartCondition.ANY
    delay: timedelta = timedelta(seconds=1)
    backoff: Annotated[float, Range(1, 10)] = 2.0
    max_delay: timedelta = timedelta(minutes=1)
    max_attempts: Annotated[int, Range(0, 1_000_000)] = 0
    window: timedelta = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where tasks may run. A constraint reads `node.labels.zone == north` (or `!=`).

    Left sides: `node.name`, `node.role`, `node.labels.<key>`, `node.arch`. `max_per_node` 0: any.
    """

    constraints: tuple[str, ...] = ()
    max_per_node: Annotated[int, Range(0, 10_000)] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryAuth:
    """Credentials for the image's registry. The password is never read back."""

    username: Annotated[str, NotEmpty()]
    password: Secret = field(repr=False)


class PullPolicy(Enum):
    """When the image is pulled before a start."""

    MISSING = "missing"
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTemplate:
    """The part of a service that makes a revision. Immutable once a task has it."""

    image: Annotated[str, NotEmpty()]
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    working_dir: str = ""
    resources: Resources = Resources()
    restart: RestartPolicy = RestartPolicy()
    placement: Placement = Placement()
    pull: PullPolicy = PullPolicy.MISSING
    registry_auth: RegistryAuth | None = None
    """As it was stored by versions before `registry_secret`; not taken any more."""
    stop_signal: str = ""
    stop_grace_period: timedelta = timedelta(seconds=10)
    drain_delay: timedelta = timedelta(seconds=2)
    """Between the moment when no node sends new connections and the stop signal; only for
    services with ports."""
    health: HealthCheck | None = None
    secrets: tuple[SecretReference, ...] = ()
    configs: tuple[ConfigReference, ...] = ()
    registry_secret: Annotated[str, _SECRET_NAME] = ""
    """Name of the secret that the image is pulled with, in its newest version at each pull; see
    `model/registries.py` for what it holds. Empty: none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSpec(TaskTemplate):
    """A service as its user declares it. Written by users only."""

    name: Annotated[str, DNS_LABEL]
    mode: ServiceMode = ServiceMode.REPLICATED
    """For life."""
    replicas: Annotated[int, Range(0, 10_000)] = 1
    """Says nothing where the mode is GLOBAL."""
    ports: tuple[Port, ...] = ()
    affinity: Affinity = Affinity.NONE
    labels: Mapping[str, str] = field(default_factory=dict)
    update: UpdatePolicy | None = None
    """None: as the defaults of `UpdatePolicy` say."""

    @property
    def is_global(self) -> bool:
        """Each of its slots is a node."""
        return self.mode is ServiceMode.GLOBAL

    @property
    def policy(self) -> UpdatePolicy:
        """How the next revision comes into use."""
        return self.update or UpdatePolicy()


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """One immutable version of a service's task template, kept so that it can come back."""

    number: int
    template: TaskTemplate
    created_at: datetime
    completed_at: datetime | None = None
    """When a rollout to it was last complete."""
    reason: str = ""
    """Why the last rollout to it was rolled back; empty: it was not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A service as it is stored. `spec` by users; all else by the replicated state's `apply`.

    A rollback puts the template of an earlier revision back into the spec: that is a user's order,
    too, given there and then or by `update.on_failure`.
    """

    spec: ServiceSpec
    version: int
    """Log index of the last change of `spec`: what `expected_version` is compared with."""
    revision: int
    """Counts changes of the task template, from 1."""
    created_at: datetime
    updated_at: datetime
    removing: bool = False
    """The user deleted it; it goes when its last task has stopped."""
    vip: str = ""
    """Virtual address, for life. Empty until the leader has given one."""
    revisions: tuple[Revision, ...] = ()
    """By number, the current one too. Empty until there is a second."""
    last_revision: int = 0
    """The highest number given so far, if rollouts gave any: no number is given twice."""
    rollouts: tuple[Rollout, ...] = ()
    """The newest few, by age. Only the last may be live."""

    @property
    def rollout(self) -> Rollout | None:
        """The newest one, which may have ended."""
        return self.rollouts[-1] if self.rollouts else None

    @property
    def live_rollout(self) -> Rollout | None:
        """The one that is under way."""
        newest = self.rollout
        return newest if newest is not None and newest.live else None


_TEMPLATE_FIELDS = tuple(field.name for field in fields(TaskTemplate))
_template_values = attrgetter(*_TEMPLATE_FIELDS)


def template_of(spec: ServiceSpec) -> TaskTemplate:
    """The task template within a service's spec."""
    return TaskTemplate(**dict(zip(_TEMPLATE_FIELDS, _template_values(spec), strict=True)))


def with_template(spec: ServiceSpec, template: TaskTemplate) -> ServiceSpec:
    """The spec with another task template, and all else as it was."""
    return replace(spec, **dict(zip(_TEMPLATE_FIELDS, _template_values(template), strict=True)))


def same_template(one: ServiceSpec, other: ServiceSpec) -> bool:
    """Both make the same revision."""
    return bool(_template_values(one) == _template_values(other))
