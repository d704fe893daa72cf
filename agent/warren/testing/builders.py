"""Builders: objects with everything that a test does not care about filled in.

`a_task(slot=2)`, `a_node("w1")`, `a_state(...)`: what a test names is what it is about. All times
are offsets from `NOON`, so that failures read well.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from warren.model.clusters import Cluster, ClusterSpec, JoinToken
from warren.model.nodes import (
    Availability,
    Node,
    NodeDescription,
    NodeMesh,
    NodeRole,
    NodeSpec,
    NodeState,
    NodeStatus,
)
from warren.model.rollouts import Rollout, UpdatePolicy
from warren.model.secrets import (
    ConfigSpec,
    ConfigVersion,
    SecretSpec,
    SecretVersion,
    VersionedConfig,
    VersionedSecret,
    WrappedKey,
)
from warren.model.services import Bytes, Revision, Secret, Service, ServiceSpec, template_of
from warren.model.tasks import DesiredState, Task, TaskState, TaskStatus
from warren.model.volumes import MountSpec, Volume, VolumeSpec
from warren.state.cluster import ClusterState

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
GIB = 2**30


def at(seconds: float) -> datetime:
    """So many seconds after NOON."""
    return NOON + timedelta(seconds=seconds)


def counting_ids() -> Callable[[], str]:
    """`00001`, `00002`, …: a `new_id` without chance."""
    count = 0

    def new_id() -> str:
        nonlocal count
        count += 1
        return f"{count:05}"

    return new_id


def a_cluster(**settings: Any) -> Cluster:
    """A cluster; `settings` are fields of its spec. Nodes are down after 6 s."""
    return Cluster(
        id="c1",
        spec=ClusterSpec(**{"node_down_after": timedelta(seconds=6), **settings}),
        created_at=NOON,
        ca_certificate="-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ca_key=Secret("key"),
    )


def a_node(
    name: str = "w1",
    *,
    number: int | None = None,
    state: NodeState = NodeState.READY,
    availability: Availability = Availability.ACTIVE,
    roles: tuple[NodeRole, ...] = (NodeRole.WORKER,),
    labels: Mapping[str, str] | None = None,
    cpus: float = 4.0,
    memory: int = 4 * GIB,
    architecture: str = "x86_64",
    volume_drivers: tuple[str, ...] = ("local",),
    bind_paths: tuple[str, ...] = (),
    message: str = "",
) -> Node:
    """A ready worker of 4 cpus and 4 GiB. Its id is its name; addresses follow its number."""
    digits = "".join(character for character in name if character.isdigit())
    number = number if number is not None else int(digits or 0)
    return Node(
        id=name,
        spec=NodeSpec(name=name, roles=roles, labels=labels or {}, availability=availability),
        description=NodeDescription(
            address=f"192.0.2.{number}",
            cpus=cpus,
            memory=Bytes(memory),
            architecture=architecture,
            volume_drivers=volume_drivers,
            bind_paths=bind_paths,
        ),
        mesh=NodeMesh(
            public_key=f"key of {name}",
            endpoint=f"192.0.2.{number}:51820",
            address=f"10.86.0.{number}",
            subnet=f"10.88.{number}.0/24",
        ),
        status=NodeStatus(state=state, since=NOON, message=message),
        joined_at=NOON,
    )


def a_spec(name: str = "web", **values: Any) -> ServiceSpec:
    """A service spec with an image."""
    return ServiceSpec(**{"name": name, "image": f"registry.example/{name}:1", **values})


def a_service(
    name: str = "web", *, revision: int = 1, removing: bool = False, **values: Any
) -> Service:
    """A stored service; `values` are fields of its spec."""
    return Service(
        spec=a_spec(name, **values),
        version=1,
        revision=revision,
        created_at=NOON,
        updated_at=NOON,
        removing=removing,
    )


def an_update(
    name: str = "web",
    *,
    revision: int = 2,
    before: int = 1,
    update: UpdatePolicy | None = None,
    rollout: Mapping[str, Any] | None = None,
    **values: Any,
) -> Service:
    """A stored service on its way from one revision to another, begun at NOON; `rollout` holds
    fields of that. Unless `update` says otherwise, it is rolling and watches nothing."""
    policy = update or UpdatePolicy(monitor=timedelta())
    image = f"registry.example/{name}:{revision}"
    service = a_service(name, revision=revision, **{"image": image, "update": policy, **values})
    template = template_of(service.spec)
    old = replace(template, image=f"registry.example/{name}:{before}")
    record = Rollout(
        **{
            "id": f"{name}-r{revision}",
            "from_revision": before,
            "to_revision": revision,
            "policy": policy,
            "started_at": NOON,
            "progress_at": NOON,
            "version": 1,
            **(rollout or {}),
        }
    )
    return replace(
        service,
        revisions=(
            Revision(number=before, template=old, created_at=NOON),
            Revision(number=revision, template=template, created_at=NOON),
        ),
        last_revision=revision,
        rollouts=(record,),
    )


def a_task(
    slot: int = 1,
    node: str = "",
    *,
    service: str = "web",
    revision: int = 1,
    state: TaskState | None = None,
    desired: DesiredState = DesiredState.RUNNING,
    created_at: datetime = NOON,
    since: datetime = NOON,
    id: str = "",  # noqa: A002 - the field's name
    spec: ServiceSpec | None = None,
    **status: Any,
) -> Task:
    """A task that runs on `node`; PENDING without one. `status` holds further fields of that."""
    state = state or (TaskState.RUNNING if node else TaskState.PENDING)
    if state is TaskState.RUNNING:
        status.setdefault("address", f"10.88.0.{slot}")
    return Task(
        id=id or f"{service}-{slot}-r{revision}",
        service=service,
        slot=slot,
        revision=revision,
        template=template_of(spec or a_spec(service)),
        created_at=created_at,
        node_id=node,
        desired=desired,
        status=TaskStatus(state=state, since=since, **status),
    )


def a_node_task(node: str = "w1", **values: Any) -> Task:
    """A task of a global service that runs on the node of that name; its slot is in the name."""
    digits = "".join(character for character in node if character.isdigit())
    return replace(a_task(int(digits), node, **values), node=node)


def a_token(id: str = "0123abcd", *, expires_at: datetime = NOON) -> JoinToken:  # noqa: A002
    """A worker's join token."""
    return JoinToken(
        id=id,
        role=NodeRole.WORKER,
        secret_hash=id * 8,
        created_at=NOON,
        expires_at=expires_at,
    )


def a_secret_version(number: int = 1) -> SecretVersion:
    """Sealed with nothing: for who does not open it."""
    key = WrappedKey(kek="k1", nonce=b"nonce", data=b"key")
    return SecretVersion(
        number=number, created_at=NOON, size=8, digest=b"hash", key=key, nonce=b"n", data=b"sealed"
    )


def a_secret(name: str = "db", *, numbers: Iterable[int] = (1,), **spec: Any) -> VersionedSecret:
    """A secret with these versions."""
    return VersionedSecret(
        spec=SecretSpec(name=name, **spec),
        version=1,
        created_at=NOON,
        updated_at=NOON,
        versions=tuple(map(a_secret_version, numbers)),
    )


def a_config(name: str = "nginx", *texts: bytes, **spec: Any) -> VersionedConfig:
    """A config with a version for each text; by default one."""
    versions = (
        ConfigVersion(number=number, created_at=NOON, data=text)
        for number, text in enumerate(texts or (b"listen 80;",), 1)
    )
    return VersionedConfig(
        spec=ConfigSpec(name=name, **spec),
        version=1,
        created_at=NOON,
        updated_at=NOON,
        versions=tuple(versions),
    )


def a_volume(name: str = "data", *, node: str = "", id: str = "v1", **spec: Any) -> Volume:  # noqa: A002
    """A local volume that was not used yet, or is on that node of `a_node`."""
    return Volume(
        spec=VolumeSpec(name=name, **spec),
        id=id,
        version=1,
        created_at=NOON,
        updated_at=NOON,
        node_id=node,
        node_name=node,
    )


def a_mount(source: str = "data", target: str = "/data", **values: Any) -> MountSpec:
    """Of a volume."""
    return MountSpec(source=source, target=target, **values)


def a_state(
    *,
    nodes: Iterable[Node] = (),
    services: Iterable[Service] = (),
    tasks: Iterable[Task] = (),
    tokens: Iterable[JoinToken] = (),
    secrets: Iterable[VersionedSecret] = (),
    configs: Iterable[VersionedConfig] = (),
    volumes: Iterable[Volume] = (),
    **settings: Any,
) -> ClusterState:
    """A state with a cluster; each task has the template that its service has now."""
    by_name = {service.spec.name: service for service in services}
    return ClusterState(
        index=100,
        cluster=a_cluster(**settings),
        nodes={node.id: node for node in nodes},
        services=by_name,
        tasks={task.id: _with_template(task, by_name) for task in tasks},
        tokens={token.id: token for token in tokens},
        secrets={secret.spec.name: secret for secret in secrets},
        configs={config.spec.name: config for config in configs},
        volumes={volume.spec.name: volume for volume in volumes},
    )


def _with_template(task: Task, services: Mapping[str, Service]) -> Task:
    service = services.get(task.service)
    if service is None or service.revision != task.revision:
        return task
    return replace(task, template=template_of(service.spec))
